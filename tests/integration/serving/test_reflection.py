"""Reflection tells the truth: a client that knows nothing but the address can find, build and make every call."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from small_bundle import rows
from widedeep.serving.online.server import Server
from widedeep.serving.protocol import messages
from widedeep.serving.protocol.service import METHODS, SERVICE

pytestmark = pytest.mark.each_front_end

VERSIONS = ["grpc.reflection.v1", "grpc.reflection.v1alpha"]
SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    SERVICE,
]


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def ask(channel: grpc.Channel, version: str, **request: Any) -> reflection_pb2.ServerReflectionResponse:
    """Ask one question; the messages of both versions are the same but for their package."""
    call = channel.stream_stream(
        f"/{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (response,) = call(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=20)
    return response


def pool_of(channel: grpc.Channel, version: str, symbol: str) -> DescriptorPool:
    """Return what the server says of a symbol, and of all that it stands on, as a pool of its own."""
    response = ask(channel, version, file_containing_symbol=symbol)
    files = [FileDescriptorProto.FromString(f) for f in response.file_descriptor_response.file_descriptor_proto]
    pool = DescriptorPool()
    left = {file.name: file for file in files}
    while left:
        ready = [f for f in left.values() if not any(name in left for name in f.dependency)]
        for file in ready:
            pool.Add(left.pop(file.name))
    return pool


@pytest.mark.parametrize("version", VERSIONS)
def test_every_service_is_listed(channel: grpc.Channel, version: str) -> None:
    listed = ask(channel, version, list_services="").list_services_response.service
    assert sorted(service.name for service in listed) == sorted(SERVICES)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("service", SERVICES)
def test_every_listed_service_is_described(channel: grpc.Channel, version: str, service: str) -> None:
    described = pool_of(channel, version, service).FindServiceByName(service)
    assert described.full_name == service
    assert len(described.methods) > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_described_is_what_is_spoken(channel: grpc.Channel, version: str) -> None:
    pool = pool_of(channel, version, SERVICE)
    assert sorted(method.name for method in pool.FindServiceByName(SERVICE).methods) == sorted(METHODS)
    for file in messages.FILES.file:
        described = FileDescriptorProto()
        pool.FindFileByName(file.name).CopyToProto(described)
        assert described == file


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_that_knows_the_address_only_can_predict(channel: grpc.Channel, version: str) -> None:
    method = pool_of(channel, version, SERVICE).FindServiceByName(SERVICE).methods_by_name["ModelInfer"]
    request = GetMessageClass(method.input_type)(model_name="animals")
    for name, array in rows(2).items():
        request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    call = channel.unary_unary(
        f"/{SERVICE}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    response = call(request, timeout=20)
    assert [output.name for output in response.outputs] == ["probabilities", "label"]
    assert len(response.raw_output_contents[0]) == 2 * 3 * 4


def test_the_stock_descriptor_database_finds_messages_by_name(channel: grpc.Channel) -> None:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    message = pool.FindMessageTypeByName("inference.ModelStreamInferResponse")
    assert [field.name for field in message.fields] == ["error_message", "infer_response"]


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_symbol_is_not_found(channel: grpc.Channel, version: str) -> None:
    response = ask(channel, version, file_containing_symbol="inference.TraceSettingRequest")
    assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_that_are_no_request_are_refused_and_hold_up_no_stop(
    start_server: Callable[..., Server], repository_path: Path, version: str
) -> None:
    own = start_server(repository_path, grace_s=600)
    with grpc.insecure_channel(own.address) as channel:
        call = channel.unary_unary(f"/{version}.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\xff", timeout=20)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        own.stop()


def test_a_reflection_call_left_open_does_not_hold_up_the_stop(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    own = start_server(repository_path, grace_s=600)
    with grpc.insecure_channel(own.address) as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        over = threading.Event()

        def requests() -> Iterator[bytes]:
            yield reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
            over.wait(60)

        responses = call(requests())
        next(responses)
        own.stop()
        with pytest.raises(grpc.RpcError):
            next(responses)
        over.set()
