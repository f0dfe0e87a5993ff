"""Numbers worth probing: next to thresholds, between categories, far outside the rows, at the ends of a datatype."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array, DataType

_FAR = 10.0
"""Times the width of a column's values."""


def extremes(datatype: DataType) -> tuple[Any, ...]:
    """Return the ends of a datatype's range, and the numbers nearest to zero."""
    dtype = datatype.dtype
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return tuple(dict.fromkeys((limits.min, limits.max)))
    finite = np.finfo(dtype)
    tiny = finite.smallest_subnormal
    return (-0.0, tiny, -tiny, finite.tiny, np.sqrt(finite.max), -np.sqrt(finite.max), finite.max, finite.min)


def as_dtype(dtype: np.dtype[Any], values: npt.NDArray[np.float64]) -> Array:
    """Return numbers in a numeric dtype, those outside an integer's range at its ends."""
    if dtype.kind in "iu":
        # The largest 64-bit integer is no float64, so the next one below it stands in.
        limits, top = np.iinfo(dtype), float(np.iinfo(dtype).max)
        values = np.clip(values, float(limits.min), top if top <= limits.max else np.nextafter(top, 0))
    with np.errstate(over="ignore"):
        return values.astype(dtype)


def around(values: Array, dtype: np.dtype[Any]) -> Array:
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


def no_codes(codes: npt.NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return numbers of a datatype that are no categories: between, below and above them."""
    most, some = codes.max(initial=0), codes[:: max(1, len(codes) // 64)]
    odd = np.concatenate([some + 0.5, some - 0.25, some + 1, [-1.0, -0.5, most + 1, most + 32, 2.0**20, 2.0**31, 1e15]])
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        odd = odd[(np.floor(odd) == odd) & (odd >= limits.min) & (odd <= limits.max)]
    return np.setdiff1d(odd.astype(dtype), codes.astype(dtype))


def far(array: Array) -> Iterator[Array]:
    """Yield for each place in a row numbers below, then above all rows: far off, and of whole numbers the next ones."""
    wide = array.astype(np.float64)
    lowest = np.min(wide, axis=0, where=np.isfinite(wide), initial=np.inf)
    highest = np.max(wide, axis=0, where=np.isfinite(wide), initial=-np.inf)
    seen = lowest <= highest
    lowest, highest = np.where(seen, lowest, 0.0), np.where(seen, highest, 0.0)
    distance = _FAR * np.where(highest > lowest, highest - lowest, 1.0)
    steps = (distance, np.ones(())) if array.dtype.kind in "iu" else (distance,)
    for step in steps:
        yield as_dtype(array.dtype, lowest - step)
        yield as_dtype(array.dtype, highest + step)


def holds_whole(array: Array) -> Array:
    """Return for each place in a row, shape `(d1, ...)`, whether all rows hold a whole number or NaN there."""
    return np.asarray(((np.floor(array) == array) | np.isnan(array)).all(axis=0))
