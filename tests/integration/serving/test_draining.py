"""A server that is told to stop answers what it has accepted, refuses the rest as UNAVAILABLE, and goes."""

import ctypes
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from served_commands import Command
from small_bundle import rows
from triton_calls import INFER, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient, service_pb2
from waiting import wait_for
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

Starter = Callable[..., Server]

SERVE = [sys.executable, "-m", "widedeep.serving.cli", "serve", "--host", "127.0.0.1"]


@pytest.fixture
def command(repository_path: Path, front_end: str) -> Iterator[Command]:
    started = Command(repository_path, "--drain-wait-s", "0.3", "--front-end", front_end)
    yield started
    started.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_with_status_0(command: Command, number: signal.Signals) -> None:
    command.process.send_signal(number)
    assert command.end() == 0
    assert command.lines[-2].startswith("draining")
    assert command.lines[-1] == "stopped\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's list of a process's threads")
def test_a_signal_that_the_kernel_gives_to_another_thread_ends_the_server(command: Command) -> None:
    main = command.process.pid
    thread = max(int(path.name) for path in Path(f"/proc/{main}/task").iterdir() if path.name != str(main))
    assert ctypes.CDLL(None).tgkill(main, thread, signal.SIGTERM) == 0
    command.process.wait(20)
    assert command.end() == 0


def test_the_command_says_what_it_serves_and_where(command: Command, front_end: str) -> None:
    output = "".join(command.lines)
    assert "serving animals version 1: deep (CPU), wide (CPU)" in output
    assert f"listening on {command.address} (gRPC, Open Inference Protocol v2, {front_end} front end)" in output


def test_sigterm_under_load_answers_every_accepted_call_and_refuses_later_ones(command: Command) -> None:
    with loaded(command.address) as (answered, refused):
        before = len(answered)
        command.process.send_signal(signal.SIGTERM)
        status = command.end()
        wait_for(lambda: len(refused) > 20)
    assert status == 0
    assert set(answered) == {2}
    assert len(answered) > before
    assert Counter(refused).keys() == {grpc.StatusCode.UNAVAILABLE}


def test_callers_hear_every_answer_that_a_server_gives_while_it_stops(
    start_server: Starter, repository_path: Path
) -> None:
    server = start_server(repository_path)
    statistics = server.repository.get("animals").statistics
    with loaded(server.address) as (answered, refused):
        server.stop()
        wait_for(lambda: len(refused) > 20)
    assert statistics.total().success.count == len(answered)
    assert Counter(refused).keys() == {grpc.StatusCode.UNAVAILABLE}


def test_a_server_that_drains_still_answers_but_is_not_ready(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, drain_wait_s=1.0)
    with InferenceServerClient(server.address) as client:
        assert client.is_server_ready()
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        wait_for(lambda: not client.is_server_ready())
        assert client.is_server_live()
        assert not client.is_model_ready("animals")
        assert client.infer("animals", triton_inputs(rows(1))).as_numpy("label").shape == (1, 1)
        stopping.join(20)


def test_an_idle_stream_does_not_hold_up_the_stop(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, grace_s=600)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with InferenceServerClient(server.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("animals", triton_inputs(rows(1)))
        assert answers.get(timeout=20)[1] is None
        server.stop()
        error = answers.get(timeout=20)[1]
        client.stop_stream()
    assert error.status() == "StatusCode.UNAVAILABLE"
    assert "the server is draining" in str(error)


def test_what_was_read_from_a_stream_is_answered_before_it_ends(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, max_batch_rows=64, max_queue_delay_us=500_000, grace_s=600)
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with InferenceServerClient(server.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for _ in range(5):
            client.async_stream_infer("animals", triton_inputs(rows(1)))
        wait_for(lambda: server.repository.get("animals").waiting_rows == 5)
        server.stop()
        results = [answers.get(timeout=20) for _ in range(6)]
        client.stop_stream()
    assert [error is None for _, error in results] == [True] * 5 + [False]
    assert results[-1][1].status() == "StatusCode.UNAVAILABLE"


def test_calls_that_outlast_the_grace_are_cut_off(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, max_batch_rows=64, max_queue_delay_us=60_000_000, grace_s=0.2)
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(INFER).future(request_message(1).SerializeToString(), timeout=60)
        wait_for(lambda: server.repository.get("animals").waiting_rows == 1)
        server.stop()
        assert call.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_two_servers_cannot_share_a_port(start_server: Starter, repository_path: Path) -> None:
    first = start_server(repository_path)
    with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{first.port}: is the port in use\?"):
        start_server(repository_path, port=first.port)


def test_a_port_in_use_ends_the_command_with_a_message(command: Command, repository_path: Path, front_end: str) -> None:
    port = command.address.rsplit(":", maxsplit=1)[-1]
    second = subprocess.run(
        [*SERVE, str(repository_path), "--port", port, "--front-end", front_end],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"widedeep serve: cannot listen on 127.0.0.1:{port}: is the port in use?" in second.stderr


@contextmanager
def loaded(address: str) -> Iterator[tuple[list[int], list[grpc.StatusCode]]]:
    """Call a server from 16 threads all the time; yields the outputs a call that was answered, and other statuses."""
    stop = threading.Event()
    answered: list[int] = []
    refused: list[grpc.StatusCode] = []
    data = request_message(8).SerializeToString()

    def load() -> None:
        # One channel a thread that gives up at once: a retry would hide what became of a call.
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(address, options=options) as channel:
            call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
            while not stop.is_set():
                try:
                    answered.append(len(call(data, timeout=20).raw_output_contents))
                except grpc.RpcError as error:
                    failed: Any = error
                    refused.append(failed.code())
                    stop.wait(0.01)

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answered) > 200)
        yield answered, refused
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
