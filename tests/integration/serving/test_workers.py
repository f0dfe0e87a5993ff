"""Several workers behind one port: real processes, and clients that cannot tell how many there are.

The kernel spreads connections over workers at random, so each test opens enough of them to reach all: of 16 none comes
to one of two workers once in 32,768 times.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from served_commands import Command, called
from small_bundle import make_bundle, rows
from triton_calls import INFER, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException
from waiting import wait_for
from widedeep.serving.client import Client
from widedeep.serving.contract.errors import WidedeepError

N_CONNECTIONS = 16
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


class TwoWorkers(Command):
    """A real `widedeep serve` with two workers, in a process group of its own."""

    def __init__(self, path: Path, *flags: str) -> None:
        super().__init__(path, "--workers", "2", "--drain-wait-s", "0.2", *flags, in_own_group=True)

    def workers(self) -> list[int]:
        """Return the process ids of the workers: the grandchildren, by way of the nursery."""
        return [worker for nursery in children(self.process.pid) for worker in children(nursery)]


def children(process: int) -> list[int]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{process}/task").iterdir():
            found += list(map(int, (task / "children").read_text().split()))
    return found


def is_alive(process: int) -> bool:
    """Return whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


Starter = Callable[..., TwoWorkers]


@pytest.fixture(scope="module", params=["grpcio", "native"])
def front_end(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
    return str(request.param)


@pytest.fixture
def serve() -> Iterator[Starter]:
    started: list[TwoWorkers] = []

    def start(path: Path, *flags: str) -> TwoWorkers:
        started.append(TwoWorkers(path, *flags))
        return started[-1]

    yield start
    for command in started:
        command.kill()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, front_end: str) -> Path:
    """A repository that the tests of the shared server change: each uses a model of its own."""
    path = tmp_path_factory.mktemp("models")
    for name in ("counted", "swapped", "unloaded", "damaged"):
        make_bundle(path / name / "1", name=name)
    return path


@pytest.fixture(scope="module")
def command(models: Path, front_end: str) -> Iterator[TwoWorkers]:
    """A server that tests share; it is left running."""
    shared = TwoWorkers(models, "--allow-model-control", "--front-end", front_end)
    yield shared
    shared.kill()


@pytest.fixture
def clients(command: TwoWorkers) -> Iterator[list[InferenceServerClient]]:
    with connected(command.address) as opened:
        yield opened


