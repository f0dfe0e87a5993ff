"""Trees behind steps whose arithmetic no runtime repeats to the last digit: logarithms, powers, quantiles.

Such a step rises with its input, column by column, so a tree that asks whether its output is at most a threshold asks
whether the input is at most some number. That number is found by asking the step itself about every float in between,
by bisection, and the graph compares the input with it: exact wherever the step's own last digits fall.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from .sklearn_table import Bend, Function, Origin
from .trees import Tree, Trees
from .values import Value, side_by_side


def unbent(
    trees: Trees, x: Value, origins: Sequence[Origin | None], compared: Callable[[Array], Array]
) -> tuple[Trees, Value]:
    """Return trees and float64 features that give the same sums, with thresholds in front of inexact steps.

    Args:
        trees: that compare `x`.
        x: features `(n_rows, n_columns)` in the type of comparison.
        origins: of its columns.
        compared: from float values of a column as numpy computes them to what the trees compare, float64.

    Returns:
        What was given, where no tree looks at such a column.
    """
    used = {int(feature) for tree in trees.trees for feature in tree.feature}
    bends = {i: origin.bend for i, origin in enumerate(origins) if i in used and origin is not None and origin.bend}
    if not bends:
        return trees, x
    columns = []
    for i in range(len(origins)):
        column = x.columns([i]).astype(np.float64)
        if i in bends:
            column = column.isnan().where(np.nan, bends[i].source.astype(np.float64))
        columns.append(column)
    known = {i: _turned(trees, i, bend, compared) for i, bend in bends.items()}
    grown = [_tree(tree, trees, known) for tree in trees.trees]
    return replace(trees, trees=grown, mode="<=", dtype=np.float64), side_by_side(columns)


def _turned(
    trees: Trees, column: int, bend: Bend, compared: Callable[[Array], Array]
) -> dict[float, tuple[float, Any]]:
    """Return for each threshold of a column the one in front, and whether a missing value there passes.

    None for that where the value is still missing behind.
    """
    found = [np.asarray(t.threshold)[np.asarray(t.feature) == column] for t in trees.trees]
    thresholds = np.unique(np.concatenate(found).astype(trees.dtype))

    def passes(values: Array, bounds: Array) -> Array:
        with np.errstate(all="ignore"):
            made = compared(bend.forward(values))
        low_end = np.isnan(made)  # where a logarithm has no value, the rows are missing ones
        return np.asarray((made < bounds if trees.mode == "<" else made <= bounds) | low_end)

    dtype = bend.source.dtype if bend.source.dtype.kind == "f" else np.dtype(np.float64)
    in_front = _largest(lambda values: passes(values, thresholds.astype(np.float64)), len(thresholds), dtype)
    gap = compared(bend.forward(np.array([np.nan], dtype)))
    missing = [None if np.isnan(gap[0]) else bool(passes(np.array([np.nan], dtype), t)[0]) for t in thresholds]
    return {float(t): (float(t0), m) for t, t0, m in zip(thresholds, in_front, missing, strict=True)}


def _largest(passes: Callable[[Array], Array], n: int, dtype: np.dtype[Any]) -> Array:
    """Return for each of n rising-to-falling conditions the largest float of a type that passes, -inf if none does."""
    integer: Any = np.int64 if dtype == np.float64 else np.int32
    most = np.asarray(np.finfo(dtype).max, dtype)
    low = np.full(n, _order(-most, integer), object)
    high = np.full(n, _order(most, integer), object)
    none = ~passes(np.full(n, -most, dtype))
    every = passes(np.full(n, most, dtype))
    while (high - low > 1).any():
        middle = (low + high) // 2
        good = passes(_float(middle, integer, dtype))
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    out = _float(low, integer, dtype).astype(np.float64)
    out[every], out[none] = np.inf, -np.inf
    return out


def _order(value: Array, integer: Any) -> int:
    """Return a whole number that rises with a float."""
    bits = int(np.asarray(value).view(integer))
    return bits if bits >= 0 else int(np.iinfo(integer).min) - bits


def _float(order: Array, integer: Any, dtype: np.dtype[Any]) -> Array:
    least = int(np.iinfo(integer).min)
    bits = [place if place >= 0 else least - place for place in order.tolist()]
    return np.array(bits, integer).view(dtype)


def _tree(tree: Tree, trees: Trees, known: dict[int, dict[float, tuple[float, bool | None]]]) -> Tree:
    """Return a tree that compares in float64 with `<=`."""
    plain = np.asarray(tree.threshold, trees.dtype)
    threshold = np.nextafter(plain, np.asarray(-np.inf, trees.dtype)) if trees.mode == "<" else plain
    threshold, missing = threshold.astype(np.float64), tree.missing_left.copy()
    for split, feature in enumerate(tree.feature.tolist()):
        if feature in known and split not in tree.categories:
            threshold[split], passes = known[feature][float(plain[split])]
            missing[split] = missing[split] if passes is None else passes
    return replace(tree, threshold=threshold, missing_left=missing, leaf=np.asarray(tree.leaf, np.float64))


def as_compared(dtype: Any) -> Function:
    """Return the function from values to those that trees of a type compare, as float64."""
    return lambda values: values.astype(dtype).astype(np.float64)
