"""Who may call: finds the caller of each call by its bearer token, and refuses calls without a valid one.

The refusal says the same whatever was wrong. It comes before a message is read, and on threads of its own, so that
callers without a token take nothing from those who have one.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from ..contract.errors import PermissionDenied, Unauthenticated
from ..protocol.service import SERVICE
from .call import Call, Metadata
from .call_log import CallLog
from .health import HEALTH_SERVICE
from .tokens import Caller, Callers, digest, read_tokens
from .transport import on_threads
from .watched import Watched

_EVERY_S = 1.0
"""Seconds within which a token that was added is taken, and one that was removed is not."""
_REFUSAL = "expected metadata `authorization: Bearer <token>` with a token that is valid here"
_REFUSAL_THREADS = 2
_SCHEME = "bearer "
_FREE = frozenset(f"/{SERVICE}/{name}" for name in ("ServerLive", "ServerReady"))
_FREE_SERVICE = f"/{HEALTH_SERVICE}/"


class Access:
    """The callers that a file of tokens admits. Every method may be called from any thread. Owner: the server."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            ConfigurationError: it cannot be read or a line is wrong; names it.
        """
        self._callers: Watched[Callers] = Watched(
            [path], lambda contents: read_tokens(path, contents[0]), every_s=_EVERY_S
        )

    def caller(self, metadata: Metadata) -> Caller | None:
        """Return whose token a call carries; None without a valid one."""
        given = [value for key, value in metadata if key == "authorization"]
        if len(given) != 1 or not isinstance(header := given[0], str) or header[: len(_SCHEME)].lower() != _SCHEME:
            return None
        return self._callers.current().get(digest(header[len(_SCHEME) :].strip()))

    def name(self, metadata: Metadata) -> str:
        """Return the name of a call's caller; "" without a valid token."""
        caller = self.caller(metadata)
        return "" if caller is None else caller.name

    def refusal(self, metadata: Metadata) -> Unauthenticated | None:
        """Return what a call without a valid token gets; None for one with."""
        if self.caller(metadata) is not None:
            return None
        return Unauthenticated(_REFUSAL)

    def check_admin(self, metadata: Metadata) -> None:
        """Let a call pass that changes what is served.

        Raises:
            PermissionDenied: its caller is no admin.
        """
        caller = self.caller(metadata)
        if caller is None or not caller.is_admin:
            raise PermissionDenied("expected the token of an admin")


class Guard(grpc.ServerInterceptor):
    """Refuses calls without a valid token, but for those that ask whether the server is up.

    Called from gRPC's thread; `close` last. Owner: the server.
    """

    def __init__(self, access: Access, log: CallLog) -> None:
        """Store the parts; the log is told of calls refused."""
        self._access = access
        self._log = log
        self._pool = ThreadPoolExecutor(_REFUSAL_THREADS, thread_name_prefix="widedeep-guard")

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Pass a call on, or give it to a handler that refuses."""
        path = handler_call_details.method
        if is_free(path) or self._access.caller(handler_call_details.invocation_metadata) is not None:
            return continuation(handler_call_details)
        method = path.rpartition("/")[2]

        def refuse(_: Iterable[bytes], context: grpc.ServicerContext) -> Iterable[bytes]:
            call = Call(method, context.invocation_metadata())
            self._log.abort(context, call, Unauthenticated(_REFUSAL))

        # A stream, whatever the call is: its handler need not wait for a message.
        return grpc.stream_stream_rpc_method_handler(on_threads(self._pool, refuse))

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False)


def is_free(path: str) -> bool:
    """Return whether anyone may call a method: those that ask whether the server lives and is ready."""
    return path in _FREE or path.startswith(_FREE_SERVICE)
