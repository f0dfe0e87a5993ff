"""How a member runs: a pure choice from a measured profile.

On CPU a convolutional net is fastest in chunks of one or two rows on one thread each, since its activations stay in
cache, while trees and linear members want large batches; one batch size for all members is wrong. Every session runs
on one thread and the chunks of all members share the cores. A run shorter than a hand-off between threads stays in
the thread that asked for it: runs that give up and retake the interpreter lock in several threads are slower than
the same runs in one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HAND_OFF_S = 150e-6
"""Work below this is not worth waking another thread for (measured: 40-80 us to wake one, plus cold caches)."""

CHUNK_CANDIDATES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_LARGER_IF_WITHIN = 1.05


@dataclass(frozen=True, slots=True)
class Plan:
    """How one member runs.

    Attributes:
        chunk_rows: rows of one run at most; None for the whole batch at once (accelerators).
        call_s: fixed seconds of one run.
        row_s: seconds a row in runs of `chunk_rows`.
    """

    chunk_rows: int | None
    call_s: float
    row_s: float

    def seconds(self, n_rows: int) -> float:
        """Return the estimated time of one run of `n_rows` rows."""
        return self.call_s + self.row_s * n_rows


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work: a member on rows `start` to `stop` of the batch."""

    member: int
    start: int
    stop: int


def choose_plan(seconds_by_rows: Mapping[int, float]) -> Plan:
    """Choose the chunk with the lowest time a row; a larger one wins where it costs at most 5 % more.

    Args:
        seconds_by_rows: rows in a run -> measured seconds of that run; at least the run of one row.
    """
    best = min(seconds / rows for rows, seconds in seconds_by_rows.items())
    chunk = max(rows for rows, seconds in seconds_by_rows.items() if seconds / rows <= best * _LARGER_IF_WITHIN)
    one = seconds_by_rows[1]
    row_s = one if chunk == 1 else max(seconds_by_rows[chunk] - one, 0.0) / (chunk - 1)
    return Plan(chunk_rows=chunk, call_s=max(one - row_s, 0.0), row_s=row_s)


def schedule(plans: Mapping[int, Plan], n_rows: int, n_cores: int) -> tuple[Sequence[Run], int]:
    """Cut a batch into runs, the longest first, and say how many threads should share them.

    Args:
        plans: member index -> its plan, for the members that must run.
        n_rows: rows in the batch.
        n_cores: threads that may run at once.

    Returns:
        The runs, which cover every member and row exactly once, and the number of threads: 1 means that all of it
        is shorter than handing any of it over.
    """
    total = sum(_batch_seconds(plan, n_rows) for plan in plans.values())
    alone = n_cores == 1 or total < HAND_OFF_S
    timed: list[tuple[float, Run]] = []
    for member, plan in plans.items():
        chunk = _chunk(plan, n_rows, 1 if alone else n_cores)
        for start in range(0, n_rows, chunk):
            stop = min(start + chunk, n_rows)
            timed.append((plan.seconds(stop - start), Run(member, start, stop)))
    timed.sort(key=lambda item: -item[0])
    threads = 1 if alone else min(n_cores, len(timed), 1 + int(total / HAND_OFF_S))
    return [run for _, run in timed], threads


def _batch_seconds(plan: Plan, n_rows: int) -> float:
    n_runs = 1 if plan.chunk_rows is None else -(-n_rows // plan.chunk_rows)
    return plan.call_s * n_runs + plan.row_s * n_rows


def _chunk(plan: Plan, n_rows: int, n_threads: int) -> int:
    if plan.chunk_rows is None:
        return n_rows
    share = -(-n_rows // n_threads)
    if plan.seconds(share) < HAND_OFF_S:
        return min(plan.chunk_rows, n_rows)
    return min(plan.chunk_rows, share)
