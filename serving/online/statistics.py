"""Counting of what one servable does, in the terms of the protocol's ModelStatistics call and as histograms."""

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..engine.plan import FUSED
from .counters import OK, ROW_BOUNDS, TIME_BOUNDS_NS, BatchTimes, Counters, Duration, Histogram, Histograms


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What one executed batch adds.

    Attributes:
        n_rows: rows in the batch.
        waited_s: for each request of which the batch held the first rows, the seconds it had waited.
        input_s: seconds spent merging inputs.
        infer_s: seconds spent in members and combiner.
        output_s: seconds spent splitting outputs.
        members: for each run of a graph, the member's index or `FUSED`, the rows and the seconds.
    """

    n_rows: int
    waited_s: Sequence[float]
    input_s: float
    infer_s: float
    output_s: float
    members: Sequence[tuple[int, int, float]]


class Statistics:
    """Thread-safe counters of a servable and its members; locked once a batch, not once a row."""

    def __init__(self, n_members: int, fused_shares: Mapping[int, float] | None = None) -> None:
        """Start all counters at zero.

        Args:
            n_members: members of the servable.
            fused_shares: index of each member in the fused graph -> its part of that graph's time, as profiled: a run
                of it tells only the time of all of them.
        """
        self._lock = threading.Lock()
        self._total = _Tally()
        self._members = [_Runs() for _ in range(n_members)]
        self._fused = _Runs()
        self._fused_shares = dict(fused_shares or {})
        self._fused_parts = [(self._members[index].counts, share) for index, share in self._fused_shares.items()]

    def record_batch(self, record: BatchRecord, now_ms: int) -> None:
        """Count an executed batch; `now_ms` is milliseconds since the epoch."""
        times = _ns(record.input_s), _ns(record.infer_s), _ns(record.output_s)
        with self._lock:
            self._total.add(record.n_rows, record.waited_s, times, now_ms)
            for graph, n_rows, seconds in record.members:
                if graph != FUSED:
                    self._members[graph].add(n_rows, _ns(seconds), now_ms)
                    continue
                self._fused.add(n_rows, ns := _ns(seconds), now_ms)
                for counts, share in self._fused_parts:
                    counts[_place(_TIMES, ns * share)] += 1

    def record_request(self, seconds: float, status: str) -> None:
        """Count an answered request, the time from its arrival to its answer, and the name of its gRPC status."""
        ns = _ns(seconds)
        with self._lock:
            total = self._total
            total.calls[status] = total.calls.get(status, 0) + 1
            if status == OK:
                total.success_ns += ns
                total.call_counts[_place(_TIMES, ns)] += 1
            else:
                total.fail_ns += ns

    def total(self, *, by_size: bool = True) -> Counters:
        """Return a copy of the servable's counters; `by_size` says whether with those of batches by their size."""
        with self._lock:
            return self._total.counters(by_size=by_size)

    def member(self, index: int, *, by_size: bool = True) -> Counters:
        """Return a copy of one member's counters; its part of fused runs is estimated."""
        with self._lock:
            runs = self._members[index]
            share = self._fused_shares.get(index)
            return (runs if share is None else runs.with_part_of(self._fused, share)).counters(by_size=by_size)

    def all(self, *, by_size: bool = True) -> list[Counters]:
        """Return copies of the servable's counters, then of each member's."""
        members = (self.member(index, by_size=by_size) for index in range(len(self._members)))
        return [self.total(by_size=by_size), *members]


