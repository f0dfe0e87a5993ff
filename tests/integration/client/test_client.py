"""The clients against a real server."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from peers.processes import free_port
from small_bundle import make_bundle, rows
from widedeep.serving.client import AsyncClient, Backoff, Client
from widedeep.serving.contract.bundle import read_bundle, read_samples, write_bundle
from widedeep.serving.contract.errors import (
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    Overloaded,
    WidedeepError,
)
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

StartServer = Callable[..., Server]


def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(address(server), model="animals") as client:
        yield client


@pytest.fixture(scope="module")
def expected(repository_path: Path) -> Any:
    """What the ensemble answers in this process for `rows(20)`, every output."""
    ensemble = Ensemble.load(repository_path / "animals" / "1")
    return ensemble.predict(rows(20), ["probabilities", "label", "scores/deep", "scores/wide"])


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    return free_port()


def table() -> dict[str, Any]:
    """Return `rows(20)` as columns: a list column of the input's name, and a column a feature."""
    data = rows(20)
    return {
        "image": data["image"].reshape(20, 8).tolist(),
        **{name: data["tabular"][:, i] for i, name in enumerate("abc")},
        "comment": ["not an input"] * 20,
    }


@pytest.mark.parametrize(
    "data",
    [lambda: rows(20), table, lambda: pd.DataFrame(table()), lambda: pa.table(table())],
    ids=["arrays", "columns", "pandas", "pyarrow"],
)
def test_rows_in_any_form_get_the_ensembles_answer(client: Client, expected: Any, data: Callable[[], Any]) -> None:
    answer = client.predict(data(), request_id="abc")
    np.testing.assert_allclose(answer.probabilities, expected["probabilities"], atol=1e-6)
    assert answer.label.tolist() == expected["label"][:, 0].tolist()
    assert (answer.model, answer.version, answer.request_id) == ("animals", "1", "abc")


def test_member_scores_come_only_if_asked_for(client: Client, expected: Any) -> None:
    assert client.predict(rows(1)).scores == {}
    scores = client.predict(rows(20), ["scores/wide", "scores/deep"]).scores
    np.testing.assert_allclose(scores["deep"], expected["scores/deep"], atol=1e-6)
    np.testing.assert_allclose(scores["wide"], expected["scores/wide"], atol=1e-6)


def test_many_rows_in_small_messages_come_back_in_order(server: Server) -> None:
    data = rows(3000, seed=5)
    with Client(address(server), model="animals") as client:
        whole = client.predict(data)
    with Client(address(server), model="animals", max_message_bytes=1 << 14) as client:
        parts = client.predict(data)
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, atol=1e-6)


