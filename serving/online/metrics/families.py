"""A snapshot as metric families: which metrics there are, what they are called, and what each of them holds.

Labels are bounded by what lies on disk or in the store that it is copied from: models, versions and members, gRPC's
status codes, and our own reasons. No value of a label comes from a request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.utils import floatToGoString

from ..counters import ROW_BOUNDS, TIME_BOUNDS_NS, Counters, Histogram
from ..origin import StoreState
from ..view import State
from .observation import Seen
from .process import CPU, HELP
from .snapshot import Snapshot

_NS = 10**9
"""Nanoseconds in a second."""
MODEL = ("model", "version")
MEMBER = (*MODEL, "member")

Value = float | Histogram
Rows = Iterable[tuple[tuple[object, ...], Value]]
"""Values of labels, and what was counted under them."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: as it is queried; of a histogram without `_bucket` and the like.
        kind: counter, gauge or histogram.
        labels: their names.
        help: what it tells, with its unit.
        rows: what it holds, given a snapshot.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    rows: Callable[[Snapshot], Rows]

    def metric(self, snapshot: Snapshot) -> Metric:
        """Return it with the values of a moment."""
        is_rows = self.name.endswith("_rows")
        # The library has counters named without the suffix under which they are queried.
        metric = Metric(self.name.removesuffix("_total") if self.kind == "counter" else self.name, self.help, self.kind)
        for values, value in self.rows(snapshot):
            labels = dict(zip(self.labels, map(str, values), strict=True))
            if isinstance(value, Histogram):
                _add_histogram(metric, labels, value, *((ROW_BOUNDS, 1) if is_rows else (TIME_BOUNDS_NS, _NS)))
            else:
                metric.add_sample(self.name, labels, value)
        return metric


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield every metric, empty ones included, so that each is documented."""
    for family in FAMILIES:
        yield family.metric(snapshot)


def _add_histogram(
    metric: Metric, labels: dict[str, str], histogram: Histogram, bounds: Sequence[int], unit: int
) -> None:
    """Add cumulative buckets, sum and count, given how many of what is counted make one of what is told."""
    names = [*(str(floatToGoString(bound / unit)) for bound in bounds), "+Inf"]  # type: ignore[no-untyped-call]
    for name, count in zip(names, accumulate(histogram.counts), strict=True):
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": name}, count)
    metric.add_sample(f"{metric.name}_count", labels, sum(histogram.counts))
    metric.add_sample(f"{metric.name}_sum", labels, histogram.total / unit)


def _each(value: Callable[[Counters], Value]) -> Callable[[Snapshot], Rows]:
    """Return rows of one value a version."""
    return lambda snapshot: ((seen.facts.key, value(seen.total)) for seen in snapshot.versions)


def _each_member(value: Callable[[Counters], Value]) -> Callable[[Snapshot], Rows]:
    """Return rows of one value a member."""
    return lambda snapshot: (
        ((*seen.facts.key, name), value(counters))
        for seen in snapshot.versions
        for name, counters in seen.members.items()
    )


def _mapping(values: Mapping[str, float]) -> Rows:
    return (((name,), value) for name, value in sorted(values.items()))


def _calls(snapshot: Snapshot) -> Rows:
    for seen in snapshot.versions:
        # Those that alerts compare are there from the start: a rate needs a value before the first.
        for status, count in {"OK": 0, "RESOURCE_EXHAUSTED": 0, "INTERNAL": 0, **seen.total.calls}.items():
            yield (*seen.facts.key, status), count


def _in_service(snapshot: Snapshot) -> Iterator[Seen]:
    ready = {(entry.name, entry.version) for entry in snapshot.entries if entry.state is State.READY}
    return (seen for seen in snapshot.versions if seen.facts.key in ready)


def _ready(snapshot: Snapshot) -> Rows:
    return (((entry.name, entry.version), entry.state is State.READY) for entry in snapshot.wanted())


def _weights(snapshot: Snapshot) -> Rows:
    for seen in _in_service(snapshot):
        for member in seen.facts.members:
            yield (*seen.facts.key, member.name), member.weight


def _infos(snapshot: Snapshot) -> Rows:
    return (((*seen.facts.key, seen.facts.digest, seen.facts.combiner), 1) for seen in _in_service(snapshot))


def _build(snapshot: Snapshot) -> Rows:
    if snapshot.front_end:
        yield (distribution_version("widedeep"), onnxruntime_version(), snapshot.front_end), 1


def _of_store(rows: Callable[[StoreState], Rows]) -> Callable[[Snapshot], Rows]:
    """Return rows that there are only where a store is served from."""
    return lambda snapshot: () if snapshot.store is None else rows(snapshot.store)


@cache
def onnxruntime_version() -> str:
    """Return the version that is installed, without importing it; the package for GPUs has another name."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return distribution_version(name)
        except PackageNotFoundError:
            continue
    return ""


