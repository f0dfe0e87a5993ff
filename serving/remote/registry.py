"""One repository of an OCI registry: its tags, manifests and blobs, and leave to read and write them.

The library `oras` finds credentials (Docker's configuration, credential helpers) and exchanges them for tokens. The
calls themselves are made here, because those of oras 0.2.43 read a file whole to send it, know no ranges, keep a token
that is too old or covers too little, and repeat a refused password for two minutes.

Source: OCI Distribution Specification 1.1.
"""

import hashlib
import io
import json
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from ..contract.errors import ConfigurationError, StorageError
from .reference import PLAIN_HTTP_VARIABLE, Reference
from .storage import persist

T = TypeVar("T")
Body = Callable[[], AbstractContextManager[Any]]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_ACCEPTED = (
    f"{MANIFEST}, application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
_MAX_MANIFEST_BYTES = 4 << 20
"""Source: OCI Distribution Specification 1.1, pushing manifests: the least that a registry should take."""
_MAX_PAGES = 1000
_AUTHORIZATIONS = 3
"""Attempts at one call: as we are, with a token, and with one for more than that."""
_TIMEOUT_S = (10.0, 60.0)
"""To connect, and between two reads."""
_BLOCK_BYTES = 1 << 20


class Registry:
    """A repository of a registry. May be used from any thread.

    Every call raises `FileNotFoundError` where there is no such thing, and `StorageError` where the registry cannot be
    reached or refuses.
    """

    def __init__(self, reference: Reference) -> None:
        """Store the parts; nothing is called yet.

        Raises:
            ConfigurationError: `oras` is not installed.
        """
        self._name = str(reference.tagged(""))
        try:
            import oras.client
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"{self._name} needs {error.name}: install widedeep[oci]") from error
        self._is_plain = reference.is_plain
        self._origin = f"{'http' if self._is_plain else 'https'}://{reference.host}"
        self._base = f"{self._origin}/v2/{reference.repository}"
        self._container = oras.client.OrasClient().get_container(f"{reference.host}/{reference.repository}")
        self._session = oras.client.OrasClient(insecure=self._is_plain).session  # takes no cookies
        self._session.auth = lambda request: request  # or passwords of ~/.netrc would take the place of tokens
        self._authorizing = threading.Lock()
        self._authorization = ""

    def tags(self) -> list[str]:
        """Return all tags."""
        found: list[str] = []
        url = f"{self._base}/tags/list"
        for _ in range(_MAX_PAGES):
            response = self._try("list tags", partial(self._call, "GET", url, expected=200))
            found += response.json().get("tags") or []
            if "next" not in response.links:
                break
            url = urljoin(url, response.links["next"]["url"])
        return found

    def manifest_digest(self, tag: str) -> str:
        """Return the digest of what a tag names at present; "" where the registry does not tell."""
        call = self._try(f"ask for {tag}", lambda: self._call("HEAD", self._manifest(tag), _accept(), expected=200))
        return str(call.headers.get("Docker-Content-Digest", ""))

    def read_manifest(self, tag: str) -> bytes:
        """Return the manifest that a tag or a digest names; one that has not that digest is refused."""

        def read() -> bytes:
            with self._call("GET", self._manifest(tag), _accept(), expected=200, stream=True) as response:
                return _take(response, 0, _MAX_MANIFEST_BYTES + 1)

        manifest = self._try(f"read {tag}", read)
        if len(manifest) > _MAX_MANIFEST_BYTES:
            raise StorageError(f"{self._name}: the manifest of {tag} has more than {_MAX_MANIFEST_BYTES} bytes")
        if ":" in tag and tag != digest_of(manifest):
            raise StorageError(f"{self._name}: what came for {tag} is {digest_of(manifest)}")
        return manifest

    def put_manifest(self, tag: str, manifest: bytes) -> None:
        """Have a tag name a manifest, all at once; the blobs that it lists must be there."""
        headers = {"Content-Type": MANIFEST}
        url = self._manifest(tag)
        self._try(
            f"write {tag}", lambda: self._call("PUT", url, headers, body=lambda: nullcontext(manifest), expected=201)
        )

    def has(self, digest: str) -> bool:
        """Return whether there is a blob."""
        try:
            self._try(f"ask for {digest}", lambda: self._call("HEAD", f"{self._base}/blobs/{digest}", expected=200))
        except FileNotFoundError:
            return False
        return True

    def read(self, digest: str, start: int, end: int) -> bytes:
        """Return the bytes of a blob from `start` up to `end`; fewer where it ends before."""
        if start >= end:
            return b""
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}

        def read() -> bytes:
            url = f"{self._base}/blobs/{digest}"
            with self._call("GET", url, headers, expected=(200, 206), stream=True) as response:
                # A registry that knows no ranges sends the whole blob: slow, but the same bytes.
                return _take(response, start if response.status_code == 200 else 0, end - start)

        return self._try(f"read {digest}", read)

    def put(self, digest: str, path: Path, sent: Callable[[int], None]) -> None:
        """Send a file as a blob, without reading it whole; the registry checks that it has that digest.

        Args:
            digest: of the file.
            path: the file.
            sent: told of bytes that go up; what it raises ends the upload.
        """
        self._put(digest, lambda: _Told(path, sent) if path.stat().st_size else nullcontext(b""))

    def put_bytes(self, digest: str, data: bytes) -> None:
        """Send a small blob."""
        self._put(digest, lambda: nullcontext(data))

    def _put(self, digest: str, body: Body) -> None:
        def put() -> None:
            begun = self._call("POST", f"{self._base}/blobs/uploads/", {"Content-Length": "0"}, expected=202)
            url = urljoin(begun.url, begun.headers.get("Location", ""))
            url += f"{'&' if urlsplit(url).query else '?'}digest={quote(digest, safe='')}"
            self._call("PUT", url, {"Content-Type": "application/octet-stream"}, body=body, expected=201)

        persist(self._name, f"write {digest}", put, patience_s=math.inf)

    def _manifest(self, tag: str) -> str:
        return f"{self._base}/manifests/{tag}"

    def _try(self, what: str, action: Callable[[], T]) -> T:
        return persist(self._name, what, action)

    def _call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int | tuple[int, ...],
        body: Body = nullcontext,
        stream: bool = False,
    ) -> Any:
        """Make a call, and authorize it where the registry asks for that; returns `requests.Response`.

        Args:
            method: of HTTP.
            url: the registry's own, or one that it has named.
            headers: beside the authorization.
            expected: status, or statuses; others are raised as errors.
            body: opens what is sent, anew for each attempt.
            stream: leave the answer's body to be read; then the answer must be closed.
        """
        from requests import RequestException
        from requests.exceptions import SSLError

        if not self._is_plain and not url.startswith("https://"):
            raise StorageError(f"{self._name} sends us to a place without TLS: {_shown(url)}")
        is_own = url.startswith(f"{self._origin}/")
        for attempt in range(1, _AUTHORIZATIONS + 1):
            used = self._authorization if is_own else ""
            all_headers = {**(headers or {}), **({"Authorization": used} if used else {})}
            try:
                with body() as data:
                    response = self._session.request(
                        method, url, data=data, headers=all_headers, stream=stream, timeout=_TIMEOUT_S
                    )
            except SSLError as error:
                hint = f"REQUESTS_CA_BUNDLE names authorities, {PLAIN_HTTP_VARIABLE} registries without TLS"
                raise StorageError(f"no TLS with the registry ({hint}): {_shown(str(error))}") from error
            except RequestException as error:
                raise ConnectionError(_shown(str(error))) from error
            if response.status_code in (expected if isinstance(expected, tuple) else (expected,)):
                return response
            with response:
                if response.status_code != 401 or not is_own or attempt == _AUTHORIZATIONS:
                    raise _refusal(response)
                self._authorize(response, used)
        raise AssertionError

    def _authorize(self, response: Any, used: str) -> None:
        """Get what the registry asks for in an answer of status 401.

        Args:
            response: that answer.
            used: authorization that did not suffice; another thread may have got a better one meanwhile.

        Raises:
            PermissionError: there are no credentials, or they are refused.
        """
        from oras.auth import get_auth_backend
        from oras.auth.utils import parse_auth_header
        from requests import RequestException

        challenge = response.headers.get("WWW-Authenticate", "")
        kind = "basic" if challenge.lower().startswith("basic") else "token"
        realm = parse_auth_header(challenge).realm or ""
        with self._authorizing:
            if self._authorization != used:
                return
            if kind == "token" and not self._is_plain and not realm.startswith("https://"):
                raise PermissionError(f"the registry wants credentials sent without TLS, to {_shown(realm)!r}")
            # A new one each time: credential helpers give passwords that last for hours.
            backend = get_auth_backend(kind, self._session, insecure=self._is_plain)
            if folder := os.environ.get("DOCKER_CONFIG"):
                # oras knows of no such variable; given this file, too, it lets chance choose between the two.
                backend._auth_config = {"auths": {}, **json.loads((Path(folder) / "config.json").read_text())}
            backend.load_configs(self._container)
            has_password = getattr(backend, "_basic_auth", None) is not None
            try:
                if kind == "basic" and not has_password:
                    raise _refusal(response)
                headers, is_found = backend.authenticate_request(response, {})
            except RequestException as error:
                raise ConnectionError(_shown(str(error))) from error
            if not is_found or headers["Authorization"] == used:
                raise _refusal(response)
            self._authorization = headers["Authorization"]


