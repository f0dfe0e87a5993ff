"""Who stands where in bench/accuracy.py: losses, their differences to the best, ranks and costs, from the results."""

from dataclasses import dataclass
from statistics import geometric_mean, mean

import numpy as np
from accuracy_jobs import difference
from accuracy_results import Line, Results
from accuracy_sets import SETS

OURS, DEAREST = "widedeep", "autogluon_best"
TITLES = {
    OURS: "widedeep train",
    "autogluon_medium": "AutoGluon medium",
    DEAREST: "AutoGluon best",
    "stacking": "scikit-learn stacking",
    "voting": "scikit-learn voting",
}
UNLIMITED = ("stacking", "voting")
"""Systems that take the time that they need: less of a core changes nothing but their wall time."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A system on one set, over its splits.

    Attributes:
        loss: mean over the splits.
        above: its difference to the best system, at least 0.
        error: standard error of that difference over the test rows; 0 for the best itself.
        rank: 1 for the best.
    """

    loss: float
    above: float
    error: float
    rank: int

    @property
    def errors_above(self) -> float:
        """The difference in standard errors."""
        return self.above / self.error if self.error > 0 else 0.0


class Board:
    """The results of all systems, on those sets and splits for which every one of the systems has a result.

    Raises:
        ValueError: there is no such set, or the results are of different time limits.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self._good = {
            (line["set"], line["split"], line["system"]): line for line in results.lines() if "error" not in line
        }
        self.failed = [line for line in results.lines() if "error" in line]
        self.systems = [name for name in TITLES if any(system == name for *_, system in self._good)]
        keys = {(name, seed) for name, seed, _ in self._good}
        whole = [key for key in keys if all((*key, system) in self._good for system in self.systems)]
        self.left_out = sorted(keys.difference(whole))
        self._seeds = {name: sorted(seed for other, seed in whole if other == name) for name in SETS}
        self.sets = [name for name in SETS if self._seeds[name]]
        if not self.sets:
            raise ValueError(f"{results.folder}: no set has a result of every system of {', '.join(self.systems)}")
        limits = {line["limit_s"] for line in self._good.values() if line["system"] not in UNLIMITED}
        if len(limits) != 1:
            raise ValueError(f"{results.folder}: expected results of one time limit, found {sorted(limits)}")
        [self.limit_s] = limits
        self.cores = sorted({line["core"] for line in self._good.values()})
        self.n_splits = max(len(seeds) for seeds in self._seeds.values())
        self.standings = {name: self._stand(name) for name in self.sets}

    def lines(self, system: str, name: str | None = None) -> list[Line]:
        """Return a system's lines, of one set or of all."""
        wanted = self.sets if name is None else [name]
        return [self._good[each, seed, system] for each in wanted for seed in self._seeds[each]]

    def _stand(self, name: str) -> dict[str, Standing]:
        task, seeds = SETS[name].task, self._seeds[name]
        losses = {system: mean(line["loss"] for line in self.lines(system, name)) for system in self.systems}
        order = sorted(losses, key=lambda system: losses[system])
        out = {}
        for rank, system in enumerate(order, 1):
            pairs = [[self.results.rows(name, seed, each) for each in (system, order[0])] for seed in seeds]
            errors = [difference(a, b, task)[1] for a, b in pairs]
            error = float(np.sqrt(np.square(errors).sum()) / len(errors))
            out[system] = Standing(losses[system], losses[system] - losses[order[0]], error, rank)
        return out

    def us(self, system: str, batch: str, name: str | None = None) -> float:
        """Return microseconds of processor time a row, the geometric mean over sets and splits."""
        return geometric_mean(line["us_per_row"][batch]["cpu"] for line in self.lines(system, name))

    def worse(self, system: str) -> list[str]:
        """Return the sets on which a system is more than one standard error above the best."""
        return [name for name in self.sets if self.standings[name][system].errors_above > 1]

    def mean_rank(self, system: str) -> float:
        """Return the mean over the sets."""
        return mean(self.standings[name][system].rank for name in self.sets)
