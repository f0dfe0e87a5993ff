"""Traces of a real server as a real collector gets them over OTLP."""

import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import pytest
from triton_calls import INFER, request_message
from tritonclient.grpc import service_pb2
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server
from widedeep.serving.protocol.service import METHODS
from widedeep.serving.settings import ServeSettings

pytest.importorskip("opentelemetry.instrumentation.grpc")
pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc")

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

Starter = Callable[..., Server]
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SAMPLED = [("traceparent", f"00-{TRACE}-{PARENT}-01")]
UNSAMPLED = [("traceparent", f"00-{TRACE}-{PARENT}-00")]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):  # type: ignore[misc]  # generated without types
    """Keeps all spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802 - as the service has it
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def children(self, parent: bytes) -> list[Any]:
        return sorted((s for s in self.spans if s.parent_span_id == parent), key=lambda s: s.start_time_unix_nano)

    def tree(self, parent: bytes) -> list[Any]:
        """Return names of spans, each with those of its children."""
        return [(span.name, self.tree(span.span_id)) for span in self.children(parent)]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(2))
    found = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(found, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield found
    server.stop(None).wait()


def infer(address: str, metadata: list[tuple[str, str]] | None = None, n_rows: int = 2, model: str = "animals") -> Any:
    request = request_message(n_rows)
    request.model_name = model
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(INFER).future(request.SerializeToString(), timeout=20, metadata=metadata)
        call.code()
        return call


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_call_is_a_span_of_its_callers_trace_with_a_span_for_each_stage_and_member(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True)
    before = time.time_ns()
    request_id = dict(infer(server.address, SAMPLED).trailing_metadata())["x-request-id"]
    after = time.time_ns()
    server.stop()
    assert collector.services == {"widedeep"}
    (call,) = collector.children(bytes.fromhex(PARENT))
    assert call.name == INFER
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert (
        attributes(call).items()
        >= {
            "rpc.grpc.status_code": 0,
            "widedeep.request_id": request_id,
            "widedeep.model": "animals",
            "widedeep.version": 1,
            "widedeep.rows": 2,
        }.items()
    )
    queue, batch = collector.children(call.span_id)
    assert (queue.name, batch.name) == ("queue", "batch")
    assert attributes(batch) == {"widedeep.batch.rows": 2, "widedeep.batch.requests": 1}
    stages = collector.children(batch.span_id)
    assert [stage.name for stage in stages] == ["input", "compute", "output"]
    assert {run.name for run in collector.children(stages[1].span_id)} == {"member deep", "member wide"}
    # The stages lie one behind the other, within the call.
    times = [before, call.start_time_unix_nano]
    for stage in (queue, *stages):
        times += [stage.start_time_unix_nano, stage.end_time_unix_nano]
    times += [call.end_time_unix_nano, after]
    # The two clocks that they are told by are read one after the other.
    assert all(late >= early - 200_000 for early, late in pairwise(times)), times
    for run in collector.children(stages[1].span_id):
        assert stages[1].start_time_unix_nano - 200_000 <= run.start_time_unix_nano <= run.end_time_unix_nano
        assert run.end_time_unix_nano <= stages[1].end_time_unix_nano + 200_000


def test_what_the_caller_does_not_sample_is_not_recorded(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True)
    infer(server.address, UNSAMPLED)
    server.stop()
    assert collector.spans == []


def test_the_sampler_is_the_variables_say(
    start_server: Starter, repository_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "fauna")
    server = start_server(repository_path, tracing=True)
    infer(server.address)
    server.stop()
    assert collector.spans == []
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    server = start_server(repository_path, tracing=True)
    infer(server.address)
    server.stop()
    assert "queue" in {span.name for span in collector.spans}
    assert collector.services == {"fauna"}


def test_each_call_of_a_batch_has_the_spans_of_all_of_it(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True, max_batch_rows=6, max_queue_delay_us=60_000_000)
    callers = [threading.Thread(target=infer, args=(server.address, None, 2)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    server.stop()
    batches = [span for span in collector.spans if span.name == "batch"]
    assert len({span.trace_id for span in batches}) == 3
    assert [attributes(span) for span in batches] == [{"widedeep.batch.rows": 6, "widedeep.batch.requests": 3}] * 3


def test_a_request_that_is_cut_has_a_span_for_each_batch(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True, max_batch_rows=4)
    infer(server.address, n_rows=10)
    server.stop()
    by_name: dict[str, list[Any]] = defaultdict(list)
    for span in collector.spans:
        by_name[span.name].append(span)
    assert sum(attributes(span)["widedeep.batch.rows"] for span in by_name["batch"]) == 10
    assert len(by_name["batch"]) == len(by_name["compute"]) == 3
    assert len(by_name["queue"]) == 1


def test_a_call_that_fails_says_so(start_server: Starter, repository_path: Path, collector: Collector) -> None:
    server = start_server(repository_path, tracing=True)
    assert infer(server.address, model="nosuch").code() is grpc.StatusCode.NOT_FOUND
    server.stop()
    (span,) = collector.spans
    assert attributes(span)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]


def test_each_request_of_a_stream_has_a_span_with_its_stages(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True)
    requests = [request_message(2), request_message(3), request_message(1)]
    for number, request in enumerate(requests):
        request.id = f"request-{number}"
    requests[1].model_name = "nosuch"
    path = METHODS["ModelStreamInfer"].path
    with grpc.insecure_channel(server.address) as channel:
        stream = channel.stream_stream(path, response_deserializer=service_pb2.ModelStreamInferResponse.FromString)
        data = [request.SerializeToString() for request in requests]
        assert len(list(stream(iter(data), timeout=20, metadata=SAMPLED))) == 3
    server.stop()
    (call,) = collector.children(bytes.fromhex(PARENT))
    found = {attributes(span)["widedeep.request_id"]: span for span in collector.children(call.span_id)}
    assert {span.name for span in found.values()} == {"request"}
    assert {key: [span.name for span in collector.children(found[key].span_id)] for key in sorted(found)} == {
        "request-0": ["queue", "batch"],
        "request-1": [],
        "request-2": ["queue", "batch"],
    }


def test_control_calls_are_traced_and_questions_after_health_are_not(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    server = start_server(repository_path, tracing=True)
    with grpc.insecure_channel(server.address) as channel:
        for name in ("ServerLive", "ServerReady", "ServerMetadata"):
            channel.unary_unary(METHODS[name].path)(b"", timeout=20)
        health = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=20)
        next(health)
        health.cancel()
    server.stop()
    assert [span.name for span in collector.spans] == [METHODS["ServerMetadata"].path]


def test_calls_keep_to_the_threads_they_are_meant_for(
    start_server: Starter, repository_path: Path, collector: Collector
) -> None:
    """A control call is answered while every thread of inference waits."""
    server = start_server(
        repository_path, tracing=True, handler_threads=1, max_batch_rows=8, max_queue_delay_us=60_000_000
    )
    with grpc.insecure_channel(server.address) as channel:
        waiting = channel.unary_unary(INFER).future(request_message(2).SerializeToString(), timeout=20)
        while server.repository.get("animals").waiting_rows < 2:
            time.sleep(0.01)
        channel.unary_unary(METHODS["ServerMetadata"].path)(b"", timeout=5)
        waiting.cancel()
    server.stop()


def test_a_server_stops_in_time_without_a_collector(
    start_server: Starter, repository_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    server = start_server(repository_path, tracing=True)
    monkeypatch.setattr("widedeep.serving.online.tracing._FLUSH_S", 0.5)
    infer(server.address)
    started = time.monotonic()
    server.stop()
    assert 0.5 <= time.monotonic() - started < 5


def test_an_exporter_that_is_not_there_is_refused(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ConfigurationError, match="no exporter 'zipkin'"):
        Server(bundle_path, ServeSettings.load({"tracing": True}))


def test_without_the_packages_tracing_is_refused_by_name(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "widedeep.serving.online.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.grpc", None)
    with pytest.raises(ConfigurationError, match=r"install widedeep\[tracing\]"):
        Server(bundle_path, ServeSettings.load({"tracing": True}))


def test_a_server_without_tracing_imports_nothing_of_it(bundle_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from widedeep.serving.online.server import Server\n"
        "from widedeep.serving.settings import ServeSettings\n"
        "server = Server(Path(sys.argv[1]), ServeSettings.load({'port': 0, 'drain_wait_s': 0}))\n"
        "server.start(); server.stop()\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(bundle_path)],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout.strip() == "[]"
