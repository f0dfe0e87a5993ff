"""How members run: pure choices from measured profiles.

On CPU a convolutional net is fastest in chunks of one or two rows on one thread each, since its activations stay in
cache, while trees and linear members want large batches; one batch size for all members is wrong. Every session runs
on one thread and the chunks of all members share the cores. A run shorter than a hand-off between threads stays in
the thread that asked for it: runs that give up and retake the interpreter lock in several threads are slower than
the same runs in one. Small members are fastest as one fused graph, since each run has a price of its own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HAND_OFF_S = 150e-6
"""Work below this is not worth waking another thread for (measured: 40-80 us to wake one, plus cold caches)."""

FUSED = -1
COMBINER = -2
"""Keys of plans, where a member's is its index in the bundle."""

SHORT_S = 25e-6
"""Runs below this are mostly Python, which several threads only take from each other: they give no reason for one more
(measured on 200 members: 18 us of Python a member with two threads, 1.4 us with one)."""

CHUNK_CANDIDATES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

BATCH_S = 100e-6
"""What a batch costs beside its runs: cutting, merging, combining, splitting, counting (measured: 60-150 us)."""

_LARGER_IF_WITHIN = 1.05
_MOST_OVERHEAD = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """How one graph runs.

    Attributes:
        chunk_rows: rows of one run at most; None for the whole batch at once (accelerators).
        call_s: fixed seconds of one run.
        row_s: seconds a row in runs of `chunk_rows`.
        threads: threads of a run that has the machine to itself; above 1 only where measured to end much sooner.
    """

    chunk_rows: int | None
    call_s: float
    row_s: float
    threads: int = 1

    def seconds(self, n_rows: int) -> float:
        """Return the estimated time of one run of `n_rows` rows."""
        return self.call_s + self.row_s * n_rows

    def batch_seconds(self, n_rows: int) -> float:
        """Return the estimated time of `n_rows` rows, in as many runs as that takes, one after the other."""
        n_runs = 1 if self.chunk_rows is None else -(-n_rows // self.chunk_rows)
        return self.call_s * n_runs + self.row_s * n_rows


@dataclass(frozen=True, slots=True)
class Run:
    """One piece of work: a graph, by the key of its plan, on rows `start` to `stop` of the batch, on some threads."""

    graph: int
    start: int
    stop: int
    threads: int = 1


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


def prefers_fused(fused: Plan, members: Sequence[Plan], combiner: Plan, n_rows: int, n_idle: int) -> bool:
    """Return whether one fused graph answers a batch sooner, or at less cost, than its members side by side.

    With cores idle beside the one at hand what counts is when the last run ends, else the sum of all runs.

    Args:
        fused: plan of the fused graph, which combines too.
        members: plans of the members.
        combiner: time of combining their scores.
        n_rows: rows in the batch.
        n_idle: cores that are free at the moment, beside the one at hand.
    """
    whole = fused.batch_seconds(n_rows)
    combining = combiner.seconds(n_rows)
    total = sum(plan.batch_seconds(n_rows) for plan in members)
    if n_idle == 0 or total < HAND_OFF_S:
        return whole <= total + combining
    n_threads = n_idle + 1
    longest_chunk = max(plan.seconds(_chunk(plan, n_rows, n_threads)) for plan in members)
    side_by_side = max(total / n_threads, longest_chunk) + HAND_OFF_S + combining
    return max(whole / n_threads, fused.seconds(_chunk(fused, n_rows, n_threads))) <= side_by_side


def estimate(plans: Sequence[Plan]) -> Plan:
    """Return the plans of several graphs as if they were one that takes any number of rows in one run."""
    each = sum(plan.row_s + plan.call_s / (plan.chunk_rows or math.inf) for plan in plans)
    fixed = sum(plan.call_s - plan.call_s / (plan.chunk_rows or math.inf) for plan in plans)
    return Plan(None, fixed, each)


def efficient_rows(plans: Sequence[Plan]) -> int:
    """Return the rows from which a batch's fixed costs are at most a tenth of the rest; larger ones gain little.

    Accelerators gain from every row, which counts as never.
    """
    if any(plan.chunk_rows is None for plan in plans):
        return 1 << 30
    # Chunks pay for themselves: their fixed part is paid again in every one.
    fixed = BATCH_S + sum(plan.call_s for plan in plans)
    each = sum(plan.row_s for plan in plans)
    return max(1, round(min(fixed / max(_MOST_OVERHEAD * each, 1e-12), 1 << 30)))


def schedule(
    plans: Mapping[int, Plan], n_rows: int, n_cores: int, n_idle: int | None = None
) -> tuple[Sequence[Run], int]:
    """Cut a batch into runs, the longest first, and say how many threads should share them.

    Args:
        plans: key of a graph -> its plan, for the graphs that must run.
        n_rows: rows in the batch.
        n_cores: threads that may run at once.
        n_idle: cores that are free at the moment, beside the one at hand; only for these are runs cut shorter. By
            default all.

    Returns:
        The runs, which cover every graph and row exactly once, and the number of threads: 1 means that all of it
        is shorter than handing any of it over.
    """
    total = sum(plan.batch_seconds(n_rows) for plan in plans.values())
    alone = n_cores == 1 or total < HAND_OFF_S
    n_now = 1 if alone else min(n_cores, 1 + (n_cores if n_idle is None else n_idle))
    timed: list[tuple[float, Run]] = []
    for graph, plan in plans.items():
        if 1 < plan.threads <= n_now and n_rows == 1:
            timed.append((plan.seconds(1), Run(graph, 0, 1, plan.threads)))
            continue
        chunk = _chunk(plan, n_rows, n_now)
        for start in range(0, n_rows, chunk):
            stop = min(start + chunk, n_rows)
            timed.append((plan.seconds(stop - start), Run(graph, start, stop)))
    timed.sort(key=lambda item: -item[0])
    lasting = [seconds for seconds, _ in timed if seconds >= SHORT_S]
    threads = 1 if alone else max(1, min(n_cores, len(lasting), 1 + int(sum(lasting) / HAND_OFF_S)))
    return [run for _, run in timed], threads


def _chunk(plan: Plan, n_rows: int, n_threads: int) -> int:
    if plan.chunk_rows is None:
        return n_rows
    share = -(-n_rows // n_threads)
    if plan.seconds(share) < HAND_OFF_S:
        return min(plan.chunk_rows, n_rows)
    return min(plan.chunk_rows, share)
