"""Measuring at leisure what `load` measures in passing, and what it does not try: other graph options, more threads."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import get_args

from ..contract.bundle import Bundle, read_bundle, read_samples
from .cache import Cache
from .member import USUAL, Fused, Member
from .opening import Opener, resolve
from .plan import COMBINER, FUSED, choose_plan
from .pool import available_cores
from .profile import Rows, Setup, Setups, timed
from .runtime import CPU, GraphOptions, Optimization

ROUNDS = 5
_WORTH = 0.97
"""Other options than the usual ones must take at most this part of their time."""
_LASTS_S = 1e-3
"""A run of one row must last this long for several threads to gain more than they cost to wake."""
_WORTH_THREADS = 0.7
"""Several threads must take at most this part of the time of one: the cores are then lost to others."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found out about one graph.

    Attributes:
        name: the member's name, or `fused.onnx`.
        setup: how it will be opened and run.
        row_us: graph options tried -> microseconds a row in the best chunk.
        one_row_us: threads tried -> microseconds of one row alone.
    """

    name: str
    setup: Setup
    row_us: Mapping[Optimization, float]
    one_row_us: Mapping[int, float]


def tune(
    path: Path,
    cache: Cache,
    *,
    providers: Mapping[str, Sequence[str]] | None = None,
    n_cores: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Tuned]:
    """Measure every graph of a bundle under every option and remember the best in the cache, for loads to come.

    Args:
        path: the bundle's folder.
        cache: where it is remembered.
        providers: as `Ensemble.load` takes them; what is found holds for these only.
        n_cores: threads that one run may have at most; all available by default.
        progress: told the name of each graph before it is measured.
        clock: seconds, monotonic.

    Raises:
        BundleError: a file is missing or changed, or a graph does not load.
        ConfigurationError: a provider is not to be had.
        ExecutionError: a graph cannot score the golden rows.
    """
    bundle = read_bundle(path)
    rows = read_samples(path).inputs
    opener = Opener(path, bundle, resolve(bundle, providers or {}), cache=cache)
    search = _Search(opener, rows, n_cores or available_cores(), clock)
    found: dict[int, Tuned] = {}
    for key in opener.keys:
        progress(_name(bundle, key))
        found[key] = search.best(key)
    setups: Setups = {key: tuned.setup for key, tuned in found.items()}
    setups[COMBINER] = Setup(USUAL, opener.combiner_plan(clock))
    opener.remember(setups)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for the best setup of each graph of a bundle."""

    opener: Opener
    rows: Rows
    n_cores: int
    clock: Callable[[], float]

    def best(self, key: int) -> Tuned:
        """Measure one graph; the candidates take turns, so that a busy moment is shared by all."""
        usual = self.opener.open(key, USUAL)
        graphs: dict[Optimization, Member | Fused] = {USUAL.optimization: usual}
        if usual.provider == CPU:
            others = (level for level in get_args(Optimization) if level != USUAL.optimization)
            graphs |= {level: self.opener.open(key, GraphOptions(1, level)) for level in others}
        rounds = [
            {level: timed(graph.run, self.rows, self.clock) for level, graph in graphs.items()} for _ in range(ROUNDS)
        ]
        plans = {level: choose_plan(_medians([seconds[level] for seconds in rounds])) for level in graphs}
        by_row = {level: plan.seconds(plan.chunk_rows or 1) / (plan.chunk_rows or 1) for level, plan in plans.items()}
        level = min(by_row, key=lambda level: by_row[level])
        if by_row[level] > _WORTH * by_row[USUAL.optimization]:
            level = USUAL.optimization
        one_row = self._one_row(key, level) if usual.provider == CPU else {}
        plan = replace(plans[level], threads=max((n for n in one_row if _pays(one_row, n)), default=1))
        return Tuned(
            name=_name(self.opener.bundle, key),
            setup=Setup(GraphOptions(1, level), plan if usual.provider == CPU else replace(plan, chunk_rows=None)),
            row_us={level: seconds * 1e6 for level, seconds in by_row.items()},
            one_row_us={threads: seconds * 1e6 for threads, seconds in one_row.items()},
        )

    def _one_row(self, key: int, level: Optimization) -> dict[int, float]:
        """Return threads -> seconds of one row alone, for twice as many threads as long as they pay."""
        seconds: dict[int, float] = {}
        threads = 1
        while threads <= self.n_cores:
            seconds[threads] = self._seconds(self.opener.open(key, GraphOptions(threads, level)))
            if seconds[1] < _LASTS_S or not _pays(seconds, threads):
                break
            threads *= 2
        return seconds

    def _seconds(self, graph: Member | Fused) -> float:
        row = {name: array[:1] for name, array in self.rows.items()}
        times = []
        for _ in range(1 + ROUNDS):
            started = self.clock()
            graph.run(row)
            times.append(self.clock() - started)
        return median(times[1:])


def _pays(seconds: Mapping[int, float], threads: int) -> bool:
    """Return whether so many threads are worth it, compared with half as many."""
    return threads == 1 or seconds[threads] <= _WORTH_THREADS * seconds[threads // 2]


def _medians(rounds: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return rows in a run -> the median over the rounds that got so far."""
    sizes = sorted(set.intersection(*(set(seconds) for seconds in rounds)))
    return {n_rows: median(seconds[n_rows] for seconds in rounds) for n_rows in sizes}


def _name(bundle: Bundle, key: int) -> str:
    return bundle.fused.file if key == FUSED and bundle.fused else bundle.members[key].name
