"""A walk through trees, split by split, with the rows that come to each and what would bring another row there.

Numbers are those of the columns that features are made of, so that what is found can be written into a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from .grown import Grown, Place
from .trees import Tree

_MOST_CODES = 64
_TRIES = 4
"""Rows of each kind looked at for one whose answer hangs on the split."""

_DOUBT = 0.05
"""Where the model is surer than this, a leaf more or less hardly shows in its probabilities."""


@dataclass(frozen=True, slots=True)
class Here:
    """A split and the rows that come to it.

    Attributes:
        split: its number in the tree.
        index: rows that come here as they are.
        bounds: feature -> the least and the largest number of its column with which a row comes here.
        codes: feature -> the categories with which one does.
        missing: features without which alone one does.
    """

    split: int
    index: npt.NDArray[np.int64]
    bounds: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    codes: Mapping[int, frozenset[int]] = field(default_factory=dict)
    missing: frozenset[int] = frozenset()


class Walk:
    """Goes through trees split by split, with what all of them share."""

    def __init__(
        self, grown: Grown, places: Sequence[Place | None], doubt: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> None:
        self._mode, self._dtype, self._rng = grown.trees.mode, grown.compared, rng
        self._places, self._n_rows = places, len(doubt)
        self._is_open = doubt >= min(_DOUBT, doubt.max())
        self._open = np.flatnonzero(self._is_open)
        codes: dict[int, set[int]] = {}
        for tree in grown.trees.trees:
            for split, members in tree.categories.items():
                codes.setdefault(int(tree.feature[split]), set()).update(map(int, members))
        self._codes = {feature: frozenset(known | {max(known, default=0) + 1}) for feature, known in codes.items()}

    def tree(self, tree: Tree) -> Iterator[Here]:
        """Yield every split to which some row can come."""
        waiting = [Here(0, np.arange(self._n_rows))] if len(tree.feature) else []
        while waiting:
            here = waiting.pop()
            yield here
            for is_left, child in ((True, int(tree.left[here.split])), (False, int(tree.right[here.split]))):
                if child >= 0 and (there := self._step(tree, here, child, is_left=is_left)) is not None:
                    waiting.append(there)

    def probes(self, tree: Tree, here: Here) -> Iterator[tuple[int, dict[int, float]]]:
        """Yield rows that come to a split with a value at its threshold: a row and its changes, feature -> number."""
        feature = int(tree.feature[here.split])
        if (place := self._places[feature]) is None:
            return
        if here.split in tree.categories:
            codes = sorted(here.codes.get(feature, self._codes[feature]))
            if len(codes) > _MOST_CODES:
                codes = [codes[i] for i in self._rng.permutation(len(codes))[:_MOST_CODES]]
            values = [float(code) for code in codes]
        else:
            values = place.around(tree.threshold[here.split])
        for group in (values, [np.nan] if place.nan else []):
            if group:
                base, changes = self._telling(tree, here, group[0])
                yield from ((base, {**changes, feature: value}) for value in group)

    def _telling(self, tree: Tree, here: Here, value: float) -> tuple[int, dict[int, float]]:
        """Return a row that comes here and the changes that it needs: one whose answer hangs on the split, if found."""
        feature, sides = int(tree.feature[here.split]), (int(tree.left[here.split]), int(tree.right[here.split]))
        first = None
        for base, changes in self._candidates(tree, here):
            if first is None:
                first = base, changes
            left, right = (self._leaf(tree, side, base, {**changes, feature: value}) for side in sides)
            if left != right:
                return base, changes
            if max(sides) < 0:
                break
        assert first is not None, "a split is visited only if some row can come to it"  # noqa: S101  # of _step
        return first

    def _candidates(self, tree: Tree, here: Here) -> Iterator[tuple[int, dict[int, float]]]:
        """Yield rows that come here: as they are if the model is in doubt of them, then changed ones, any, mixtures."""
        doubted = here.index[self._is_open[here.index]]
        for _ in range(_TRIES if len(doubted) else 0):
            yield self._drawn(doubted), {}
        for _ in range(_TRIES):
            base = self._drawn(self._open)
            yield base, self._changes(base, here)
        for _ in range(_TRIES if len(here.index) else 0):
            yield self._drawn(here.index), {}
        for _ in range(4 * _TRIES):
            base = self._drawn(self._open)
            yield base, self._changes(base, here) | self._mixture(tree, here)

    def _mixture(self, tree: Tree, here: Here) -> dict[int, float]:
        """Return values of the features of a tree, each of a row of its own, as far as they come here."""
        values = {}
        for feature in np.unique(tree.feature).tolist():
            place, row = self._places[feature], int(self._rng.integers(self._n_rows))
            if place is not None and feature not in here.missing and self._stays(place, row, feature, here):
                values[feature] = float(place.seen[row])
        return values

    def _changes(self, base: int, here: Here) -> dict[int, float]:
        """Return what of a row to change so that it passes all splits on the way."""
        changes = dict.fromkeys(here.missing, np.nan)
        for feature in (*here.bounds, *here.codes):
            place = self._places[feature]
            if place is not None and not self._stays(place, base, feature, here):
                value = _within(place, here.bounds.get(feature), here.codes.get(feature))
                changes[feature] = np.nan if value is None else value
        return changes

    def _stays(self, place: Place, base: int, feature: int, here: Here) -> bool:
        if feature in here.codes:
            return bool(place.seen[base] in here.codes[feature])
        low, high = here.bounds.get(feature, (-np.inf, np.inf))
        return bool(low <= place.seen[base] <= high)

    def _leaf(self, tree: Tree, node: int, base: int, changes: Mapping[int, float]) -> tuple[Any, int]:
        """Return the value of the leaf that a row comes to from a node on, and its target."""
        while node >= 0:
            feature = int(tree.feature[node])
            place = self._places[feature]
            is_left = True
            if place is not None:
                value = changes[feature] if feature in changes else place.seen[base]
                is_left = self._goes_left(tree, node, place, value)
            node = int(tree.left[node] if is_left else tree.right[node])
        return tree.leaf[-1 - node], tree.target

    def _goes_left(self, tree: Tree, split: int, place: Place, value: Any) -> bool:
        """Return what `_passes` does for one number: the same, without the cost of an array."""
        if split in tree.categories:
            return value in tree.categories[split]
        if value != value:  # noqa: PLR0124  # NaN
            return bool(tree.missing_left[split])
        at, falls = place.bound(tree.threshold[split])
        return bool(value < at if self._mode == "<" else value <= at) != falls

    def _passes(self, tree: Tree, split: int, place: Place, seen: Array) -> npt.NDArray[np.bool_]:
        """Return which numbers of a column go left, compared as the library does: NaN by the split's own direction."""
        if split in tree.categories:
            return np.isin(seen, list(tree.categories[split]))
        at, falls = place.bound(tree.threshold[split])
        passes = (seen < float(at) if self._mode == "<" else seen <= float(at)) != falls
        return np.asarray(np.where(np.isnan(seen), tree.missing_left[split], passes))

    def _step(self, tree: Tree, here: Here, child: int, *, is_left: bool) -> Here | None:
        """Go on to a child; None if no row can."""
        feature, split = int(tree.feature[here.split]), here.split
        if (place := self._places[feature]) is None:  # it cannot be told which rows go where
            return replace(here, split=child)
        index = here.index[self._passes(tree, split, place, place.seen[here.index]) == is_left]
        bounds, codes, missing = dict(here.bounds), dict(here.codes), here.missing
        if feature in missing:
            return Here(child, index, bounds, codes, missing) if tree.missing_left[split] == is_left else None
        if split in tree.categories:
            members, come = frozenset(map(int, tree.categories[split])), codes.get(feature, self._codes[feature])
            codes[feature] = come & members if is_left else come - members
            is_empty = not codes[feature]
        else:
            at, falls = place.bound(tree.threshold[split])
            bounds[feature] = self._side(at, bounds.get(feature, (-np.inf, np.inf)), below=is_left != falls)
            is_empty = _within(place, bounds[feature], None) is None
        if is_empty:
            if not (place.nan and tree.missing_left[split] == is_left):
                return None
            missing = missing | {feature}
            bounds.pop(feature, None)
            codes.pop(feature, None)
        return Here(child, index, bounds, codes, missing)

    def _drawn(self, index: npt.NDArray[np.int64]) -> int:
        return int(index[self._rng.integers(len(index))])

    def _side(self, at: Any, bounds: tuple[float, float], *, below: bool) -> tuple[float, float]:
        """Return the numbers that come here and go to one side, in the type of comparison."""
        kind = self._dtype.type
        exact = kind(at)
        if self._mode == "<":
            last, first = np.nextafter(exact, kind(-np.inf)), exact
        else:
            last = exact if exact <= at else np.nextafter(exact, kind(-np.inf))
            first = np.nextafter(last, kind(np.inf))
        low, high = bounds
        return (low, min(high, float(last))) if below else (max(low, float(first)), high)


def _within(place: Place, bounds: tuple[float, float] | None, codes: frozenset[int] | None) -> float | None:
    """Return a number or category that passes all splits on the way, None if nothing does."""
    if codes:
        return float(min(codes))
    if bounds is None:
        return None
    low, high = bounds
    if place.dtype.kind in "iub":
        low, high = np.ceil(low), np.floor(high)
    if low > high:
        return None
    return float(high if np.isfinite(high) else low)