def _process(name: str) -> Family:
    kind, suffix = ("counter", "_total") if name == CPU else ("gauge", "")
    return Family(
        name + suffix,
        kind,
        (),
        HELP[name],
        lambda snapshot: [((), snapshot.process[name])] if name in snapshot.process else [],
    )


_OURS = (
    Family(
        "widedeep_calls_total",
        "counter",
        (*MODEL, "status"),
        "Inference calls that reached a model, by the gRPC status they ended with",
        _calls,
    ),
    Family(
        "widedeep_call_seconds",
        "histogram",
        MODEL,
        "Seconds from the arrival of a call at the server's code to its answer; answered calls only",
        _each(lambda counters: counters.histograms.call),
    ),
    Family(
        "widedeep_queue_seconds",
        "histogram",
        MODEL,
        "Seconds that a call waited for its first batch",
        _each(lambda counters: counters.histograms.queue),
    ),
    Family(
        "widedeep_compute_input_seconds",
        "histogram",
        MODEL,
        "Seconds it took to merge the inputs of one batch",
        _each(lambda counters: counters.histograms.compute_input),
    ),
    Family(
        "widedeep_compute_seconds",
        "histogram",
        MODEL,
        "Seconds it took to run members and combiner on one batch",
        _each(lambda counters: counters.histograms.compute_infer),
    ),
    Family(
        "widedeep_compute_output_seconds",
        "histogram",
        MODEL,
        "Seconds it took to split the outputs of one batch",
        _each(lambda counters: counters.histograms.compute_output),
    ),
    Family(
        "widedeep_batch_rows",
        "histogram",
        MODEL,
        "Rows executed together in one batch",
        _each(lambda counters: counters.histograms.batch_rows),
    ),
    Family("widedeep_rows_total", "counter", MODEL, "Rows executed", _each(lambda counters: counters.rows)),
    Family(
        "widedeep_executions_total", "counter", MODEL, "Batches executed", _each(lambda counters: counters.executions)
    ),
    Family(
        "widedeep_member_seconds",
        "histogram",
        MEMBER,
        "Seconds that one run of a member's graph took; in a fused graph, its profiled share of the run",
        _each_member(lambda counters: counters.histograms.compute_infer),
    ),
    Family(
        "widedeep_member_rows_total", "counter", MEMBER, "Rows that a member scored", _each_member(lambda c: c.rows)
    ),
    Family(
        "widedeep_member_weight",
        "gauge",
        MEMBER,
        "A member's weight in the combiner; where it has several, the mean of their absolute values",
        _weights,
    ),
    Family(
        "widedeep_refusals_total",
        "counter",
        ("reason",),
        "Inference calls that were refused before they reached a model",
        lambda snapshot: _mapping(snapshot.refusals),
    ),
    Family(
        "widedeep_load_failures_total",
        "counter",
        ("model",),
        "Versions that could not be loaded",
        lambda snapshot: _mapping({entry.name: 0 for entry in snapshot.entries} | dict(snapshot.load_failures)),
    ),
    Family(
        "widedeep_waiting_rows",
        "gauge",
        MODEL,
        "Rows that wait to be executed",
        lambda snapshot: ((seen.facts.key, seen.waiting_rows) for seen in _in_service(snapshot)),
    ),
    Family(
        "widedeep_model_ready",
        "gauge",
        MODEL,
        "1 if the version answers calls, 0 if it should but does not",
        _ready,
    ),
    Family("widedeep_model_info", "gauge", (*MODEL, "digest", "combiner"), "1; what the bundle in service is", _infos),
    Family(
        "widedeep_build_info", "gauge", ("version", "onnxruntime", "front_end"), "1; what the server is made of", _build
    ),
    Family(
        "widedeep_tls_certificate_not_after_timestamp_seconds",
        "gauge",
        ("file",),
        "When certificates expire, in seconds since the epoch: `cert` the server's, `client_ca` clients' authorities",
        lambda snapshot: _mapping(snapshot.certificates),
    ),
    Family(
        "widedeep_workers",
        "gauge",
        (),
        "Processes that serve; fewer than were asked for while one that died is replaced",
        lambda snapshot: [((), snapshot.n_workers_up)],
    ),
    Family(
        "widedeep_calls_under_way",
        "gauge",
        (),
        "Inference calls that wait or are handled",
        lambda snapshot: [((), snapshot.calls_under_way)],
    ),
    Family(
        "widedeep_ready",
        "gauge",
        (),
        "1 if the server accepts work, 0 while it loads or drains",
        lambda snapshot: [((), snapshot.is_ready)],
    ),
    Family(
        "widedeep_store_copying",
        "gauge",
        (),
        "1 while the first copy of what a store has is under way, before which nothing is loaded",
        _of_store(lambda store: [((), store.is_copying)]),
    ),
    Family(
        "widedeep_store_up",
        "gauge",
        (),
        "1 if the last look at the store succeeded, 0 if it did not",
        _of_store(lambda store: [] if store.is_up is None else [((), store.is_up)]),
    ),
    Family(
        "widedeep_store_last_success_timestamp_seconds",
        "gauge",
        (),
        "Time at which a look at the store has last succeeded, in seconds since the epoch",
        _of_store(lambda store: [((), store.seen_s)] if store.seen_s else []),
    ),
    Family(
        "widedeep_store_left_out",
        "gauge",
        MODEL,
        "1; a version that the store has and that is to be served, but that could not be copied",
        _of_store(lambda store: ((key, 1) for key in sorted(store.left_out))),
    ),
)