class _Told(io.FileIO):
    """A file that tells how much of it has been read."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(path)
        self._told = told

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(_BLOCK_BYTES if size is None or size < 0 else size) or b""
        self._told(len(data))
        return data


def digest_of(data: bytes) -> str:
    """Return the name that a registry gives to content."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _accept() -> dict[str, str]:
    return {"Accept": _ACCEPTED}


def _take(response: Any, skip: int, size: int) -> bytes:
    """Return `size` bytes of an answer's body after the first `skip`, or as many as there are, and read no further."""
    blocks = []
    for block in response.iter_content(_BLOCK_BYTES):
        blocks.append(block[skip : skip + size])
        skip = max(0, skip - len(block))
        size -= len(blocks[-1])
        if not size:
            break
    return b"".join(blocks)


def _refusal(response: Any) -> Exception:
    """Return the error that an answer stands for."""
    status = response.status_code
    try:
        errors = response.json()["errors"]
        said = "; ".join(str(error.get("message") or error.get("code")) for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = str(response.reason)
    text = f"status {status}: {said[:300]}"
    if status == 404:
        return FileNotFoundError(text)
    if status in {401, 403}:
        return PermissionError(f"{text}; log in with `docker login`, or set DOCKER_CONFIG to a folder of config.json")
    if status in {408, 429} or status >= 500:
        return ConnectionError(text)
    return StorageError(text)


def _shown(text: str) -> str:
    """Return a text without what follows `?` in URLs: it may be a signature that lets others in."""
    return re.sub(r"\?\S+", "?...", text)


def to_json(value: Any) -> bytes:
    """Return the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
