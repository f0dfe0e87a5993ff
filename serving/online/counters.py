"""What is counted of one servable or one of its members, as plain data.

It is for the statistics call, for metrics, and for the control socket between workers, which carries it as JSON.
Imports nothing that runs a model.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .counts import Counts, summed

OK = "OK"
"""The status of a call that was answered with its outputs."""

_1_2_5: list[int] = [digit * 10**power for power in range(4, 10) for digit in (1, 2, 5)]
TIME_BOUNDS_NS: tuple[int, ...] = (*_1_2_5, 10**10)
"""Upper bounds of the buckets of times, in nanoseconds.

From 10 us, in which a small linear member runs, to 10 s, longer than callers wait. Each is 2 to 2.5 times the one
before, which is how far off an estimated percentile may be at worst.
"""

ROW_BOUNDS = tuple(1 << power for power in range(13))
"""Upper bounds of the buckets of rows in a batch: the powers of two up to 4096, 16 times the default limit."""


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
class Histogram:
    """How many values fell between each bound and the one before, the last beyond all bounds; and the values' sum."""

    counts: list[int]
    total: int = 0

    @classmethod
    def of_times(cls) -> "Histogram":
        """Return an empty one of nanoseconds."""
        return cls([0] * (len(TIME_BOUNDS_NS) + 1))

    @classmethod
    def of_rows(cls) -> "Histogram":
        """Return an empty one of rows."""
        return cls([0] * (len(ROW_BOUNDS) + 1))

    def copy(self) -> "Histogram":
        """Return one that does not change with this."""
        return Histogram(list(self.counts), self.total)


@dataclass(slots=True)
class Histograms:
    """How single values were spread: seconds of answered calls, of waiting, of parts of batches, and rows of batches.

    Where a member is meant, a batch is one run of its graph, and only `compute_infer` is filled.
    """

    call: Histogram = field(default_factory=Histogram.of_times)
    queue: Histogram = field(default_factory=Histogram.of_times)
    compute_input: Histogram = field(default_factory=Histogram.of_times)
    compute_infer: Histogram = field(default_factory=Histogram.of_times)
    compute_output: Histogram = field(default_factory=Histogram.of_times)
    batch_rows: Histogram = field(default_factory=Histogram.of_rows)


@dataclass(slots=True)
class Counters:
    """One consistent copy of everything counted; `calls` are by the name of their gRPC status."""

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
    calls: dict[str, int] = field(default_factory=dict)
    histograms: Histograms = field(default_factory=Histograms)


def spell(counters: Counters) -> Counts:
    """Return counters in JSON's terms."""
    spelled = asdict(counters)
    return spelled | {"batches": {str(rows): times for rows, times in spelled["batches"].items()}}


def read(spelled: Counts) -> Counters:
    """Return the counters that were spelled."""
    values: dict[str, Any] = dict(spelled)
    for name, value in spelled.items():
        if isinstance(value, Mapping) and name not in {"batches", "calls", "histograms"}:
            values[name] = Duration(**value)
    values["batches"] = {
        int(rows): BatchTimes(**{field.name: Duration(**times[field.name]) for field in fields(BatchTimes)})
        for rows, times in spelled["batches"].items()
    }
    values["calls"] = dict(spelled["calls"])
    values["histograms"] = Histograms(**{name: Histogram(**value) for name, value in spelled["histograms"].items()})
    return Counters(**values)


def added(first: Counters, second: Counters) -> Counters:
    """Return the sum of what was counted in two places."""
    return read(summed([spell(first), spell(second)]))
