"""From gRPC to the servicer: parses bytes, waits for answers, and turns every error into its status.

Requests arrive unparsed, so that bytes that are no message get INVALID_ARGUMENT instead of gRPC's own INTERNAL.
Control calls have threads of their own: liveness must be answered while every inference thread waits.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from ..contract.errors import Overloaded
from ..engine.pool import Pool
from ..protocol import messages as m
from ..protocol.service import METHODS, SERVICE
from .access import Access
from .call import Call
from .call_log import CallLog
from .gate import Gate
from .servicer import Pending, Servicer
from .streams import Streams
from .tally import SharedCount
from .transport import HandlerPool, on_threads, parsed, time_left_s

if TYPE_CHECKING:
    from .tracing import Tracing

_CONTROL_THREADS = 4
_LOAD_THREADS = 2
ADMIN = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})
"""Methods for which a token must be an admin's."""


class Handlers:
    """Generic gRPC handlers for the servicer's calls. Owner: the server, which ends and closes it last."""

    def __init__(
        self,
        servicer: Servicer,
        infer_pool: HandlerPool,
        pool: Pool,
        *,
        max_streams: int,
        streams: SharedCount | None = None,
        access: Access | None = None,
        log: CallLog | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        """Store the parts.

        Args:
            servicer: answers the calls.
            infer_pool: the server's thread pool, which runs ModelInfer and says which call is one too many.
            pool: what executes batches; while a core is idle, the thread of a call executes them itself.
            max_streams: streams open at once.
            streams: the count of those, where several processes share the limit.
            access: who may call, where not everybody may.
            log: of the calls.
            tracing: makes spans of the stages of calls.
        """
        self._servicer = servicer
        self._infer_pool = infer_pool
        self._pool = pool
        self._access = access
        self._log = log or CallLog()
        self._tracing = tracing
        self.gate = Gate()
        self._streams = Streams(servicer.infer, self.gate, max_streams, streams, log=self._log, tracing=tracing)
        self.control_pool = ThreadPoolExecutor(_CONTROL_THREADS, thread_name_prefix="widedeep-control")
        # For calls that may last; one thread more than streams, so that one too many is refused at once.
        self._long_pool = ThreadPoolExecutor(max_streams + 1 + _LOAD_THREADS, thread_name_prefix="widedeep-long")

    def generic(self) -> grpc.GenericRpcHandler:
        """Return the handler of the whole service."""
        control: dict[str, Callable[[Any], Message]] = {
            "ServerLive": self._servicer.server_live,
            "ServerReady": self._servicer.server_ready,
            "ModelReady": self._servicer.model_ready,
            "ServerMetadata": self._servicer.server_metadata,
            "ModelMetadata": self._servicer.model_metadata,
            "ModelConfig": self._servicer.model_config,
            "ModelStatistics": self._servicer.model_statistics,
            "RepositoryIndex": self._servicer.repository_index,
        }
        lasting: dict[str, Callable[[Any], Message]] = {
            "RepositoryModelLoad": self._servicer.repository_load,
            "RepositoryModelUnload": self._servicer.repository_unload,
        }
        handlers = {name: self._unary(self.control_pool, name, answer) for name, answer in control.items()}
        handlers |= {name: self._unary(self._long_pool, name, answer) for name, answer in lasting.items()}
        handlers["ModelInfer"] = grpc.unary_unary_rpc_method_handler(
            self._infer, response_serializer=m.ModelInferResponse.SerializeToString
        )
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            on_threads(self._long_pool, self._streams.answer),
            response_serializer=m.ModelStreamInferResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def end_streams(self) -> None:
        """Let open streams end once what was read from them is answered."""
        self._streams.end()

    def close(self) -> None:
        """Let the threads go once their calls are answered."""
        self.control_pool.shutdown(wait=False)
        self._long_pool.shutdown(wait=False)

    def _infer(self, data: bytes, context: grpc.ServicerContext) -> m.ModelInferResponse:
        call = Call("ModelInfer", context.invocation_metadata())
        about: Pending | m.ModelInferRequest | None = None
        scope = None if self._tracing is None else self._tracing.scope()
        try:
            if self._infer_pool.is_full:
                raise Overloaded(f"{self._infer_pool.max_under_way} calls are under way, the most this server allows")
            self.gate.enter()
            request = about = parsed(m.ModelInferRequest, data)
            call.identify(request.id)
            if scope is not None:
                scope.begin(call)
            with self._pool.collect(math.inf):
                pending = about = self._servicer.infer(request, time_left_s(context), call)
            # The rows are dropped should the call end first.
            if not pending.is_done and not context.add_callback(pending.cancel):
                pending.cancel()
            response = pending.response()
            context.set_trailing_metadata(call.trailer)
            if self._log.logs_all:
                self._log.answered(call, pending)
            return response
        except Exception as error:
            self._log.abort(context, call, error, about)
        finally:
            if scope is not None:
                scope.end(call, about)

    def _unary(
        self, pool: ThreadPoolExecutor, name: str, answer: Callable[[Any], Message]
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        method = METHODS[name]

        def behavior(data: bytes, context: grpc.ServicerContext) -> Message:
            call = Call(name, context.invocation_metadata())
            try:
                if self._access is not None and name in ADMIN:
                    self._access.check_admin(call.metadata)
                response = answer(parsed(method.request, data))
                context.set_trailing_metadata(call.trailer)
                return response
            except Exception as error:
                self._log.abort(context, call, error)

        return grpc.unary_unary_rpc_method_handler(
            on_threads(pool, behavior), response_serializer=method.response.SerializeToString
        )
