"""Rows made to find the differences that real rows do not show.

A conversion that rounds a threshold to the other side, takes NaN another way or does not know an unseen category
agrees on ordinary rows. Every probe is a real row with some values replaced, so that it still reaches deep branches.
Pure functions of their arguments: the same rows and thresholds always give the same probes, in batches of bounded
size, so that nobody has to keep them.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array, DataType, TensorSpec
from .batches import Arrays, Probe, batch_rows, batched, only_rows
from .odd_values import around, extremes, far, holds_whole, no_codes

ByColumn = Mapping[str, Mapping[int, Array]]
"""Tensor name -> column -> values, ascending: those at which the model branches, or its numeric categories."""

EXTREMES = "extremes of the datatype"
UNSEEN = "widedeep-unseen-category"
_SHARE_REPLACED = 0.5
_NEAREST = 4
_SINGLE_PER_ROW = 10
_PACKED_PER_ROW = 50


@dataclass(frozen=True, slots=True)
class Bases:
    """Rows from which probes are made.

    Attributes:
        rows: tensor name -> rows.
        doubt: how far from sure the trained model is of each, `(n_rows,)`: 1 less the largest probability; 0 if it
            gives no probabilities.
    """

    rows: Arrays
    doubt: npt.NDArray[np.float64]


def make_probes(
    specs: Sequence[TensorSpec],
    rows: Arrays,
    *,
    thresholds: ByColumn,
    max_rows: int,
    categories: ByColumn | None = None,
    seed: int = 0,
) -> Iterator[Probe]:
    """Yield probes of every kind that applies.

    Args:
        specs: the inputs; NaN and infinities are probed where they allow them.
        rows: real rows of these inputs.
        thresholds: values to step around; a value between two numbers of the input's type is stepped around too.
        max_rows: probes of one kind at most. Of probes that put one value at a threshold ten times, and of those that
            put every column at one fifty times as many, which are enough for all thresholds of most models.
        categories: numbers that stand for categories.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    near = {
        (name, column): around(values, rows[name].dtype)
        for name, columns in thresholds.items()
        for column, values in columns.items()
    }
    if near:
        counts = {place: len(thresholds[place[0]][place[1]]) for place in near}
        yield from _every_threshold(rows, near, counts, max_rows * _PACKED_PER_ROW, rng)
        single = _one_replaced(rows, near, max_rows * _SINGLE_PER_ROW, rng)
        yield from batched("one value at a threshold", single)
        yield Probe("many values at thresholds", _many_replaced(rows, near, max_rows // 2, rng))
    few = max(1, max_rows // 4)
    yield from batched("values of several rows", mixed(rows, few, rng), optional=True)
    whole = {spec.name: holds_whole(rows[spec.name]) for spec in specs if spec.datatype.is_float}
    if any(places.any() for places in whole.values()):
        between = _between_whole(rows, whole, few, rng)
        yield from batched("numbers between whole ones", between, optional=True)
    yield Probe("zero", {spec.name: _zero(rows[spec.name][:1]) for spec in specs}, optional=True)
    for kind, name, values in _category_codes(rows, categories or {}):
        single = _one_replaced(rows, {(name, column): codes for column, codes in values.items()}, max_rows, rng)
        yield from batched(kind, single, optional=True)
    for spec in specs:
        yield from _of_one_input(spec, rows, few, rng)


def _of_one_input(spec: TensorSpec, rows: Arrays, few: int, rng: np.random.Generator) -> Iterator[Probe]:
    """Yield probes that put single values, half of the values, then all values of one input elsewhere."""
    if spec.datatype is DataType.BYTES:
        if spec.categories:
            known = _drawn(rows, len(spec.categories), rng)
            known[spec.name].reshape(len(spec.categories), -1)[:] = np.array(spec.categories, object)[:, np.newaxis]
            yield from batched("every known category", [known], optional=True)
        if not spec.closed_categories:
            for text in (UNSEEN, ""):
                yield from batched("an unseen category", _each_value(rows, spec, text, few, rng), optional=True)
        return
    if spec.datatype.is_float and spec.allow_nan:
        yield from batched("missing values", _each_value(rows, spec, np.nan, few, rng))
    if spec.datatype.is_float and spec.allow_inf:
        for infinity in (np.inf, -np.inf):
            yield from batched("infinities", _each_value(rows, spec, infinity, few, rng))
    if spec.datatype is not DataType.BOOL:
        for outside in far(rows[spec.name]):
            each = _each_value(rows, spec, outside, few // 4, rng)
            yield from batched("values far outside the rows", each, optional=True)
        for extreme in extremes(spec.datatype):
            yield from batched(EXTREMES, _each_value(rows, spec, extreme, few // 4, rng), optional=True)


def accepts(native: Callable[[Arrays], Array], spec: TensorSpec, rows: Arrays, *values: object, most: int = 64) -> bool:
    """Ask the trained model whether real rows get finite scores with each of `values` everywhere in this input.

    For several values also with each of them in one place alone, in at most `most` places.
    """
    rng = np.random.default_rng(0)
    row = {name: array[:1] for name, array in rows.items()}
    asked: list[Arrays] = [row | {spec.name: np.full_like(row[spec.name], value)} for value in values]
    if len(values) > 1:
        asked += [piece for value in values for piece in _each_value(rows, spec, value, most, rng)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return all(bool(np.isfinite(native(rows)).all()) for rows in asked)
    except Exception:  # a refusal, whatever class the library chose for it
        return False


def _every_threshold(
    rows: Arrays,
    near: Mapping[tuple[str, int], Array],
    counts: Mapping[tuple[str, int], int],
    most: int,
    rng: np.random.Generator,
) -> Iterator[Probe]:
    """Put every column at one of its values: as many rows as the column with the most values has of them."""
    shuffled = {place: rng.permutation(values) for place, values in near.items()}
    n_rows = min(most, max(map(len, near.values())))
    size = batch_rows(rows)
    for start in range(0, n_rows, size):
        stop = min(start + size, n_rows)
        out = _drawn(rows, stop - start, rng)
        for (name, column), values in shuffled.items():
            out[name][:, column] = values[np.arange(start, stop) % len(values)]
        done = sum(
            count if len(near[place]) <= stop else count * stop // len(near[place]) for place, count in counts.items()
        )
        yield Probe("every value at a threshold", out, coverage={"thresholds": (done, sum(counts.values()))})


def _one_replaced(
    rows: Arrays, values: Mapping[tuple[str, int], Array], most: int, rng: np.random.Generator
) -> Iterator[Arrays]:
    """Put one value of a real row elsewhere, preferably of a row that was near it and so comes to the same branches.

    Where there are more than `most` values, each column gets its share.
    """
    share = min(1.0, most / max(1, sum(map(len, values.values()))))
    size = batch_rows(rows)
    for (name, column), all_values in values.items():
        kept = max(1, int(len(all_values) * share))
        chosen = all_values if kept == len(all_values) else all_values[np.sort(rng.permutation(len(all_values))[:kept])]
        known = rows[name][:, column]
        order = np.argsort(known, kind="stable")
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            place = np.searchsorted(known[order], part) + rng.integers(-_NEAREST, _NEAREST, len(part))
            index = order[np.clip(place, 0, len(order) - 1)]
            out = only_rows(rows, index)
            out[name][:, column] = part
            yield out


def _many_replaced(
    rows: Arrays, near: Mapping[tuple[str, int], Array], n_rows: int, rng: np.random.Generator
) -> Arrays:
    out = _drawn(rows, n_rows, rng)
    for (name, column), values in near.items():
        replaced = rng.random(n_rows) < _SHARE_REPLACED
        out[name][replaced, column] = rng.choice(values, int(replaced.sum()))
    return out


def mixed(rows: Arrays, n_rows: int, rng: np.random.Generator) -> Iterator[Arrays]:
    """Draw every value from a row of its own: combinations that real rows do not show."""
    size = batch_rows(rows)
    for start in range(0, n_rows, size):
        out = {}
        for name, array in rows.items():
            flat = array.reshape(len(array), -1)
            index = rng.integers(0, len(array), (min(size, n_rows - start), flat.shape[1]))
            out[name] = np.take_along_axis(flat, index, axis=0).reshape(len(index), *array.shape[1:])
        yield out


def _between_whole(rows: Arrays, whole: Mapping[str, Array], n_rows: int, rng: np.random.Generator) -> Iterator[Arrays]:
    """Add a quarter to half of the numbers that are always whole: some exports cut them before they look them up.

    A quarter is exact in every float type, so that ties of distances between whole numbers stay ties.
    """
    size = batch_rows(rows)
    for start in range(0, n_rows, size):
        out = _drawn(rows, min(size, n_rows - start), rng)
        for name, places in whole.items():
            out[name][(rng.random(out[name].shape) < _SHARE_REPLACED) & places] += 0.25
        yield out


def _category_codes(rows: Arrays, categories: ByColumn) -> Iterator[tuple[str, str, dict[int, Array]]]:
    """Yield for each tensor the codes of its columns, then numbers that are no codes: between, below and above them."""
    for name, columns in categories.items():
        dtype = rows[name].dtype
        odd = {column: no_codes(np.asarray(codes, np.float64), dtype) for column, codes in columns.items()}
        yield "every category", name, {column: np.asarray(codes).astype(dtype) for column, codes in columns.items()}
        yield "numbers that are no category", name, odd


def _each_value(rows: Arrays, spec: TensorSpec, value: Any, most: int, rng: np.random.Generator) -> Iterator[Arrays]:
    """Replace every value of a row on its own, then half of them, then all.

    Args:
        rows: real rows.
        spec: the input to change.
        value: to put there, one for all places or one for each, `(d1, ...)`.
        most: places to replace on their own, and rows with half of them replaced, at most.
        rng: to draw from.
    """
    n_places = int(np.prod(spec.row_shape))
    single = rng.permutation(n_places)[:most]
    n_halves = min(most, 4 * n_places)
    n_rows, size = len(single) + n_halves + 1, batch_rows(rows)
    new = np.broadcast_to(np.asarray(value, rows[spec.name].dtype), spec.row_shape).reshape(n_places)
    for start in range(0, n_rows, size):
        stop = min(start + size, n_rows)
        out = _drawn(rows, stop - start, rng)
        flat = out[spec.name].reshape(stop - start, n_places)
        for row, i in enumerate(range(start, stop)):
            if i < len(single):
                flat[row, single[i]] = new[single[i]]
            elif i < n_rows - 1:
                half = rng.random(n_places) < _SHARE_REPLACED
                flat[row, half] = new[half]
            else:
                flat[row] = new
        yield out


def _drawn(rows: Arrays, n_rows: int, rng: np.random.Generator) -> dict[str, Array]:
    index = rng.integers(0, len(next(iter(rows.values()))), n_rows)
    return only_rows(rows, index)


def _zero(array: Array) -> Array:
    """Return zeros; strings stay as they are, since nobody knows which one would be the neutral one."""
    return array if array.dtype == object else np.zeros_like(array)