class _Tally:
    """Counters of a servable in a form that is quick to add to.

    Of histograms only the buckets are kept, since their sums are counted already.
    """

    __slots__ = (
        "batches",
        "call_counts",
        "calls",
        "executions",
        "fail_ns",
        "infer_counts",
        "input_counts",
        "last_inference_ms",
        "output_counts",
        "queue_counts",
        "queue_ns",
        "row_counts",
        "rows",
        "success_ns",
        "timed",
        "times",
    )

    def __init__(self) -> None:
        self.last_inference_ms = 0
        self.rows = 0
        self.executions = 0
        self.queue_ns = 0
        self.timed = 0
        self.times = [0, 0, 0]
        self.batches: dict[int, list[int]] = {}  # rows -> batches, ns of input, infer, output
        self.calls: dict[str, int] = {}
        self.success_ns = 0
        self.fail_ns = 0
        self.row_counts = [0] * (len(ROW_BOUNDS) + 1)
        self.call_counts, self.queue_counts = _no_times(), _no_times()
        self.input_counts, self.infer_counts, self.output_counts = _no_times(), _no_times(), _no_times()

    def add(self, n_rows: int, waited_s: Sequence[float], times: tuple[int, int, int], now_ms: int) -> None:
        self.last_inference_ms = now_ms
        self.rows += n_rows
        self.executions += 1
        self.timed += len(waited_s)
        for seconds in waited_s:
            ns = _ns(seconds)
            self.queue_ns += ns
            self.queue_counts[_place(_TIMES, ns)] += 1
        input_ns, infer_ns, output_ns = times
        for into in (self.times, self._batch(n_rows)):
            into[-3] += input_ns
            into[-2] += infer_ns
            into[-1] += output_ns
        self.input_counts[_place(_TIMES, input_ns)] += 1
        self.infer_counts[_place(_TIMES, infer_ns)] += 1
        self.output_counts[_place(_TIMES, output_ns)] += 1
        self.row_counts[_place(ROW_BOUNDS, n_rows)] += 1

    def counters(self, *, by_size: bool) -> Counters:
        """Return these counters as they are now, in the form for readers."""
        compute_input, compute_infer, compute_output = (Duration(self.timed, ns) for ns in self.times)
        answered = self.calls.get(OK, 0)
        return Counters(
            last_inference_ms=self.last_inference_ms,
            rows=self.rows,
            executions=self.executions,
            success=Duration(answered, self.success_ns),
            fail=Duration(sum(self.calls.values()) - answered, self.fail_ns),
            queue=Duration(self.timed, self.queue_ns),
            compute_input=compute_input,
            compute_infer=compute_infer,
            compute_output=compute_output,
            batches={
                n_rows: BatchTimes(Duration(n, input_ns), Duration(n, infer_ns), Duration(n, output_ns))
                for n_rows, (n, input_ns, infer_ns, output_ns) in self.batches.items()
            }
            if by_size
            else {},
            calls=dict(self.calls),
            histograms=Histograms(
                call=Histogram(list(self.call_counts), self.success_ns),
                queue=Histogram(list(self.queue_counts), self.queue_ns),
                compute_input=Histogram(list(self.input_counts), compute_input.ns),
                compute_infer=Histogram(list(self.infer_counts), compute_infer.ns),
                compute_output=Histogram(list(self.output_counts), compute_output.ns),
                batch_rows=Histogram(list(self.row_counts), self.rows),
            ),
        )

    def _batch(self, n_rows: int) -> list[int]:
        """Count a batch among those of its size."""
        if (batch := self.batches.get(n_rows)) is None:
            batch = self.batches[n_rows] = [0, 0, 0, 0]
        batch[0] += 1
        return batch


class _Runs:
    """Counters of one graph: each of its runs is an execution, and an answered request."""

    __slots__ = ("batches", "counts", "last_inference_ms", "n_runs", "ns", "rows")

    def __init__(self) -> None:
        self.last_inference_ms = 0
        self.rows = 0
        self.n_runs = 0
        self.ns = 0
        self.batches: dict[int, tuple[int, int]] = {}  # rows -> runs, ns
        self.counts = _no_times()

    def add(self, n_rows: int, ns: int, now_ms: int) -> None:
        self.last_inference_ms = now_ms
        self.rows += n_rows
        self.n_runs += 1
        self.ns += ns
        n_runs, spent_ns = self.batches.get(n_rows, _NONE)
        self.batches[n_rows] = n_runs + 1, spent_ns + ns
        self.counts[_place(_TIMES, ns)] += 1

    def with_part_of(self, fused: "_Runs", share: float) -> "_Runs":
        """Return the sum of these and those of the fused graph, at a share of their time; `counts` has them already."""
        both = _Runs()
        both.last_inference_ms = max(self.last_inference_ms, fused.last_inference_ms)
        both.rows = self.rows + fused.rows
        both.n_runs = self.n_runs + fused.n_runs
        both.ns = self.ns + int(fused.ns * share)
        both.counts = self.counts
        both.batches = dict(self.batches)
        for n_rows, (n_runs, ns) in fused.batches.items():
            own_runs, own_ns = both.batches.get(n_rows, _NONE)
            both.batches[n_rows] = own_runs + n_runs, own_ns + int(ns * share)
        return both

    def counters(self, *, by_size: bool) -> Counters:
        """Return these counters as they are now, in the form for readers."""
        return Counters(
            last_inference_ms=self.last_inference_ms,
            rows=self.rows,
            executions=self.n_runs,
            success=Duration(self.n_runs, self.ns),
            queue=Duration(self.n_runs),
            compute_input=Duration(self.n_runs),
            compute_infer=Duration(self.n_runs, self.ns),
            compute_output=Duration(self.n_runs),
            batches={
                n_rows: BatchTimes(Duration(n_runs), Duration(n_runs, ns), Duration(n_runs))
                for n_rows, (n_runs, ns) in self.batches.items()
            }
            if by_size
            else {},
            histograms=Histograms(compute_infer=Histogram(list(self.counts), self.ns)),
        )


_NONE = 0, 0
_TIMES = TIME_BOUNDS_NS
_place = bisect_left
"""Place of a value among bounds: the bucket of the least bound that is not below it."""


def _no_times() -> list[int]:
    return [0] * (len(TIME_BOUNDS_NS) + 1)


def _ns(seconds: float) -> int:
    return max(0, int(seconds * 1e9))
