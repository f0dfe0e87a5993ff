"""What the log says of calls, and what their callers are told of failures.

A call that fails for a reason of the server's own is always logged, with its request id; one that is refused is the
caller's affair, and logged at the level `debug`; every inference call is logged where that is asked for. No line holds
values of tensors, or a token.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, NoReturn

import grpc

from ..contract.errors import WidedeepError
from ..protocol import messages as m
from .call import Call, Metadata
from .servicer import Pending
from .transport import cut, told

_LOG = logging.getLogger(__name__)
_MAX_NAME_BYTES = 128
INFERENCE = frozenset({"ModelInfer", "ModelStreamInfer"})


class CallLog:
    """The log of one server's calls. Every method may be called from any thread. Owner: the server."""

    def __init__(
        self,
        *,
        logs_all: bool = False,
        caller_of: Callable[[Metadata], str] = lambda _: "",
        on_failure: Callable[[Call, Exception], None] = lambda *_: None,
    ) -> None:
        """Store the parts.

        Args:
            logs_all: whether every inference call gets a line.
            caller_of: names the caller of a call with some metadata, "" for nobody in particular.
            on_failure: told of each call and its error before its caller is.
        """
        self.logs_all = logs_all
        self._caller_of = caller_of
        self._on_failure = on_failure

    def answered(self, call: Call, pending: Pending) -> None:
        """Log an inference call that has its answer."""
        _LOG.info("call answered", extra=self._fields(call, "OK", pending))

    def failed(
        self, call: Call, error: Exception, about: Pending | m.ModelInferRequest | None = None
    ) -> tuple[grpc.StatusCode, str]:
        """Log a failure and return what the caller is told.

        Args:
            call: the call.
            error: what went wrong.
            about: as much of the request as was known by then.
        """
        self._on_failure(call, error)
        code, message = told(error)
        level = logging.INFO if self.logs_all and call.method in INFERENCE else logging.DEBUG
        unexpected = None if isinstance(error, WidedeepError) else error
        if code is grpc.StatusCode.INTERNAL:
            level = logging.ERROR
        if _LOG.isEnabledFor(level):
            what = "unexpected error" if unexpected else message
            fields = self._fields(call, code.name, about)
            _LOG.log(level, "call failed: %s", what, exc_info=unexpected, extra=fields)
        return code, message

    def abort(
        self,
        context: grpc.ServicerContext,
        call: Call,
        error: Exception,
        about: Pending | m.ModelInferRequest | None = None,
    ) -> NoReturn:
        """End a call of grpcio's with an error's status and message."""
        context.set_trailing_metadata(call.trailer)
        context.abort(*self.failed(call, error, about))
        raise AssertionError("abort always raises")

    def _fields(self, call: Call, code: str, about: Pending | m.ModelInferRequest | None) -> dict[str, Any]:
        fields: dict[str, Any] = {"request_id": call.id, "method": call.method, "code": code}
        if isinstance(about, Pending):
            fields |= {
                "model": about.servable.name,
                "version": str(about.servable.version),
                "rows": about.request.n_rows,
            }
        elif about is not None:
            fields |= {
                "model": cut(about.model_name, _MAX_NAME_BYTES),
                "version": cut(about.model_version, _MAX_NAME_BYTES),
            }
        if caller := self._caller_of(call.metadata):
            fields["caller"] = caller
        return fields | {"duration_ms": round((time.monotonic() - call.started_s) * 1000, 3)}
