"""Traces of calls: OpenTelemetry's own instrumentation of gRPC makes a span of each, this module one of each stage.

    the call                  by opentelemetry-instrumentation-grpc; its parent comes as `traceparent` from the caller
    ├── queue                 from a request's arrival to the batch that took its first rows
    └── batch                 one for each batch that held rows of it; `widedeep.batch.rows` counts those of all calls
        ├── input             merging the inputs of its requests
        ├── compute           graphs and combiner
        │   └── member NAME   each run of a graph; NAME is `fused` where all members run as one graph
        └── output            splitting the outputs again

A stream has a span `request` for each request, which has these stages. What is not sampled is not recorded. Exporter,
sampler, resource and limits are as the variables OTEL_* say. Importing this module imports OpenTelemetry, so that only
servers that trace do.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.grpc import server_interceptor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ..contract.errors import ConfigurationError
from ..engine.plan import FUSED
from ..protocol import messages as m
from .access import is_free
from .call import Call
from .servicer import Pending
from .stages import BatchStages, Stages
from .transport import on_threads

_LOG = logging.getLogger(__name__)
_FLUSH_S = 5.0
"""How long the last spans may take to be sent when the server stops, be there a collector or not."""
_EXPORTERS = "opentelemetry_traces_exporter"
_OTLP = "otlp_proto_grpc"


class Tracing:
    """Spans of one server's calls. `scope` may be called from any thread; `close` last. Owner: the server.

    Attributes:
        interceptor: makes the spans of calls; to be given to gRPC.
    """

    def __init__(self) -> None:
        """Read the variables and begin to export.

        Raises:
            ConfigurationError: OTEL_TRACES_EXPORTER names an exporter that is not installed.
        """
        resource = Resource.create() if "OTEL_SERVICE_NAME" in os.environ else Resource.create(_SERVICE)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in _exporters():
            self._provider.add_span_processor(BatchSpanProcessor(exporter()))
        self._tracer = self._provider.get_tracer("widedeep")
        instrumentation = server_interceptor(  # type: ignore[no-untyped-call]  # published without types
            tracer_provider=self._provider, filter_=lambda details: not is_free(details.method)
        )
        self.interceptor = _OnItsThreads(instrumentation)

    def scope(self) -> "Scope | None":
        """Return what notes stages of the call that this thread handles; None unless it is sampled."""
        span = trace.get_current_span()
        return Scope(self._tracer, span) if span.is_recording() else None

    def close(self) -> None:
        """Send what has not been sent, as far as that takes no longer than a few seconds."""
        last = threading.Thread(target=self._provider.shutdown, name="widedeep-tracing", daemon=True)
        last.start()
        last.join(_FLUSH_S)
        if last.is_alive():
            _LOG.warning("spans were not sent within %s s", _FLUSH_S)


class Scope:
    """The span of one call, and what becomes of its stages. `begin` and `end` once for each request."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        """Store the span of the call."""
        self._tracer = tracer
        self._span = span
        self._parent = trace.set_span_in_context(span, Context())

    def begin(self, call: Call) -> None:
        """Have the stages of a request noted."""
        call.stages = Stages()

    def end(self, call: Call, about: Pending | m.ModelInferRequest | None, *, name: str = "") -> None:
        """Make spans of a request that has ended, within one of their own if that is given a name."""
        parent, span, own = self._parent, self._span, None
        if name:
            own = span = self._tracer.start_span(name, self._parent, start_time=_epoch_ns(call.started_s))
            parent = trace.set_span_in_context(span, Context())
        span.set_attribute("widedeep.request_id", call.id)
        if isinstance(about, Pending):
            span.set_attributes(
                {
                    "widedeep.model": about.servable.name,
                    "widedeep.version": about.servable.version,
                    "widedeep.rows": about.request.n_rows,
                }
            )
            if call.stages is not None and call.stages.batches:
                names = [member.name for member in about.servable.bundle.members]
                self._tell(call.stages.batches, about.request.arrived_s, names, parent)
        if own is not None:
            own.end()

    def _tell(self, batches: Sequence[BatchStages], arrived_s: float, members: Sequence[str], parent: Context) -> None:
        self._span_of("queue", parent, arrived_s, min(batch.started_s for batch in batches))
        for batch in batches:
            within = self._span_of(
                "batch",
                parent,
                batch.started_s,
                batch.split_s,
                {"widedeep.batch.rows": batch.n_rows, "widedeep.batch.requests": batch.n_requests},
            )
            self._span_of("input", within, batch.started_s, batch.merged_s)
            compute = self._span_of("compute", within, batch.merged_s, batch.executed_s)
            for graph, rows, started_s, ended_s in batch.runs:
                name = "fused" if graph == FUSED else members[graph]
                attributes = {"widedeep.member": name, "widedeep.member.rows": rows}
                self._span_of(f"member {name}", compute, started_s, ended_s, attributes)
            self._span_of("output", within, batch.executed_s, batch.split_s)

    def _span_of(
        self, name: str, parent: Context, started_s: float, ended_s: float, attributes: dict[str, Any] | None = None
    ) -> Context:
        """Make a span of what is over, and return the context of spans within it."""
        span = self._tracer.start_span(name, parent, attributes=attributes, start_time=_epoch_ns(started_s))
        span.end(_epoch_ns(ended_s))
        return trace.set_span_in_context(span, parent)


class _OnItsThreads(grpc.ServerInterceptor):
    """Lets calls keep the threads they are meant for, of which an interceptor that wraps handlers knows nothing."""

    def __init__(self, inner: grpc.ServerInterceptor) -> None:
        self._inner = inner

    def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        plain = None

        def find(details: grpc.HandlerCallDetails) -> Any:
            nonlocal plain
            plain = continuation(details)
            return plain

        wrapped = self._inner.intercept_service(find, handler_call_details)
        if wrapped is None or wrapped is plain:
            return wrapped
        for kind in ("unary_unary", "stream_stream"):
            pool = getattr(getattr(plain, kind), "experimental_thread_pool", None)
            if pool is not None:
                return getattr(grpc, f"{kind}_rpc_method_handler")(
                    on_threads(pool, getattr(wrapped, kind)), wrapped.request_deserializer, wrapped.response_serializer
                )
        return wrapped


_SERVICE = {"service.name": "widedeep"}


def _exporters() -> list[Callable[[], Any]]:
    """Return the classes of the exporters that OTEL_TRACES_EXPORTER names, by default that of OTLP over gRPC."""
    wanted = [name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",") if name.strip()]
    found = []
    for name in wanted:
        if name == "none":
            continue
        points = entry_points(group=_EXPORTERS, name=_OTLP if name == "otlp" else name)
        if not points:
            raise ConfigurationError(f"OTEL_TRACES_EXPORTER: there is no exporter {name!r} here")
        found.append(next(iter(points)).load())
    return found


def _epoch_ns(monotonic_s: float) -> int:
    """Return the time of day, in ns since 1970, of a time on the monotonic clock."""
    return time.time_ns() - int((time.monotonic() - monotonic_s) * 1e9)
