"""What is special about the native front end; that it answers as grpcio does, the other modules here show."""

import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from triton_calls import INFER, infer_bytes, request_message
from tritonclient.grpc import InferenceServerClient, service_pb2
from waiting import wait_for as wait
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.engine.pool import Pool
from widedeep.serving.online.call import Call
from widedeep.serving.online.native import NativeFront, is_installed
from widedeep.serving.online.server import Server
from widedeep.serving.online.servicer import Servicer
from widedeep.serving.protocol import messages as m

wait_for = partial(wait, timeout_s=20)

pytestmark = pytest.mark.skipif(not is_installed(), reason="needs widedeep[native]")

Starter = Callable[..., Server]
CHANNEL_OPTIONS = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]


@pytest.fixture
def servicer(server: Server) -> Servicer:
    return Servicer(server.repository, allow_model_control=False, is_ready=lambda: True)


@contextmanager
def listening(infer: Any, max_calls: int = 1000) -> Iterator[tuple[NativeFront, grpc.Channel]]:
    """A front end with nothing behind it, and a channel to it."""
    pool = Pool(1)
    front = NativeFront(infer, pool, max_calls=max_calls, max_message_bytes=1 << 27)
    port = front.start("127.0.0.1:0", lambda _: None)
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS) as channel:
        yield front, channel
    front.close()
    pool.close()


def begin(channel: grpc.Channel, n_rows: int = 1, timeout_us: int = 0, **options: Any) -> Any:
    """Send a request and return its call."""
    message = request_message(n_rows)
    if timeout_us:
        message.parameters["timeout"].int64_param = timeout_us
    infer = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
    return infer.future(message.SerializeToString(), **{"timeout": 60, **options})


def test_calls_that_wait_hold_no_thread(start_server: Starter, repository_path: Path) -> None:
    server = start_server(
        repository_path, front_end="native", max_batch_rows=200, max_queue_delay_us=60_000_000, handler_threads=1
    )
    before = threading.active_count()
    with grpc.insecure_channel(server.address) as channel:
        calls = [begin(channel) for _ in range(199)]
        wait_for(lambda: server.repository.get("animals").waiting_rows == 199)
        # One spins in each channel of grpcio's client.
        assert threading.active_count() < before + 10
        calls.append(begin(channel))
        assert {len(call.result().raw_output_contents) for call in calls} == {2}


def test_calls_above_the_limit_are_refused_at_once(start_server: Starter, repository_path: Path) -> None:
    server = start_server(
        repository_path,
        front_end="native",
        max_batch_rows=100,
        max_queue_delay_us=60_000_000,
        handler_threads=2,
        max_queue_calls=3,
        grace_s=0,
    )
    with grpc.insecure_channel(server.address) as channel:
        waiting = [begin(channel) for _ in range(5)]
        wait_for(lambda: server.repository.get("animals").waiting_rows == 5)
        refused = begin(channel)
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.details() == "5 calls are under way, the most this server allows"
        waiting[0].cancel()
        wait_for(lambda: server.repository.get("animals").waiting_rows == 4)
        waiting.append(begin(channel))
        wait_for(lambda: server.repository.get("animals").waiting_rows == 5)
        for call in waiting:
            call.cancel()


def test_a_backlog_before_the_dispatcher_is_cut_to_the_limit(servicer: Servicer) -> None:
    came, go = threading.Event(), threading.Event()

    def infer(request: m.ModelInferRequest, left_s: float | None, call: Call) -> Any:
        came.set()
        assert go.wait(20)
        return servicer.infer(request, left_s, call)

    with listening(infer, max_calls=150) as (front, channel):
        first = begin(channel)
        assert came.wait(20)
        calls = [begin(channel) for _ in range(400)]
        wait_for(lambda: front.under_way == 401)
        go.set()
        codes = Counter(call.code() for call in [first, *calls])
    # The first may have been answered before the others are looked at.
    assert codes[grpc.StatusCode.OK] in {150, 151}
    assert codes[grpc.StatusCode.RESOURCE_EXHAUSTED] == 401 - codes[grpc.StatusCode.OK]


def test_the_time_that_a_request_sets_itself_ends_the_waiting_of_that_call_alone(
    start_server: Starter, repository_path: Path
) -> None:
    server = start_server(repository_path, front_end="native", max_batch_rows=8, max_queue_delay_us=60_000_000)
    with grpc.insecure_channel(server.address) as channel:
        patient = [begin(channel, timeout_us=40_000_000), begin(channel), begin(channel, timeout=30)]
        started = time.monotonic()
        hasty = [begin(channel, timeout_us=us) for us in (300_000, 100_000, 200_000)]
        for call in hasty:
            assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert call.details() == "the deadline passed before the rows were executed"
        assert 0.3 <= time.monotonic() - started < 10
        wait_for(lambda: server.repository.get("animals").waiting_rows == 3)
        begin(channel, 5).result()
        assert [len(call.result().outputs) for call in patient] == [2, 2, 2]
    assert server.repository.get("animals").statistics.total().fail.count == 3


