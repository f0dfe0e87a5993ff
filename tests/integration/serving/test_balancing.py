"""Several servers and clients that spread calls over them: servers die, drain and appear, and no caller hears of it."""

import contextlib
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from served_commands import Command, Opener, called
from small_bundle import make_bundle, rows
from triton_calls import INFER, request_message
from tritonclient.grpc import service_pb2
from waiting import wait_for
from widedeep.serving.client import Client
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NAME = "models.test"
POLICY = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
"""What docs/balancing.md tells users of plain gRPC clients to set."""


@pytest.fixture
def serve(repository_path: Path) -> Iterator[Callable[..., Command]]:
    started: list[Command] = []

    def start(*flags: str, host: str = "127.0.0.1", port: int = 0) -> Command:
        started.append(Command(repository_path, "--drain-wait-s", "0.5", *flags, host=host, port=port))
        return started[-1]

    yield start
    for command in started:
        command.kill()


class Names(threading.Thread):
    """A name server that knows one name, with any addresses, for a second at a time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.addresses: tuple[str, ...] = ()
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, sender = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), sender)

    def close(self) -> None:
        self._socket.close()

    def _answer(self, query: bytes) -> bytes:
        """Answer as RFC 1035 says: the question, then an A record for each address; none of another type."""
        question = query[12 : query.index(b"\0", 12) + 5]
        wants_a = question[-4:-2] == b"\0\1"
        records = [
            b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in self.addresses
        ]
        self.asked += wants_a
        records = records if wants_a else []
        header = query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0)
        return header + question + b"".join(records)


@pytest.fixture
def names() -> Iterator[Names]:
    server = Names()
    server.start()
    yield server
    server.close()


def own_client(target: str) -> Opener:
    """Return what opens our client, as something to call."""
    data = rows(2)

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[], object]]:
        with Client(target, model="animals", timeout_s=20) as client:
            yield lambda: client.predict(data)

    return opened


def plain_client(target: str, policy: Any = None) -> Opener:
    """Return what opens a channel of grpcio with a service config, as something to call."""
    data = request_message(2).SerializeToString()
    config = [] if policy is None else [("grpc.service_config", json.dumps(policy))]

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[], object]]:
        authority = [("grpc.default_authority", "models")] if "," in target else []
        arguments = [("grpc.use_local_subchannel_pool", 1), *authority, *config]
        with grpc.insecure_channel(target, arguments) as channel:
            call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
            yield lambda: call(data, timeout=20)

    return opened


def list_of(*commands: Command) -> str:
    return "ipv4:" + ",".join(command.address for command in commands)


@pytest.mark.parametrize("kind", ["own", "plain"])
def test_calls_take_turns_and_a_server_that_is_killed_costs_no_call(serve: Any, kind: str) -> None:
    servers = [serve(), serve()]
    target = list_of(*servers)
    opened = own_client(target) if kind == "own" else plain_client(target, POLICY)
    with called(opened) as (answers, failures):
        wait_for(lambda: min(server.n_answered for server in servers) > 50)
        shares = [server.n_answered for server in servers]
        servers[0].process.kill()
        before = answers["OK"]
        wait_for(lambda: answers["OK"] > before + 200)
    assert failures == []
    assert min(shares) > 0.3 * sum(shares)


@pytest.mark.parametrize("kind", ["own", "plain"])
def test_a_server_that_is_replaced_costs_no_call(serve: Any, kind: str) -> None:
    servers = [serve(), serve()]
    target = list_of(*servers)
    opened = own_client(target) if kind == "own" else plain_client(target, POLICY)
    with called(opened) as (answers, failures):
        servers[0].process.send_signal(signal.SIGTERM)
        assert servers[0].end() == 0
        before = answers["OK"]
        wait_for(lambda: answers["OK"] > before + 100)
        again = serve(port=servers[0].port)
        wait_for(lambda: again.n_answered > 50)
    assert failures == []


def test_servers_with_different_bundles_answer_one_client_while_they_are_replaced(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    """A request names the bundle it was made for, and the next server to take its turn has another one."""
    servers = []
    for seed in (1, 2):
        make_bundle(tmp_path / str(seed) / "animals" / "1", seed=seed)
        servers.append(start_server(tmp_path / str(seed)))
    target = "ipv4:" + ",".join(server.address for server in servers)
    with Client(target, model="animals") as client:
        answers = [client.predict(rows(2)).probabilities for _ in range(20)]
    own = {server.repository.get("animals").ensemble.predict(rows(2))["probabilities"].tobytes() for server in servers}
    assert len(own) == 2
    assert {answer.tobytes() for answer in answers} <= own


def test_connections_that_are_renewed_find_a_new_server_and_cost_no_call(serve: Any, names: Names) -> None:
    """As behind a headless Service: a name with an address a server, and no connection that ever fails."""
    first = serve("--max-connection-age-s", "1", "--grace-s", "5")
    names.addresses = ("127.0.0.1",)
    with called(own_client(f"dns://127.0.0.1:{names.port}/{NAME}:{first.port}")) as (_, failures):
        second = serve("--max-connection-age-s", "1", "--grace-s", "5", host="127.0.0.2", port=first.port)
        names.addresses = ("127.0.0.1", "127.0.0.2")
        wait_for(lambda: second.n_answered > 100, timeout_s=20)
        both = [first.n_answered, second.n_answered]
        wait_for(lambda: first.n_answered > both[0] + 20 and second.n_answered > both[1] + 20)
    assert failures == []
    assert names.asked > 1


def test_without_an_age_clients_never_find_a_new_server(serve: Any, names: Names) -> None:
    first = serve()
    names.addresses = ("127.0.0.1",)
    with called(own_client(f"dns://127.0.0.1:{names.port}/{NAME}:{first.port}")):
        second = serve(host="127.0.0.2", port=first.port)
        names.addresses = ("127.0.0.1", "127.0.0.2")
        time.sleep(3)
        assert second.n_answered == 0


def test_an_age_of_connections_takes_the_front_end_that_has_it(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(repository_path, front_end="auto", max_connection_age_s=60.0)
    assert "grpcio front end" in server.summary()[-1]
    with pytest.raises(ConfigurationError, match="front_end 'native' cannot do max_connection_age_s"):
        start_server(repository_path, front_end="native", max_connection_age_s=60.0)


def test_connections_renewed_under_load_cost_a_plain_client_no_call(serve: Any) -> None:
    server = serve("--max-connection-age-s", "0.5", "--grace-s", "5")
    with called(plain_client(server.address)) as (answers, failures):
        wait_for(lambda: answers["OK"] > 2000, timeout_s=60)
    assert failures == []
