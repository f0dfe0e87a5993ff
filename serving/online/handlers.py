"""From gRPC to the servicer: parses bytes, waits for answers, and turns every error into its status.

Requests arrive unparsed, so that bytes that are no message get INVALID_ARGUMENT instead of gRPC's own INTERNAL.
Control calls have threads of their own: liveness must be answered while every inference thread waits.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import Message

from ..contract.errors import Overloaded
from ..engine.pool import Pool
from ..protocol import messages as m
from ..protocol.service import METHODS, SERVICE
from .gate import Gate
from .servicer import Servicer
from .streams import Streams
from .tally import SharedCount
from .transport import HandlerPool, abort, on_threads, parsed, time_left_s

_CONTROL_THREADS = 4
_LOAD_THREADS = 2


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
    ) -> None:
        """Store the parts.

        Args:
            servicer: answers the calls.
            infer_pool: the server's thread pool, which runs ModelInfer and says which call is one too many.
            pool: what executes batches; while a core is idle, the thread of a call executes them itself.
            max_streams: streams open at once.
            streams: the count of those, where several processes share the limit.
        """
        self._servicer = servicer
        self._infer_pool = infer_pool
        self._pool = pool
        self.gate = Gate()
        self._streams = Streams(servicer.infer, self.gate, max_streams, streams)
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
        handlers = {name: _unary(self.control_pool, name, call) for name, call in control.items()}
        handlers |= {name: _unary(self._long_pool, name, call) for name, call in lasting.items()}
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
        try:
            if self._infer_pool.is_full:
                raise Overloaded(f"{self._infer_pool.max_under_way} calls are under way, the most this server allows")
            self.gate.enter()
            request = parsed(m.ModelInferRequest, data)
            with self._pool.collect(math.inf):
                pending = self._servicer.infer(request, time_left_s(context))
            # The rows are dropped should the call end first.
            if not pending.is_done and not context.add_callback(pending.cancel):
                pending.cancel()
            return pending.response()
        except Exception as error:
            abort(context, error)


def _unary(pool: ThreadPoolExecutor, name: str, call: Callable[[Any], Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    method = METHODS[name]

    def behavior(data: bytes, context: grpc.ServicerContext) -> Message:
        try:
            return call(parsed(method.request, data))
        except Exception as error:
            abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        on_threads(pool, behavior), response_serializer=method.response.SerializeToString
    )