def test_what_a_caller_that_is_gone_asked_for_harms_nobody(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, front_end="native")
    for _ in range(20):
        with grpc.insecure_channel(server.address, options=CHANNEL_OPTIONS) as channel:
            calls = [begin(channel, 2000) for _ in range(8)]
            calls[0].result()
    assert len(infer_bytes(server.address, request_message(2).SerializeToString()).outputs) == 2
    wait_for(lambda: server.repository.get("animals").waiting_rows == 0)


def test_deflate_is_refused_as_unimplemented(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, front_end="native")
    with grpc.insecure_channel(server.address) as channel:
        call = begin(channel, compression=grpc.Compression.Deflate)
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "deflate" in call.details()


def test_a_large_answer_under_way_arrives_before_the_server_is_gone(servicer: Servicer) -> None:
    n_rows = 400_000
    came, go = threading.Event(), threading.Event()

    def infer(request: m.ModelInferRequest, left_s: float | None, call: Call) -> Any:
        pending = servicer.infer(request, left_s, call)
        came.set()
        assert go.wait(20)
        return pending

    with listening(infer) as (front, channel):
        call = begin(channel, n_rows)
        assert came.wait(20)
        draining = threading.Thread(target=front.drain, args=(20,))
        draining.start()
        go.set()
        draining.join(20)
        front.close()
        answer = call.result()
    assert answer.outputs[0].shape == [n_rows, 3]
    probabilities = np.frombuffer(answer.raw_output_contents[0], np.float32).reshape(n_rows, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_calls_that_come_while_it_drains_are_refused_and_those_before_answered(servicer: Servicer) -> None:
    came, go = threading.Event(), threading.Event()

    def infer(request: m.ModelInferRequest, left_s: float | None, call: Call) -> Any:
        came.set()
        assert go.wait(20)
        return servicer.infer(request, left_s, call)

    with listening(infer) as (front, channel):
        accepted = begin(channel)
        assert came.wait(20)
        draining = threading.Thread(target=front.drain, args=(20,))
        draining.start()
        late = [begin(channel) for _ in range(30)]
        gone = begin(channel)
        wait_for(lambda: front.under_way == 32)
        gone.cancel()
        wait_for(lambda: front.under_way == 31)
        go.set()
        draining.join(20)
        codes = Counter(call.code() for call in late)
        assert accepted.code() is grpc.StatusCode.OK
        assert codes == {grpc.StatusCode.UNAVAILABLE: 30}
        assert late[0].details() == "the server is draining"
        assert begin(channel).code() is grpc.StatusCode.UNAVAILABLE


def test_a_call_that_is_being_read_does_not_count_as_answered(servicer: Servicer) -> None:
    seen: list[bool] = []

    def infer(request: m.ModelInferRequest, time_left_s: float | None, call: Call) -> Any:
        assert front._dispatcher is not None
        seen.append(front._dispatcher.is_answered)
        return servicer.infer(request, time_left_s, call)

    with listening(infer) as (front, channel):
        assert len(begin(channel).result().raw_output_contents) == 2
        wait_for(lambda: front._dispatcher is not None and front._dispatcher.is_answered)
    assert seen == [False]


def test_a_stopped_server_leaves_no_folder_behind(
    start_server: Starter, repository_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    server = start_server(repository_path, front_end="native")
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    with InferenceServerClient(server.address) as client:
        assert client.is_server_live()
    server.stop()
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_default_is_grpcio_and_native_is_refused(
    start_server: Starter, repository_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)
    server = start_server(repository_path, front_end="auto")
    assert server.summary()[-1].endswith("grpcio front end)")
    with pytest.raises(ConfigurationError, match=r"needs the package pygrpc-native: install widedeep\[native\]"):
        start_server(repository_path, front_end="native")


def test_with_the_package_the_default_is_native(start_server: Starter, repository_path: Path) -> None:
    assert start_server(repository_path).summary()[-1].endswith("native front end)")


def test_a_missing_temporary_folder_is_told(
    start_server: Starter, repository_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="needs a temporary folder for a socket"):
        start_server(repository_path, front_end="native")
