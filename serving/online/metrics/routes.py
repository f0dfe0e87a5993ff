"""Which path is answered with what: health, metrics and the status page, all read only.

Health answers as the protocol's HTTP form has it. Source: Open Inference Protocol, HTTP/REST, "Health".
"""

import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import unquote

from ...contract.errors import NotFound, NotReady
from .exposition import exposition
from .listener import Request, Response, plain
from .page import PAGE_POLICY, render
from .seam import Subject
from .snapshot import Snapshot
from .status import status

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FRESH_S = 0.5
"""Pages that ask at the same time share one look at the server: it may mean asking hundreds of workers."""
_MIN_GZIP_BYTES = 1400
"""What fits one packet gains nothing."""


class Routes:
    """Answers requests about a server. May be called from any thread."""

    def __init__(self, subject: Subject) -> None:
        """Store what is asked about."""
        self._subject = subject
        self._recent = _Recent(subject.snapshot)
        self._pages: dict[str, Callable[[Request], Response]] = {
            "/": self._page,
            "/metrics": self._metrics,
            "/status.json": self._status,
            "/v2/health/live": lambda _: _json(HTTPStatus.OK, {"live": True}),
            "/v2/health/ready": self._ready,
        }

    def __call__(self, request: Request) -> Response:
        """Return the answer: 404 for what there is not, 405 for all that is not reading."""
        answer = self._pages.get(request.path) or self._of_model(request.path)
        if answer is None:
            response = plain(HTTPStatus.NOT_FOUND)
        elif request.method not in {"GET", "HEAD"}:
            response = plain(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        else:
            response = _compressed(request, answer(request))
        return replace(response, headers={**_HEADERS, **response.headers})

    def _ready(self, _: Request) -> Response:
        ready = self._subject.is_ready()
        return _json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {"ready": ready})

    def _of_model(self, path: str) -> Callable[[Request], Response] | None:
        """Return what answers for `/v2/models/<name>[/versions/<version>]/ready`."""
        match path.split("/"):
            case ["", "v2", "models", name, "ready"]:
                return lambda _: self._model_ready(unquote(name), "")
            case ["", "v2", "models", name, "versions", version, "ready"]:
                return lambda _: self._model_ready(unquote(name), version)
        return None

    def _model_ready(self, name: str, version: str) -> Response:
        ready = self._subject.is_ready()
        try:
            self._subject.check(name, version)
        except NotReady:
            ready = False
        except NotFound:
            # While it loads, a server does not know yet what it will have.
            if ready:
                return plain(HTTPStatus.NOT_FOUND)
        return _json(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, {"name": name, "ready": ready})

    def _metrics(self, request: Request) -> Response:
        text, content_type = exposition(self._subject.snapshot(), request.headers.get("accept", ""))
        return Response(HTTPStatus.OK, text, content_type)

    def _status(self, _: Request) -> Response:
        return _json(HTTPStatus.OK, status(self._recent()))

    def _page(self, _: Request) -> Response:
        page = render(status(self._recent())).encode()
        return Response(HTTPStatus.OK, page, "text/html; charset=utf-8", {"Content-Security-Policy": PAGE_POLICY})


class _Recent:
    """A snapshot that is at most `_FRESH_S` old."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take
        self._lock = threading.Lock()
        self._taken: tuple[float, Snapshot] | None = None

    def __call__(self) -> Snapshot:
        with self._lock:
            if self._taken is None or time.monotonic() - self._taken[0] > _FRESH_S:
                self._taken = time.monotonic(), self._take()
            return self._taken[1]


def _json(code: HTTPStatus, value: object) -> Response:
    return Response(code, json.dumps(value).encode(), "application/json")


def _compressed(request: Request, response: Response) -> Response:
    if len(response.body) < _MIN_GZIP_BYTES or "gzip" not in request.headers.get("accept-encoding", ""):
        return response
    headers = {**response.headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return replace(response, body=gzip.compress(response.body, compresslevel=1), headers=headers)
