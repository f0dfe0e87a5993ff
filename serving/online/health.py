"""The standard health service: one status for the server as a whole and for the inference service.

grpcio's own servicer answers Check on the threads of inference, where it would wait behind it, keeps the threads of
Watch in an attribute of the class, which several servers in one process overwrite, and leaves watches open, for which
a server that drains would wait in vain.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1.health_pb2 import DESCRIPTOR, HealthCheckRequest, HealthCheckResponse

from ..contract.errors import NotFound
from .transport import abort, on_threads

HEALTH_SERVICE = str(DESCRIPTOR.services_by_name["Health"].full_name)

Send = Callable[[HealthCheckResponse | None], None]
"""Sends one response of a watch, or ends it."""


class Health:
    """Health of some services, which are all up or all down. `tell` and `end` may be called from any thread.

    Order of calls: `tell` any number of times, `end` last. Owner: the server.
    """

    def __init__(self, services: tuple[str, ...], pool: ThreadPoolExecutor, *, is_serving: Callable[[], bool]) -> None:
        """Store the parts.

        Args:
            services: names that can be asked for; "" is the server as a whole.
            pool: threads for the calls; none is held for longer than it takes to answer.
            is_serving: whether they are up.
        """
        self._is_serving = is_serving
        self._services = services
        self._pool = pool
        # Held while responses are sent, so that they keep their order. A send returns once gRPC's own thread has seen
        # to it, and that thread also calls `_forget`: the lock that `_forget` takes is never held over a send.
        self._order = threading.Lock()
        self._lock = threading.Lock()
        self._ended = False
        self._watches: dict[Send, str] = {}

    def generic(self) -> grpc.GenericRpcHandler:
        """Return the handler of the health service."""
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(
                on_threads(self._pool, self._check),
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                on_threads(self._pool, self._watch, non_blocking=True),
                request_deserializer=HealthCheckRequest.FromString,
                response_serializer=HealthCheckResponse.SerializeToString,
            ),
        }
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, methods)

    def tell(self) -> None:
        """Tell those who watch that the services have gone up or down."""
        with self._order:
            for send, service in self._open().items():
                send(self._response(service))

    def end(self) -> None:
        """End all watches, also those that are yet to come."""
        with self._order:
            self._ended = True
            for send in self._open():
                send(None)

    def _check(self, request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
        if request.service not in self._services:
            abort(context, NotFound(f"unknown service {request.service!r}"))
        return self._response(request.service)

    def _watch(self, request: HealthCheckRequest, context: grpc.ServicerContext, send: Send) -> None:
        with self._order:
            with self._lock:
                self._watches[send] = request.service
            if not context.add_callback(lambda: self._forget(send)):
                self._forget(send)
                return
            send(self._response(request.service))
            if self._ended:
                send(None)

    def _open(self) -> dict[Send, str]:
        with self._lock:
            return dict(self._watches)

    def _forget(self, send: Send) -> None:
        with self._lock:
            self._watches.pop(send, None)

    def _response(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        is_serving = self._is_serving()
        return HealthCheckResponse(
            status=HealthCheckResponse.SERVING if is_serving else HealthCheckResponse.NOT_SERVING
        )
