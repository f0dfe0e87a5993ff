"""The standard health service, with its own stock client."""

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

SERVICES = ["", "inference.GRPCInferenceService"]


@pytest.fixture
def own_server(start_server: Callable[..., Server], repository_path: Path) -> Server:
    return start_server(repository_path, drain_wait_s=0.1)


@pytest.fixture
def stub(own_server: Server) -> Iterator[health_pb2_grpc.HealthStub]:
    with grpc.insecure_channel(own_server.address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", SERVICES)
def test_a_ready_server_is_serving(stub: health_pb2_grpc.HealthStub, service: str) -> None:
    response = stub.Check(HealthCheckRequest(service=service), timeout=20)
    assert response.status == HealthCheckResponse.SERVING


def test_the_health_of_an_unknown_service_is_not_found(stub: health_pb2_grpc.HealthStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(HealthCheckRequest(service="inference.Other"), timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_unknown_service_can_be_watched(stub: health_pb2_grpc.HealthStub) -> None:
    watch = stub.Watch(HealthCheckRequest(service="inference.Other"), timeout=20)
    assert next(watch).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("service", SERVICES)
def test_watchers_see_the_server_drain_and_do_not_hold_it_up(
    stub: health_pb2_grpc.HealthStub, own_server: Server, service: str
) -> None:
    watches = [stub.Watch(HealthCheckRequest(service=service), timeout=60) for _ in range(3)]
    for watch in watches:
        assert next(watch).status == HealthCheckResponse.SERVING
    own_server.stop()
    for watch in watches:
        assert [response.status for response in watch] == [HealthCheckResponse.NOT_SERVING]
        assert watch.code() is grpc.StatusCode.OK


def test_more_watchers_than_threads_leave_room_for_checks(stub: health_pb2_grpc.HealthStub) -> None:
    watches = [stub.Watch(HealthCheckRequest(), timeout=60) for _ in range(20)]
    for watch in watches:
        next(watch)
    assert stub.Check(HealthCheckRequest(), timeout=20).status == HealthCheckResponse.SERVING
    for watch in watches:
        watch.cancel()
    assert stub.Check(HealthCheckRequest(), timeout=20).status == HealthCheckResponse.SERVING


def test_a_second_server_in_the_process_leaves_the_health_of_the_first_alone(
    stub: health_pb2_grpc.HealthStub, start_server: Callable[..., Server], repository_path: Path
) -> None:
    start_server(repository_path).stop()
    watch = stub.Watch(HealthCheckRequest(), timeout=20)
    assert next(watch).status == HealthCheckResponse.SERVING
    watch.cancel()