_TRITON = (
    Family(
        "nv_inference_request_success",
        "counter",
        MODEL,
        "Calls answered",
        _each(lambda counters: counters.success.count),
    ),
    Family(
        "nv_inference_request_failure", "counter", MODEL, "Calls failed", _each(lambda counters: counters.fail.count)
    ),
    Family("nv_inference_count", "counter", MODEL, "Rows executed", _each(lambda counters: counters.rows)),
    Family(
        "nv_inference_exec_count", "counter", MODEL, "Batches executed", _each(lambda counters: counters.executions)
    ),
    Family(
        "nv_inference_request_duration_us",
        "counter",
        MODEL,
        "Microseconds of answered calls in sum",
        _each(lambda counters: counters.success.ns // 1000),
    ),
    Family(
        "nv_inference_queue_duration_us",
        "counter",
        MODEL,
        "Microseconds of waiting in sum",
        _each(lambda counters: counters.queue.ns // 1000),
    ),
    Family(
        "nv_inference_compute_input_duration_us",
        "counter",
        MODEL,
        "Microseconds of merging inputs in sum",
        _each(lambda counters: counters.compute_input.ns // 1000),
    ),
    Family(
        "nv_inference_compute_infer_duration_us",
        "counter",
        MODEL,
        "Microseconds of running members and combiner in sum",
        _each(lambda counters: counters.compute_infer.ns // 1000),
    ),
    Family(
        "nv_inference_compute_output_duration_us",
        "counter",
        MODEL,
        "Microseconds of splitting outputs in sum",
        _each(lambda counters: counters.compute_output.ns // 1000),
    ),
    Family(
        "nv_inference_pending_request_count",
        "gauge",
        MODEL,
        "Rows that wait to be executed (the queue counts rows, not calls)",
        lambda snapshot: ((seen.facts.key, seen.waiting_rows) for seen in _in_service(snapshot)),
    ),
)

FAMILIES = (*_OURS, *_TRITON, *map(_process, HELP))
"""All metrics; the tables of the documentation are checked against this."""
