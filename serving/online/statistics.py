"""Counters of one servable, in the terms of the protocol's ModelStatistics call."""

import copy
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Duration:
    """How often something happened and how long it took in sum."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float, count: int = 1) -> None:
        """Count `count` events that took `seconds` in sum."""
        self.count += count
        self.ns += max(0, int(seconds * 1e9))


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
    batches: dict[int, BatchTimes] = field(default_factory=lambda: defaultdict(BatchTimes))


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What one executed batch adds.

    Attributes:
        n_rows: rows in the batch.
        waited_s: for each request of which the batch held the first rows, the seconds it had waited.
        input_s: seconds spent merging inputs.
        infer_s: seconds spent in members and combiner.
        output_s: seconds spent splitting outputs.
        members: for each run of a member, its index, rows and seconds.
    """

    n_rows: int
    waited_s: Sequence[float]
    input_s: float
    infer_s: float
    output_s: float
    members: Sequence[tuple[int, int, float]]


class Statistics:
    """Thread-safe counters of a servable and its members; locked once a batch, not once a row."""

    def __init__(self, n_members: int) -> None:
        """Start all counters at zero."""
        self._lock = threading.Lock()
        self._total = Counters()
        self._members = [Counters() for _ in range(n_members)]

    def record_batch(self, record: BatchRecord, now_ms: int) -> None:
        """Count an executed batch; `now_ms` is milliseconds since the epoch."""
        with self._lock:
            n_requests = len(record.waited_s)
            self._total.queue.add(sum(record.waited_s), n_requests)
            _add_batch(self._total, record.n_rows, n_requests, (record.input_s, record.infer_s, record.output_s))
            self._total.last_inference_ms = now_ms
            for member, rows, seconds in record.members:
                counters = self._members[member]
                _add_batch(counters, rows, 1, (0.0, seconds, 0.0))
                counters.queue.add(0.0)
                counters.success.add(seconds)
                counters.last_inference_ms = now_ms

    def record_request(self, seconds: float, *, success: bool) -> None:
        """Count an answered request and the time from its arrival to its answer."""
        with self._lock:
            (self._total.success if success else self._total.fail).add(seconds)

    def total(self) -> Counters:
        """Return a copy of the servable's counters."""
        with self._lock:
            return copy.deepcopy(self._total)

    def member(self, index: int) -> Counters:
        """Return a copy of one member's counters."""
        with self._lock:
            return copy.deepcopy(self._members[index])


def _add_batch(counters: Counters, n_rows: int, n_requests: int, times: tuple[float, float, float]) -> None:
    input_s, infer_s, output_s = times
    counters.rows += n_rows
    counters.executions += 1
    counters.compute_input.add(input_s, n_requests)
    counters.compute_infer.add(infer_s, n_requests)
    counters.compute_output.add(output_s, n_requests)
    batch = counters.batches[n_rows]
    batch.compute_input.add(input_s)
    batch.compute_infer.add(infer_s)
    batch.compute_output.add(output_s)
