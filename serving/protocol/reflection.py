"""Server reflection for services whose messages live in a pool of their own.

It is answered from one more pool, which holds this project's .proto files, the health service's and reflection's own,
and nothing else that the process may have loaded. Versions v1 and v1alpha differ in nothing but their package.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from . import messages

V1ALPHA = str(reflection.SERVICE_NAME)
V1 = V1ALPHA.replace("v1alpha", "v1")

_METHOD = "ServerReflectionInfo"
_THREADS = 4
"""Calls answered at once; a caller that keeps one open holds a thread, but none of another service."""


def add_reflection(server: grpc.Server, service_names: Sequence[str]) -> Callable[[], None]:
    """Let a server that has not started yet answer reflection calls, v1 and v1alpha.

    Args:
        server: whose services are described.
        service_names: services to list; reflection lists itself too.

    Returns:
        What ends the calls that callers keep open, to be called when the server stops.
    """
    calls: set[grpc.ServicerContext] = set()
    names = (V1, V1ALPHA)
    servicer = reflection.ReflectionServicer((*service_names, *names), pool=_pool())

    def answer(requests: Iterable[Any], context: grpc.ServicerContext) -> Any:
        calls.add(context)
        if not context.add_callback(lambda: calls.discard(context)):
            calls.discard(context)
        return servicer.ServerReflectionInfo(_parsed(requests, context), context)

    def end() -> None:
        for context in tuple(calls):
            context.cancel()

    answer.experimental_thread_pool = ThreadPoolExecutor(  # type: ignore[attr-defined]  # an attribute by contract with grpcio
        _THREADS, thread_name_prefix="widedeep-reflection"
    )
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        answer,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, {_METHOD: handler}) for name in names)
    )
    return end


def _parsed(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
    """Give the messages that bytes spell, and end the call where they spell none.

    What gRPC cannot parse itself it leaves open behind a front end, so that a server that stops waits for it in vain.
    """
    for data in requests:
        try:
            yield reflection_pb2.ServerReflectionRequest.FromString(data)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the {len(data)} bytes received are no request")


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    v1alpha = _file(reflection_pb2)
    v1 = text_format.Parse(text_format.MessageToString(v1alpha).replace("v1alpha", "v1"), FileDescriptorProto())
    for file in (*messages.FILES.file, _file(health_pb2), v1alpha, v1):
        pool.Add(file)
    return pool


def _file(module: Any) -> FileDescriptorProto:
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
