"""Rows made to find the differences that real rows do not show.

A conversion that rounds a threshold to the other side, takes NaN another way or does not know an unseen category
agrees on ordinary rows. Every probe is a real row with some values replaced, so that it still reaches deep branches.
Pure functions of their arguments: the same rows and thresholds always give the same probes.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..serving.contract.tensors import Array, DataType, TensorSpec

Arrays = Mapping[str, Array]
Thresholds = Mapping[str, Mapping[int, Array]]
"""Tensor name -> column -> values at which the model branches, ascending."""

UNSEEN = "widedeep-unseen-category"
_SHARE_REPLACED = 0.5


@dataclass(frozen=True, slots=True)
class Probe:
    """Probes of one kind.

    Attributes:
        kind: what was done, for messages.
        rows: tensor name -> `(n_probes, d1, ...)`.
        optional: whether the trained model may refuse such rows; then nobody needs to answer them.
    """

    kind: str
    rows: Arrays
    optional: bool = False


def make_probes(
    specs: Sequence[TensorSpec], rows: Arrays, thresholds: Thresholds, max_rows: int, seed: int = 0
) -> Iterator[Probe]:
    """Yield probes of every kind that applies.

    Args:
        specs: the inputs; NaN is probed where they allow it.
        rows: real rows of these inputs.
        thresholds: values to step around; a value between two numbers of the input's type is stepped around too.
        max_rows: probes of one kind at most.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    places = [
        (name, column, value)
        for name, columns in thresholds.items()
        for column, values in columns.items()
        for value in _around(values, rows[name].dtype)
    ]
    if places:
        chosen = places if len(places) <= max_rows else [places[i] for i in rng.permutation(len(places))[:max_rows]]
        yield Probe("one value at a threshold", _one_replaced(rows, chosen, rng))
        yield Probe("many values at thresholds", _many_replaced(rows, thresholds, max_rows // 2, rng))
    yield Probe("values of several rows", _mixed(rows, max_rows // 4, rng))
    whole = {spec.name: _holds_whole(rows[spec.name]) for spec in specs if spec.datatype.is_float}
    if any(places.any() for places in whole.values()):
        yield Probe("numbers between whole ones", _between_whole(rows, whole, max_rows // 4, rng), optional=True)
    yield Probe("zero", {spec.name: _zero(rows[spec.name][:1]) for spec in specs})
    for spec in specs:
        if spec.datatype.is_float and spec.allow_nan:
            yield Probe("missing values", _each_value(rows, spec, np.nan, max_rows // 4, rng))
        if spec.datatype is DataType.BYTES:
            yield Probe("an unseen category", _each_value(rows, spec, UNSEEN, max_rows // 4, rng), optional=True)


def accepts_nan(native: Callable[[Arrays], Array], spec: TensorSpec, rows: Arrays) -> bool:
    """Ask the trained model whether a real row without any value of this input still gets finite scores."""
    row = {name: array[:1] for name, array in rows.items()} | {spec.name: _like(rows[spec.name][:1], np.nan)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(np.isfinite(native(row)).all())
    except Exception:  # a refusal, whatever class the library chose for it
        return False


def _around(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return each value in `dtype` and the numbers next to it, in steps of float32 as well as of the type itself."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        near = np.unique(np.concatenate([np.floor(values) + step for step in (-1, 0, 1)]))
        limits = np.iinfo(dtype)
        return near[(near >= limits.min) & (near <= limits.max)].astype(dtype)
    steps = [np.asarray(values, dtype)]
    for kind in {np.dtype(np.float32), dtype}:
        exact = np.asarray(values, kind)
        steps += [np.nextafter(exact, kind.type(-np.inf)), exact, np.nextafter(exact, kind.type(np.inf))]
    return np.unique(np.concatenate([step.astype(dtype) for step in steps]))


def _one_replaced(rows: Arrays, places: Sequence[tuple[str, int, Any]], rng: np.random.Generator) -> Arrays:
    out = _drawn(rows, len(places), rng)
    for row, (name, column, value) in enumerate(places):
        out[name][row, column] = value
    return out


def _many_replaced(rows: Arrays, thresholds: Thresholds, n_rows: int, rng: np.random.Generator) -> Arrays:
    out = _drawn(rows, n_rows, rng)
    for name, columns in thresholds.items():
        for column, values in columns.items():
            replaced = rng.random(n_rows) < _SHARE_REPLACED
            out[name][replaced, column] = rng.choice(_around(values, rows[name].dtype), int(replaced.sum()))
    return out


def _mixed(rows: Arrays, n_rows: int, rng: np.random.Generator) -> Arrays:
    """Draw every value from a row of its own: combinations that real rows do not show."""
    out = {}
    for name, array in rows.items():
        flat = array.reshape(len(array), -1)
        index = rng.integers(0, len(array), (n_rows, flat.shape[1]))
        out[name] = np.take_along_axis(flat, index, axis=0).reshape(n_rows, *array.shape[1:])
    return out


def _holds_whole(array: Array) -> Array:
    """Return for each place in a row, shape `(d1, ...)`, whether all rows hold a whole number or NaN there."""
    return np.asarray(((np.floor(array) == array) | np.isnan(array)).all(axis=0))


def _between_whole(rows: Arrays, whole: Mapping[str, Array], n_rows: int, rng: np.random.Generator) -> Arrays:
    """Add a quarter to half of the numbers that are always whole: some exports cut them before they look them up.

    A quarter is exact in every float type, so that ties of distances between whole numbers stay ties.
    """
    out = _drawn(rows, n_rows, rng)
    for name, places in whole.items():
        out[name][(rng.random(out[name].shape) < _SHARE_REPLACED) & places] += 0.25
    return out


def _each_value(rows: Arrays, spec: TensorSpec, value: object, max_rows: int, rng: np.random.Generator) -> Arrays:
    """Replace every value of a row on its own, then half of them, then all."""
    size = int(np.prod(spec.row_shape))
    single = np.eye(size, dtype=np.bool_)[rng.permutation(size)[:max_rows]]
    masks = np.concatenate([single, rng.random((max_rows, size)) < _SHARE_REPLACED, np.ones((1, size), np.bool_)])
    out = _drawn(rows, len(masks), rng)
    out[spec.name][masks.reshape(len(masks), *spec.row_shape)] = value
    return out


def _drawn(rows: Arrays, n_rows: int, rng: np.random.Generator) -> dict[str, Array]:
    index = rng.integers(0, len(next(iter(rows.values()))), n_rows)
    return {name: array[index] for name, array in rows.items()}


def _like(array: Array, value: object) -> Array:
    return np.full_like(array, value)


def _zero(array: Array) -> Array:
    """Return zeros; strings stay as they are, since nobody knows which one would be the neutral one."""
    return array if array.dtype == object else np.zeros_like(array)