@contextlib.contextmanager
def connected(address: str) -> Iterator[list[InferenceServerClient]]:
    """Open stock clients, each with a connection of its own."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(InferenceServerClient(address, channel_args=OWN_CONNECTION))
            for _ in range(N_CONNECTIONS)
        ]


def answered_version(client: InferenceServerClient, model: str) -> str:
    return str(client.infer(model, triton_inputs(rows(1))).get_response().model_version)


def test_statistics_are_sums_over_all_workers_whoever_is_asked(clients: list[InferenceServerClient]) -> None:
    for client in clients:
        for _ in range(3):
            client.infer("counted", triton_inputs(rows(2)))
        with pytest.raises(InferenceServerException, match="unknown output"):
            client.infer("counted", triton_inputs(rows(1)), outputs=[no_output()])
    for client in clients:
        total, deep, wide = client.get_inference_statistics("counted").model_stats
        assert (total.inference_count, total.inference_stats.success.count) == (96, 48)
        assert total.inference_stats.fail.count == 16
        assert sum(batch.batch_size * batch.compute_infer.count for batch in total.batch_stats) == 96
        assert [each.name for each in (deep, wide)] == ["counted/deep", "counted/wide"]
    # Both did some of it: what one of them counts must not be the sum by chance.
    everything = clients[0].get_inference_statistics().model_stats
    assert {each.name for each in everything} >= {"counted", "counted/deep", "swapped", "unloaded"}


def no_output() -> Any:
    from tritonclient.grpc import InferRequestedOutput

    return InferRequestedOutput("nothing")


def test_a_swap_is_seen_on_all_connections_at_once(
    command: TwoWorkers, clients: list[InferenceServerClient], models: Path
) -> None:
    calls: list[tuple[float, float, int]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def call(client: InferenceServerClient) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                version = int(answered_version(client, "swapped"))
            except InferenceServerException as error:
                failures.append(error)
                return
            calls.append((began, time.monotonic(), version))

    threads = [threading.Thread(target=call, args=(client,)) for client in clients[1:]]
    for thread in threads:
        thread.start()
    loaded: list[tuple[float, int]] = []
    for version in range(2, 6):
        make_bundle(models / "swapped" / str(version), name="swapped", seed=version)
        clients[0].load_model("swapped")
        loaded.append((time.monotonic(), version))
        time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert {version for _, _, version in calls} == {1, 2, 3, 4, 5}
    # Whatever anybody has seen, or been told to be loaded, is what every call sees that begins later.
    seen = sorted([(ended, version) for _, ended, version in calls] + loaded)
    newest, at = 0, 0
    for began, _, version in sorted(calls):
        while at < len(seen) and seen[at][0] < began:
            newest = max(newest, seen[at][1])
            at += 1
        assert version >= newest


def test_an_unloaded_model_answers_on_no_connection_until_it_is_loaded_again(
    clients: list[InferenceServerClient],
) -> None:
    for _ in range(5):
        clients[0].unload_model("unloaded")
        for client in clients:
            with pytest.raises(InferenceServerException, match="model 'unloaded' version 1 is UNAVAILABLE: unloaded"):
                answered_version(client, "unloaded")
            assert not client.is_model_ready("unloaded")
        clients[1].load_model("unloaded")
        for client in clients:
            assert answered_version(client, "unloaded") == "1"


def test_the_index_is_the_same_on_all_connections_and_a_load_that_fails_changes_no_worker(
    clients: list[InferenceServerClient], models: Path
) -> None:
    make_bundle(models / "damaged" / "2", name="damaged", seed=7)
    with (models / "damaged" / "2" / "members" / "deep.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InferenceServerException, match=r"'damaged' version 2 .*deep.onnx has changed") as caught:
        clients[0].load_model("damaged")
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
    indexes = {client.get_model_repository_index().SerializeToString(deterministic=True) for client in clients}
    assert len(indexes) == 1
    states = {
        (each.version, each.state) for each in clients[0].get_model_repository_index().models if each.name == "damaged"
    }
    assert states == {("1", "READY"), ("2", "UNAVAILABLE")}
    assert {answered_version(client, "damaged") for client in clients} == {"1"}


def connections_of(process: int, port: int) -> int:
    """Return how many connections to a port a process has accepted."""
    lines = [
        line.split() for file in ("tcp", "tcp6") for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]
    ]
    there = {f"socket:[{line[9]}]" for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "01"}
    return sum(str(link.readlink()) in there for link in Path(f"/proc/{process}/fd").iterdir())


def test_a_client_with_several_connections_makes_use_of_every_worker(command: TwoWorkers) -> None:
    with Client(command.address, model="counted", connections=N_CONNECTIONS) as client:
        for _ in range(2 * N_CONNECTIONS):
            client.predict(rows(1))
        used = [connections_of(worker, command.port) for worker in command.workers()]
        assert min(used) > 0
        assert sum(used) >= N_CONNECTIONS


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_a_model_that_is_not_there_is_not_found(clients: list[InferenceServerClient], call: str) -> None:
    with pytest.raises(InferenceServerException, match="model 'plants'") as caught:
        getattr(clients[0], call)("plants")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_worker_that_is_killed_is_replaced_in_the_state_of_the_others_and_no_count_goes_back(
    command: TwoWorkers, models: Path
) -> None:
    make_bundle(models / "later" / "1", name="later")
    with connected(command.address) as clients:
        clients[0].load_model("later")
        clients[0].unload_model("unloaded")
        for client in clients:
            client.infer("later", triton_inputs(rows(1)))
        assert clients[0].get_inference_statistics("later").model_stats[0].inference_count == 16
        before = command.workers()
        kept = connections_of(before[1], command.port)
        os.kill(before[0], signal.SIGKILL)
        # Those who are connected to the other notice nothing.
        assert sum(all_answer([client], "later") for client in clients) >= kept > 0
    with connected(command.address) as clients:
        wait_for(lambda: len(now := command.workers()) == 2 and before[0] not in now)
        assert before[1] in command.workers()
        wait_for(lambda: all_answer(clients, "later"))
        for client in clients:
            total = client.get_inference_statistics("later").model_stats[0]
            assert total.inference_count >= 16
            assert not client.is_model_ready("unloaded")
        clients[0].load_model("unloaded")
        assert {answered_version(client, "unloaded") for client in clients} == {"1"}
    assert any("another starts in" in line for line in command.lines)


def all_answer(clients: list[InferenceServerClient], model: str) -> bool:
    try:
        return all(answered_version(client, model) == "1" for client in clients)
    except InferenceServerException:
        return False


def test_a_nursery_that_is_killed_is_replaced_while_its_workers_answer_and_so_are_they_afterwards(
    serve: Starter, repository_path: Path
) -> None:
    command = serve(repository_path)
    (nursery,) = children(command.process.pid)
    before = command.workers()
    with called(partial(opened, command.address)) as (answers, failures):
        os.kill(nursery, signal.SIGKILL)
        wait_for(lambda: any(f"forked from ({nursery}) was killed by signal 9" in line for line in command.lines))
        wait_for(lambda: children(command.process.pid) not in ([], [nursery]))
        answered = answers["OK"]
        wait_for(lambda: answers["OK"] > answered + 100)
    assert failures == []
    assert all(map(is_alive, before))
    # The orphans' deaths are noticed by their sockets alone.
    for n_replaced, orphan in enumerate(before, start=1):
        os.kill(orphan, signal.SIGKILL)
        wait_for(lambda n_wanted=n_replaced: len(command.workers()) == n_wanted)
    with connected(command.address) as clients:
        wait_for(lambda: all_answer(clients, "animals"))
        command.process.send_signal(signal.SIGTERM)
        assert command.end() == 0


@contextlib.contextmanager
def opened(address: str) -> Iterator[Callable[[], object]]:
    with Client(address, model="animals") as client:
        yield lambda: client.predict(rows(1))


@pytest.mark.slow
def test_a_nursery_that_dies_again_and_again_ends_the_server_in_order(serve: Starter, repository_path: Path) -> None:
    command = serve(repository_path)
    while command.process.poll() is None:
        for nursery in children(command.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(nursery, signal.SIGKILL)
        time.sleep(0.2)
    assert command.end() == 1
    assert any("giving up" in line for line in command.lines)
    assert command.lines[-1] == "stopped\n"


def test_a_supervisor_that_is_killed_takes_its_workers_along_and_frees_the_port(
    serve: Starter, repository_path: Path
) -> None:
    command = serve(repository_path)
    processes = [*children(command.process.pid), *command.workers()]
    assert len(processes) == 3
    command.process.kill()
    wait_for(lambda: not any(map(is_alive, processes)), timeout_s=5)
    wait_for(lambda: is_free(command.port), timeout_s=5)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("to_group", [False, True], ids=["supervisor", "process-group"])
def test_sigterm_under_load_answers_every_accepted_call_and_refuses_later_ones(
    serve: Starter, repository_path: Path, front_end: str, to_group: bool
) -> None:
    command = serve(repository_path, "--front-end", front_end)
    stop = threading.Event()
    answered: list[int] = []
    refused: list[tuple[grpc.StatusCode, str]] = []
    data = request_message(8).SerializeToString()

    def load() -> None:
        with grpc.insecure_channel(command.address, options=OWN_CONNECTION) as channel:
            call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
            while not stop.is_set():
                try:
                    answered.append(len(call(data, timeout=20).raw_output_contents))
                except grpc.RpcError as error:
                    failed: Any = error
                    refused.append((failed.code(), failed.details()))
                    stop.wait(0.01)

    threads = [threading.Thread(target=load) for _ in range(12)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answered) > 300)
    before = len(answered)
    if to_group:
        os.killpg(command.process.pid, signal.SIGTERM)
    else:
        command.process.send_signal(signal.SIGTERM)
    status = command.end()
    wait_for(lambda: len(refused) > 20)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert status == 0
    assert set(answered) == {2}
    assert len(answered) > before
    assert {code for code, _ in refused} == {grpc.StatusCode.UNAVAILABLE}
    # What grpcio says where a connection goes, with the calls on it, without having been told that it would.
    assert "Stream removed (Socket closed)" not in {details for _, details in refused}
    assert command.lines[-1] == "stopped\n"


def test_no_worker_says_ready_once_another_has_said_not_ready(serve: Starter, repository_path: Path) -> None:
    command = serve(repository_path, "--drain-wait-s", "1")
    with connected(command.address) as clients:
        assert all(client.is_server_ready() and client.is_model_ready("animals") for client in clients)
        command.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not clients[0].is_server_ready())
        assert not any(client.is_server_ready() or client.is_model_ready("animals") for client in clients)
        assert {answered_version(client, "animals") for client in clients} == {"1"}
        assert command.end() == 0


def test_what_may_wait_may_wait_in_all_workers_together(serve: Starter, repository_path: Path, front_end: str) -> None:
    command = serve(
        repository_path,
        *("--front-end", front_end),
        *("--max-batch-rows", "64", "--max-queue-delay-us", "60000000", "--max-queue-rows", "8"),
        *("--max-streams", "1", "--grace-s", "0"),
    )
    with contextlib.ExitStack() as stack:
        channels = [
            stack.enter_context(grpc.insecure_channel(command.address, options=OWN_CONNECTION))
            for _ in range(N_CONNECTIONS)
        ]
        calls = []
        for channel in channels:
            call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
            calls.append(call.future(request_message(1).SerializeToString(), timeout=60))
        wait_for(lambda: sum(call.done() for call in calls) == 8)
        time.sleep(0.1)
        refused = [call for call in calls if call.done()]
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert {call.details() for call in refused} == {"the queue is full: 8 rows wait, 1 more would exceed 8"}
        assert len(refused) == 8
        for call in calls:
            call.cancel()
        assert_one_stream_only(stack.enter_context(connected(command.address)))


def assert_one_stream_only(clients: list[InferenceServerClient]) -> None:
    errors: list[str] = []
    came = threading.Semaphore(0)

    def answered(result: Any, error: Any) -> None:
        errors.append(str(error))
        came.release()

    clients[0].start_stream(answered)
    clients[0].async_stream_infer("nothing", triton_inputs(rows(1)))
    assert came.acquire(timeout=20)
    for client in clients[1:]:
        client.start_stream(answered)
        assert came.acquire(timeout=20)
        client.stop_stream(cancel_requests=True)
    assert sum("1 streams are open, the most this server allows" in error for error in errors) == N_CONNECTIONS - 1
    clients[0].stop_stream(cancel_requests=True)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_workers_have_is_in_use_for_any_other_server(
    command: TwoWorkers, repository_path: Path, workers: str
) -> None:
    serve = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(repository_path), "--host", "127.0.0.1"]
    second = subprocess.run(
        [*serve, "--port", str(command.port), "--workers", workers],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"widedeep serve: cannot listen on 127.0.0.1:{command.port}: is the port in use?" in second.stderr


def test_a_model_that_cannot_be_served_ends_the_command_with_a_message(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals" / "1")
    (tmp_path / "animals" / "1" / "members" / "deep.onnx").write_bytes(b"")
    serve = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(tmp_path), "--port", "0", "--workers", "2"]
    failed = subprocess.run(serve, capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert "model 'animals' version 1 cannot be served" in failed.stderr
    assert "has changed" in failed.stderr


def test_settings_that_cannot_work_here_end_the_command_with_a_message(repository_path: Path) -> None:
    serve = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(repository_path), "--port", "0"]
    flags = ["--workers", "2", "--providers", "depe=CPUExecutionProvider"]
    failed = subprocess.run([*serve, *flags], capture_output=True, text=True, timeout=60, check=False)
    assert failed.returncode == 1
    assert "widedeep serve: providers for unknown member 'depe'" in failed.stderr


def test_workers_follow_the_disk_together_and_a_new_one_comes_up_with_what_they_serve(
    serve: Starter, tmp_path: Path, front_end: str
) -> None:
    models = tmp_path / "models"
    make_bundle(models / "animals" / "1")
    command = serve(models, "--front-end", front_end, "--poll-interval-s", "0.1")
    with connected(command.address) as clients:
        make_bundle(models / "animals" / "2", seed=2)
        wait_for(lambda: answered_version(clients[0], "animals") == "2")
        assert {answered_version(client, "animals") for client in clients} == {"2"}
        make_bundle(tmp_path / "3", seed=3)
        (tmp_path / "3" / "members" / "deep.onnx").write_bytes(b"x")
        (tmp_path / "3").rename(models / "animals" / "3")
        wait_for(lambda: any("has changed" in each.reason for each in clients[0].get_model_repository_index().models))
        assert {answered_version(client, "animals") for client in clients} == {"2"}
    before = command.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(now := command.workers()) == 2 and before[0] not in now)
    with connected(command.address) as clients:
        wait_for(lambda: {each for client in clients for each in versions_answered(client)} == {"2"})
    command.process.send_signal(signal.SIGTERM)
    assert command.end() == 0


def versions_answered(client: InferenceServerClient) -> list[str]:
    with contextlib.suppress(InferenceServerException):
        return [answered_version(client, "animals")]
    return []


@pytest.mark.slow
def test_a_worker_that_finds_another_bundle_on_disk_never_serves_it_beside_the_old_one(
    serve: Starter, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    command = serve(tmp_path)
    with Client(command.address, model="animals") as client:
        digest = client.metadata().digest
    make_bundle(tmp_path / "animals" / "1", seed=7)
    kept = command.workers()[1]
    os.kill(command.workers()[0], signal.SIGKILL)
    while command.process.poll() is None:
        with contextlib.suppress(WidedeepError), Client(command.address, model="animals") as client:
            assert client.metadata(timeout_s=0.5).digest == digest
        if kept in (now := command.workers()):
            # None that did not come up is left, but for one that is about to end.
            assert sum(map(is_alive, now)) <= 3
        time.sleep(0.05)
    assert command.end() == 1
    assert any("is not the bundle any more that the other workers serve" in line for line in command.lines)


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_the_server(serve: Starter, repository_path: Path) -> None:
    command = serve(repository_path)
    while command.process.poll() is None:
        for worker in command.workers()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.2)
    assert command.end() == 1
    assert any("giving up" in line for line in command.lines)


def test_the_supervisor_loads_neither_grpc_nor_onnxruntime() -> None:
    code = (
        "import sys, widedeep.serving.cli, widedeep.serving.online.workers.supervisor;"
        "print([name for name in ('grpc', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
