"""Transformers of scikit-learn that work on numbers: scaling, selecting, projecting, multiplying columns.

Each repeats the operations of the original one by one, in the same types and with the same roundings, so that a value
next to a tree's threshold behind it stays on its side.

Source: sklearn/preprocessing/_data.py, _polynomial.py, decomposition, feature_selection.
"""

import warnings
from collections.abc import Callable, Mapping
from itertools import combinations, combinations_with_replacement
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn import config_context

from ...serving.contract.tensors import Array
from .sklearn_table import Function, Part, Table
from .sklearn_walk import Transform, Walk
from .values import Value, side_by_side


def standard(_: Walk, step: Any, table: Table) -> Table:
    """Write a StandardScaler."""
    x = table.numbers("StandardScaler")
    if table.is_sparse:
        return columnwise(table, step, x if step.scale_ is None else _times(x, 1 / step.scale_))
    if step.with_mean:
        x = x - step.mean_.astype(x.dtype)
    if step.with_std:
        x = x / step.scale_.astype(x.dtype)
    return columnwise(table, step, x)


def min_max(_: Walk, step: Any, table: Table) -> Table:
    """Write a MinMaxScaler."""
    x = table.numbers("MinMaxScaler")
    scaled = (_times(x, step.scale_) + step.min_).astype(x.dtype)
    return columnwise(table, step, scaled.clip(*step.feature_range) if step.clip else scaled)


def max_abs(_: Walk, step: Any, table: Table) -> Table:
    """Write a MaxAbsScaler."""
    x = table.numbers("MaxAbsScaler")
    scaled = _times(x, 1.0 / step.scale_) if table.is_sparse else (x / step.scale_).astype(x.dtype)
    return columnwise(table, step, scaled.clip(-1.0, 1.0) if getattr(step, "clip", False) else scaled)


def robust(_: Walk, step: Any, table: Table) -> Table:
    """Write a RobustScaler."""
    x = table.numbers("RobustScaler")
    if table.is_sparse:
        return columnwise(table, step, _times(x, 1.0 / step.scale_) if step.with_scaling else x)
    scaled = (x - step.center_).astype(x.dtype) if step.with_centering else x
    return columnwise(table, step, (scaled / step.scale_).astype(x.dtype) if step.with_scaling else scaled)


def normalizer(_: Walk, step: Any, table: Table) -> Table:
    """Write a Normalizer."""
    x = table.numbers("Normalizer")
    match step.norm:
        case "l1":
            norm = x.abs().sum()
        case "l2":
            norm = (x * x).sum().sqrt()
        case _:
            norm = x.abs().max()
    small = norm < 10 * np.finfo(x.dtype).eps
    return table.made(x / small.where(1.0, norm), table.width)


def binarizer(walk: Walk, step: Any, table: Table) -> Table:
    """Write a Binarizer."""
    x = table.array("Binarizer")
    walk.saw_thresholds(table.origins, [np.array([float(step.threshold)])] * table.width)
    return table.made((x > step.threshold).astype(x.dtype), table.width)


def polynomial(_: Walk, step: Any, table: Table) -> Table:
    """Write PolynomialFeatures, each product from the shorter one that it extends."""
    x = table.numbers("PolynomialFeatures")
    choose = combinations if step.interaction_only else combinations_with_replacement
    known: dict[tuple[int, ...], Value] = {(i,): x.columns([i]) for i in range(table.width)}
    least, most = int(step._min_degree), int(step._max_degree)
    for degree in range(2, most + 1):
        for chosen in choose(range(table.width), degree):
            known[chosen] = known[chosen[1:]] * known[chosen[:1]]
    wanted = [chosen for chosen in known if len(chosen) >= max(1, least)] if most else []
    origins = [table.origins[chosen[0]] if len(chosen) == 1 else None for chosen in wanted]
    parts = [known[chosen] for chosen in wanted]
    if step.include_bias:
        parts, origins = [(x.columns([0]).isnan() & ~x.columns([0]).isnan()).where(1.0, 1.0), *parts], [None, *origins]
        parts[0] = parts[0].astype(x.dtype)
    return Table((Part(side_by_side(parts), tuple(origins)),), is_sparse=table.is_sparse)


def selected(_: Walk, step: Any, table: Table) -> Table:
    """Write any feature selection."""
    chosen = table.select(np.flatnonzero(step.get_support()).tolist())
    return Table((Part(chosen.array(type(step).__name__), chosen.origins),), is_sparse=table.is_sparse)


def principal(_: Walk, step: Any, table: Table) -> Table:
    """Write PCA."""
    made = table.numbers(type(step).__name__) @ step.components_.T
    made = made - step.mean_.reshape(1, -1) @ step.components_.T
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        made = made / np.maximum(scale, np.finfo(scale.dtype).eps)
    return Table((Part(made, (None,) * len(step.components_)),))


def singular(_: Walk, step: Any, table: Table) -> Table:
    """Write TruncatedSVD."""
    made = table.numbers(type(step).__name__) @ step.components_.T
    return Table((Part(made, (None,) * len(step.components_)),))


def columnwise(table: Table, step: Any, value: Value, source: Value | None = None) -> Table:
    """Return the table behind a step that works column by column, rising; `source` is what it inexactly transforms."""

    def back(column: int) -> Function:
        def invert(values: Array) -> Array:
            try:
                return _asked(step.inverse_transform, values.astype(np.float64), column)
            except Exception:  # no inverse for these values: then nothing is known about them in front of the step
                return np.zeros(0)

        return invert

    def forward(column: int) -> Function:
        return lambda values: _asked(_transform_of(step), values.astype(value.dtype), column)

    def _asked(method: Any, values: Array, column: int) -> Array:
        rows = np.repeat(values[:, np.newaxis], table.width, axis=1)
        out, finite = values.copy(), ~np.isinf(values)
        with warnings.catch_warnings(), np.errstate(all="ignore"), config_context(transform_output="default"):
            warnings.simplefilter("ignore")  # of feature names that training had
            if finite.any():
                out[finite] = np.asarray(method(rows[finite]))[:, column]
        return out

    return table.made(value, table.width) if table.is_sparse else table.through(value, back, forward, source=source)


def _transform_of(step: Any) -> Callable[[Array], Array]:
    """Return what a step makes of rows; a PowerTransformer refuses those for which its own result overflows."""
    if type(step).__name__ != "PowerTransformer":
        return step.transform  # type: ignore[no-any-return]  # scikit-learn is not typed
    bend = special.boxcox if step.method == "box-cox" else stats.yeojohnson

    def transform(rows: Array) -> Array:
        columns = [bend(rows[:, i], exponent) for i, exponent in enumerate(step.lambdas_)]
        bent = np.stack(columns, axis=1).astype(rows.dtype)
        if not step.standardize:
            return bent
        scaled = (bent - step._scaler.mean_.astype(rows.dtype)) / step._scaler.scale_.astype(rows.dtype)
        return np.asarray(scaled)

    return transform


def _times(x: Value, factor: Array) -> Value:
    """Multiply in place, as numpy does: in the wider type, then rounded back."""
    return (x * factor).astype(x.dtype)


TRANSFORMS: Mapping[str, Transform] = {
    "StandardScaler": standard,
    "MinMaxScaler": min_max,
    "MaxAbsScaler": max_abs,
    "RobustScaler": robust,
    "Normalizer": normalizer,
    "Binarizer": binarizer,
    "PolynomialFeatures": polynomial,
    "SelectorMixin": selected,
    "PCA": principal,
    "IncrementalPCA": principal,
    "TruncatedSVD": singular,
}
