"""Waiting has its limits: a full queue, a deadline, a caller that goes away; and control calls never wait behind it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from small_bundle import rows
from triton_calls import INFER, predict, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException
from waiting import wait_for as wait
from widedeep.serving.online.server import Server

wait_for = partial(wait, timeout_s=20)

pytestmark = pytest.mark.each_front_end

DELAY_US = 60_000_000
"""Longer than a test may take: rows wait until their batch is full."""


@pytest.fixture
def slow_server(start_server: Callable[..., Server], repository_path: Path) -> Server:
    """A server whose rows wait for a batch of four, and where three may wait."""
    return start_server(
        repository_path, max_batch_rows=4, max_queue_rows=3, max_queue_delay_us=DELAY_US, handler_threads=8, grace_s=0
    )


@pytest.fixture
def client(slow_server: Server) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(slow_server.address) as stock:
        yield stock


@pytest.fixture
def channel(slow_server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(slow_server.address) as opened:
        yield opened


def begin(channel: grpc.Channel, n_rows: int, timeout: float = 60) -> Any:
    """Send a request and return its call."""
    infer = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
    return infer.future(request_message(n_rows).SerializeToString(), timeout=timeout)


def waiting_rows(server: Server) -> int:
    return server.repository.get("animals").waiting_rows


def test_a_full_queue_refuses_and_goes_on(
    client: InferenceServerClient, channel: grpc.Channel, slow_server: Server
) -> None:
    waiting = [begin(channel, 2), begin(channel, 1)]
    wait_for(lambda: waiting_rows(slow_server) == 3)
    with pytest.raises(
        InferenceServerException, match="the queue is full: 3 rows wait, 1 more would exceed 3"
    ) as caught:
        predict(client, rows(1))
    assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    for call in waiting:
        call.cancel()
    wait_for(lambda: waiting_rows(slow_server) == 0)
    assert predict(client, rows(4))["probabilities"].shape == (4, 3)


def test_a_deadline_of_the_call_ends_the_waiting(client: InferenceServerClient, slow_server: Server) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("animals", triton_inputs(rows(1)), client_timeout=0.2)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    wait_for(lambda: waiting_rows(slow_server) == 0)


def test_a_timeout_in_the_request_ends_the_waiting(client: InferenceServerClient, slow_server: Server) -> None:
    with pytest.raises(InferenceServerException, match="the deadline passed before the rows were executed") as caught:
        client.infer("animals", triton_inputs(rows(1)), timeout=100_000)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    wait_for(lambda: waiting_rows(slow_server) == 0)


def test_rows_of_a_cancelled_call_are_never_executed(
    client: InferenceServerClient, channel: grpc.Channel, slow_server: Server
) -> None:
    call = begin(channel, 3)
    wait_for(lambda: waiting_rows(slow_server) == 3)
    call.cancel()
    wait_for(lambda: waiting_rows(slow_server) == 0)
    predict(client, rows(4))
    entry = client.get_inference_statistics("animals").model_stats[0]
    assert (entry.inference_count, entry.execution_count) == (4, 1)


def test_control_calls_are_answered_while_every_inference_thread_waits(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(
        repository_path, max_batch_rows=4, max_queue_delay_us=DELAY_US, handler_threads=2, max_queue_calls=1, grace_s=0
    )
    with grpc.insecure_channel(server.address) as channel, InferenceServerClient(server.address) as client:
        waiting = [begin(channel, 1) for _ in range(2)]
        wait_for(lambda: waiting_rows(server) == 2)
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.get_model_metadata("animals").name == "animals"
        for call in waiting:
            call.cancel()


def test_many_calls_on_few_threads_are_all_answered(start_server: Callable[..., Server], repository_path: Path) -> None:
    server = start_server(repository_path, handler_threads=2)
    with InferenceServerClient(server.address) as client, ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda i: predict(client, rows(1, seed=i)), range(200)))
    assert all(answer["probabilities"].shape == (1, 3) for answer in answers)


def test_one_stream_too_many_is_refused(start_server: Callable[..., Server], repository_path: Path) -> None:
    server = start_server(repository_path, max_streams=1)
    answers: list[tuple[Any, Any]] = []
    came = threading.Semaphore(0)

    def answered(result: Any, error: Any) -> None:
        answers.append((result, error))
        came.release()

    with InferenceServerClient(server.address) as first, InferenceServerClient(server.address) as second:
        first.start_stream(answered)
        first.async_stream_infer("animals", triton_inputs(rows(1)))
        assert came.acquire(timeout=20)
        second.start_stream(answered)
        assert came.acquire(timeout=20)
        assert "1 streams are open, the most this server allows" in str(answers[1][1])
        assert answers[1][1].status() == "StatusCode.RESOURCE_EXHAUSTED"
        second.stop_stream()
        first.stop_stream()


def test_an_error_in_a_stream_waits_for_its_turn(start_server: Callable[..., Server], repository_path: Path) -> None:
    server = start_server(repository_path, max_batch_rows=4, max_queue_rows=4, max_queue_delay_us=DELAY_US, grace_s=0)
    answers: list[str] = []
    came = threading.Semaphore(0)

    def answered(result: Any, error: Any) -> None:
        answers.append("rows" if error is None else str(error))
        came.release()

    with InferenceServerClient(server.address) as client, grpc.insecure_channel(server.address) as channel:
        client.start_stream(answered)
        client.async_stream_infer("animals", triton_inputs(rows(3)))
        wait_for(lambda: waiting_rows(server) == 3)
        client.async_stream_infer("animals", triton_inputs(rows(2)))
        client.async_stream_infer("plants", triton_inputs(rows(1)))
        wait_for(lambda: server.repository.get("animals").statistics.total().fail.count == 1)
        assert answers == []
        begin(channel, 1).result()
        for _ in range(3):
            assert came.acquire(timeout=20)
        client.stop_stream()
    assert answers[0] == "rows"
    assert "the queue is full" in answers[1]
    assert "unknown model 'plants'" in answers[2]


def test_rows_of_a_cancelled_stream_are_never_executed(client: InferenceServerClient, slow_server: Server) -> None:
    answers: list[tuple[Any, Any]] = []
    client.start_stream(lambda result, error: answers.append((result, error)))
    for _ in range(3):
        client.async_stream_infer("animals", triton_inputs(rows(1)))
    wait_for(lambda: waiting_rows(slow_server) == 3)
    client.stop_stream(cancel_requests=True)
    assert [(result, error.status()) for result, error in answers] == [(None, "StatusCode.CANCELLED")]
    wait_for(lambda: waiting_rows(slow_server) == 0)
    predict(client, rows(4))
    entry = client.get_inference_statistics("animals").model_stats[0]
    assert (entry.inference_count, entry.execution_count) == (4, 1)
