"""What happened when to the rows of a sampled call; `tracing` makes spans of it. Knows nothing of OpenTelemetry."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BatchStages:
    """One batch that held rows of the call. Times are seconds on the batcher's clock, that of `time.monotonic`.

    Attributes:
        n_rows: rows of the batch, of all its calls.
        n_requests: requests that it held rows of.
        started_s: when it was cut and its inputs began to be merged.
        merged_s: when the graphs could start.
        executed_s: when the last of them, and the combiner, had ended.
        split_s: when each request had its rows of the outputs.
        runs: for each run of a graph the member's index or `FUSED`, the rows, and when it began and ended.
    """

    n_rows: int
    n_requests: int
    started_s: float
    merged_s: float
    executed_s: float
    split_s: float
    runs: list[tuple[int, int, float, float]]


@dataclass(slots=True)
class Stages:
    """The stages of one call, written by the threads that execute its batches before they give it its answer."""

    batches: list[BatchStages] = field(default_factory=list)
