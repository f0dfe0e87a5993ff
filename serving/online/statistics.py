"""Counters of one servable, in the terms of the protocol's ModelStatistics call."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..engine.plan import FUSED


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in sum."""

    count: int = 0
    ns: int = 0


@dataclass(slots=True)
class BatchTimes:
    """Where the time of batches of one size went."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class Counters:
    """One consistent copy of everything counted."""

    last_inference_ms: int = 0
    rows: int = 0
    executions: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, BatchTimes] = field(default_factory=dict)


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
        self._members = [_Tally() for _ in range(n_members)]
        self._fused = _Tally()
        self._fused_shares = dict(fused_shares or {})

    def record_batch(self, record: BatchRecord, now_ms: int) -> None:
        """Count an executed batch; `now_ms` is milliseconds since the epoch."""
        times = _ns(record.input_s), _ns(record.infer_s), _ns(record.output_s)
        with self._lock:
            total = self._total
            total.queue.count += len(record.waited_s)
            total.queue.ns += _ns(sum(record.waited_s))
            total.add(record.n_rows, len(record.waited_s), times, now_ms)
            for graph, rows, seconds in record.members:
                tally = self._fused if graph == FUSED else self._members[graph]
                tally.add(rows, 1, (0, ns := _ns(seconds), 0), now_ms)
                tally.queue.count += 1
                tally.success.count += 1
                tally.success.ns += ns

    def record_request(self, seconds: float, *, success: bool) -> None:
        """Count an answered request and the time from its arrival to its answer."""
        with self._lock:
            duration = self._total.success if success else self._total.fail
            duration.count += 1
            duration.ns += _ns(seconds)

    def total(self) -> Counters:
        """Return a copy of the servable's counters."""
        with self._lock:
            copy = self._total.copy()
        return copy.counters()

    def member(self, index: int) -> Counters:
        """Return a copy of one member's counters; its part of fused runs is estimated."""
        with self._lock:
            copy = self._members[index].copy()
            if (share := self._fused_shares.get(index)) is not None:
                copy.merge(self._fused, share)
        return copy.counters()


class _Tally:
    """Counters in a form that is quick to add to and to copy; the times of batches as lists of integers."""

    __slots__ = ("batches", "executions", "fail", "last_inference_ms", "queue", "rows", "success", "timed", "times")

    def __init__(self) -> None:
        self.last_inference_ms = 0
        self.rows = 0
        self.executions = 0
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.timed = 0
        self.times = [0, 0, 0]
        self.batches: dict[int, list[int]] = {}  # rows -> batches, ns of input, infer, output

    def add(self, n_rows: int, n_requests: int, times: tuple[int, int, int], now_ms: int) -> None:
        self.last_inference_ms = now_ms
        self.rows += n_rows
        self.executions += 1
        self.timed += n_requests
        if (batch := self.batches.get(n_rows)) is None:
            batch = self.batches[n_rows] = [0, 0, 0, 0]
        batch[0] += 1
        for i, ns in enumerate(times):
            self.times[i] += ns
            batch[i + 1] += ns

    def merge(self, other: "_Tally", share: float) -> None:
        """Add what another counted, with a share of its time."""
        self.last_inference_ms = max(self.last_inference_ms, other.last_inference_ms)
        self.rows += other.rows
        self.executions += other.executions
        self.timed += other.timed
        for mine, theirs in ((self.success, other.success), (self.queue, other.queue)):
            mine.count += theirs.count
            mine.ns += int(theirs.ns * share)
        self.times = [mine + int(theirs * share) for mine, theirs in zip(self.times, other.times, strict=True)]
        for n_rows, (count, *times) in other.batches.items():
            mine_count, *mine_times = self.batches.get(n_rows, (0, 0, 0, 0))
            merged = [a + int(b * share) for a, b in zip(mine_times, times, strict=True)]
            self.batches[n_rows] = [mine_count + count, *merged]

    def copy(self) -> "_Tally":
        copy = _Tally()
        copy.last_inference_ms, copy.rows, copy.executions = self.last_inference_ms, self.rows, self.executions
        copy.success, copy.fail, copy.queue = (Duration(d.count, d.ns) for d in (self.success, self.fail, self.queue))
        copy.timed, copy.times = self.timed, list(self.times)
        copy.batches = {n_rows: list(batch) for n_rows, batch in self.batches.items()}
        return copy

    def counters(self) -> Counters:
        compute_input, compute_infer, compute_output = (Duration(self.timed, ns) for ns in self.times)
        return Counters(
            last_inference_ms=self.last_inference_ms,
            rows=self.rows,
            executions=self.executions,
            success=self.success,
            fail=self.fail,
            queue=self.queue,
            compute_input=compute_input,
            compute_infer=compute_infer,
            compute_output=compute_output,
            batches={
                n_rows: BatchTimes(Duration(n, input_ns), Duration(n, infer_ns), Duration(n, output_ns))
                for n_rows, (n, input_ns, infer_ns, output_ns) in self.batches.items()
            },
        )


def _ns(seconds: float) -> int:
    return max(0, int(seconds * 1e9))
