"""Rows that reach every split of every tree, with the value it compares exactly there.

A threshold that is one step off changes the answer only for rows that come to that split with a value in that step,
and real rows with one value replaced seldom do. So each tree is walked with the real rows that come to each split;
where none does, one that came close is changed until it would. What is made are only rows: the trained model answers
them, so that a mistake here costs a probe and hides nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...serving.contract.tensors import TensorSpec
from ..batches import Arrays, Probe, batch_rows, only_rows
from ..probes import Bases
from .grown import Grown, Place, place_of
from .rows import Column
from .tree_walk import Walk

KIND = "a row that reaches a split, at its threshold"
_PROBES_PER_ROW = 50


def reach_splits(
    grown: Grown, columns: Sequence[Column], specs: Sequence[TensorSpec], bases: Bases, *, max_rows: int, seed: int = 0
) -> Iterator[Probe]:
    """Yield probes for the splits of trees.

    Each split gets a row at its threshold and one a step to either side, in the type of the column and in that of the
    comparison, one with NaN where that is legal, and one with each category.

    Args:
        grown: the trees.
        columns: columns of the rows that the model takes.
        specs: the inputs; NaN is probed where they allow it.
        bases: rows to change.
        max_rows: fifty times as many probes are made at most, for trees drawn at random: four to eight a split.
        seed: of the draws.
    """
    rng, rows = np.random.default_rng(seed), bases.rows
    by_name = {spec.name: spec for spec in specs}
    places = [place_of(feature, columns, by_name, rows, grown.compared) for feature in grown.features]
    walk = Walk(grown, places, bases.doubt, rng)
    done, n_made, made, size = 0, 0, Changed(places), batch_rows(rows)
    for i in rng.permutation(len(grown.trees.trees)):
        for here in walk.tree(grown.trees.trees[i]):
            probes = list(walk.probes(grown.trees.trees[i], here))
            done += bool(probes)
            for base, changes in probes:
                made.append(base, changes)
            if len(made) >= size:
                n_made += len(made)
                yield Probe(KIND, made.taken_from(rows), optional=True, coverage={"splits": (done, grown.n_splits)})
                made = Changed(places)
        if n_made + len(made) >= max_rows * _PROBES_PER_ROW:
            break
    if len(made):
        yield Probe(KIND, made.taken_from(rows), optional=True, coverage={"splits": (done, grown.n_splits)})


class Changed:
    """Real rows with changes, one after the other."""

    def __init__(self, places: Sequence[Place | None]) -> None:
        self._places = places
        self._base: list[int] = []
        self._changes: dict[int, tuple[list[int], list[float]]] = {}

    def __len__(self) -> int:
        return len(self._base)

    def append(self, base: int, changes: Mapping[int, float]) -> None:
        """Add a row: its number, and feature -> number of its column to change it to."""
        for feature, to in changes.items():
            rows, values = self._changes.setdefault(feature, ([], []))
            rows.append(len(self._base))
            values.append(to)
        self._base.append(base)

    def taken_from(self, rows: Arrays) -> Arrays:
        """Return all of them as rows."""
        out = only_rows(rows, np.array(self._base))
        for feature, (places, values) in self._changes.items():
            if (place := self._places[feature]) is not None:
                out[place.tensor][places, place.index] = place.cells(np.array(values))
        return out