def test_one_client_serves_many_threads(client: Client, expected: Any) -> None:
    failures: list[BaseException] = []

    def ask(row: int) -> None:
        try:
            one = {name: array[row : row + 1] for name, array in rows(20).items()}
            for _ in range(10):
                np.testing.assert_allclose(
                    client.predict(one).probabilities[0], expected["probabilities"][row], atol=1e-6
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []


def connections_to(port: int) -> int:
    """Return how many established connections end at a port of this machine."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in lines)


def test_calls_take_turns_on_as_many_connections_as_are_asked_for(
    start_server: StartServer, repository_path: Path
) -> None:
    server = start_server(repository_path)
    with Client(address(server), model="animals") as one, Client(address(server), model="animals") as other:
        for client in (one, other):
            client.predict(rows(1))
        assert connections_to(server.port) == 2
    with Client(address(server), model="animals", connections=3) as client:
        for _ in range(6):
            client.predict(rows(1))
        assert connections_to(server.port) >= 3
    with pytest.raises(InvalidInput, match="expected at least one connection, got 0"):
        Client(address(server), model="animals", connections=0)


async def test_async_calls_take_turns_on_as_many_connections_as_are_asked_for(
    start_server: StartServer, repository_path: Path
) -> None:
    server = start_server(repository_path)
    async with AsyncClient(address(server), model="animals", connections=3) as client:
        for _ in range(6):
            await client.predict(rows(1))
        assert connections_to(server.port) == 3


def test_metadata_tells_inputs_with_their_features(client: Client) -> None:
    info = client.metadata()
    assert [spec.name for spec in info.inputs] == ["image", "tabular"]
    assert info.inputs[1].feature_names == ("a", "b", "c")
    assert [output.name for output in info.outputs] == ["probabilities", "label", "scores/deep", "scores/wide"]
    assert info.versions == ("1",)


def test_readiness_is_told_for_models_there_and_not_there(server: Server, client: Client, port: int) -> None:
    assert client.is_ready()
    with Client(address(server), model="plants") as other, Client(f"127.0.0.1:{port}", model="animals") as nobody:
        assert not other.is_ready()
        assert not nobody.is_ready()


def test_failures_are_the_contracts_errors_with_the_servers_words(server: Server, client: Client) -> None:
    with Client(address(server), model="plants") as other, pytest.raises(NotFound, match="unknown model 'plants'") as e:
        other.predict(rows(1))
    assert isinstance(e.value.__cause__, grpc.RpcError)
    assert e.value.__cause__.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(InvalidInput, match="unknown output 'odds'; expected 'probabilities'"):
        client.predict(rows(1), ["odds"])
    with pytest.raises(InvalidInput, match="input 'tabular': NaN in row 0"):
        client.predict({**rows(1), "tabular": np.full((1, 3), np.nan)})


def test_a_message_beyond_the_servers_limit_is_an_error_that_says_so(
    start_server: StartServer, repository_path: Path
) -> None:
    server = start_server(repository_path, max_message_bytes=1024)
    with Client(address(server), model="animals") as client, pytest.raises(Overloaded, match="larger than max"):
        client.predict(rows(500))


def test_a_deadline_ends_the_call(start_server: StartServer, repository_path: Path) -> None:
    server = start_server(repository_path, max_queue_delay_us=20_000_000)
    with Client(address(server), model="animals") as client:
        client.metadata()
        with pytest.raises(DeadlineExceeded):
            client.predict(rows(1), timeout_s=0.2)


def test_a_server_that_comes_up_late_is_waited_for(
    start_server: StartServer, repository_path: Path, port: int, expected: Any
) -> None:
    waited = threading.Event()

    def wait(seconds: float) -> None:
        if not waited.is_set():
            waited.set()
            start_server(repository_path, port=port)
        threading.Event().wait(seconds)

    with Client(f"127.0.0.1:{port}", model="animals", sleep=wait) as client:
        answer = client.predict(rows(20), timeout_s=60.0)
    assert waited.is_set()
    np.testing.assert_allclose(answer.probabilities, expected["probabilities"], atol=1e-6)


def test_a_restart_between_two_calls_is_not_noticed(
    start_server: StartServer, repository_path: Path, port: int
) -> None:
    first = start_server(repository_path, port=port)
    with Client(f"127.0.0.1:{port}", model="animals") as client:
        before = client.predict(rows(4))
        first.stop()
        start_server(repository_path, port=port)
        after = client.predict(rows(4))
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_a_server_that_never_comes_is_given_up_within_the_time(port: int) -> None:
    with (
        Client(f"127.0.0.1:{port}", model="animals", backoff=Backoff(first_s=0.01, most_s=0.05)) as client,
        pytest.raises(NotReady) as caught,
    ):
        client.predict(rows(1), timeout_s=0.5)
    assert "no time is left" in caught.value.__notes__[0]


def rename_features(path: Path, target: Path) -> None:
    """Write the bundle at `path` once more, with the columns of `tabular` under one another's names."""
    bundle = read_bundle(path)
    image, tabular = bundle.inputs
    graphs = {member.name: (path / member.file).read_bytes() for member in bundle.members}
    renamed = replace(bundle, inputs=(image, replace(tabular, feature_names=("c", "b", "a"))))
    write_bundle(target, renamed, graphs, read_samples(path))


@pytest.mark.parametrize("version", ["1", "2"])
def test_columns_are_never_bound_by_the_names_of_a_model_that_was_replaced(
    start_server: StartServer, tmp_path: Path, version: str
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    server = start_server(tmp_path)
    with Client(address(server), model="animals") as client:
        before = client.predict(table())
        rename_features(tmp_path / "animals" / "1", tmp_path / "animals" / version)
        server.repository.load("animals")
        after = client.predict(table() | {"a": table()["c"], "c": table()["a"]})
    assert after.version == version
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)


async def test_the_async_client_answers_many_calls_side_by_side(server: Server, expected: Any) -> None:
    async with AsyncClient(address(server), model="animals") as client:
        singles = [{name: array[i : i + 1] for name, array in rows(20).items()} for i in range(20)]
        answers = await asyncio.gather(*(client.predict(one) for one in singles))
        assert await client.is_ready()
        assert (await client.metadata()).name == "animals"
    np.testing.assert_allclose(
        np.concatenate([answer.probabilities for answer in answers]), expected["probabilities"], atol=1e-6
    )


async def test_the_async_client_raises_the_same_errors(server: Server) -> None:
    async with AsyncClient(address(server), model="plants") as client:
        with pytest.raises(NotFound, match="unknown model 'plants'"):
            await client.predict(rows(1))
    async with AsyncClient(address(server), model="animals") as client:
        with pytest.raises(InvalidInput, match="column 'b' is missing"):
            await client.predict({"image": rows(1)["image"], "a": [1]})


async def test_the_async_client_waits_for_a_late_server(
    start_server: StartServer, repository_path: Path, port: int
) -> None:
    started: list[Server] = []

    async def sleep(seconds: float) -> None:
        if not started:
            started.append(await asyncio.to_thread(start_server, repository_path, port=port))
        await asyncio.sleep(seconds)

    async with AsyncClient(f"127.0.0.1:{port}", model="animals", sleep=sleep) as client:
        assert len(await client.predict(rows(2), timeout_s=60.0)) == 2
    assert len(started) == 1


async def test_cancelling_an_async_call_ends_it(start_server: StartServer, repository_path: Path) -> None:
    server = start_server(repository_path, max_queue_delay_us=20_000_000)
    async with AsyncClient(address(server), model="animals") as client:
        await client.metadata()
        task = asyncio.create_task(client.predict(rows(1)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_credentials_and_metadata_go_with_every_call(server: Server) -> None:
    credentials = grpc.ssl_channel_credentials()
    with (
        Client(address(server), model="animals", credentials=credentials) as client,
        pytest.raises(WidedeepError),
    ):
        client.predict(rows(1), timeout_s=0.5)  # the server speaks no TLS


def test_the_client_and_tritonclient_live_in_one_process(server: Server) -> None:
    code = (
        "import sys, numpy as np\n"
        "{}\n"
        "target = sys.argv[1]\n"
        "triton = tritonclient.grpc.InferenceServerClient(target)\n"
        "assert triton.is_model_ready('animals')\n"
        "client = Client(target, model='animals')\n"
        "rows = {{'image': np.zeros((1, 2, 4), 'f'), 'tabular': np.zeros((1, 3), 'f')}}\n"
        "assert len(client.predict(rows)) == 1\n"
    )
    imports = ["import tritonclient.grpc", "from widedeep.serving.client import Client"]
    for order in (imports, imports[::-1]):
        done = subprocess.run(
            [sys.executable, "-c", code.format("\n".join(order)), address(server)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
