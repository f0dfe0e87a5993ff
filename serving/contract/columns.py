"""From named columns to a bundle's inputs: how a table row becomes the tensors that members take.

An input is bound from one column of its own name, whose cells hold a whole row of the tensor in row-major order (plain
values where the row is a single one), or else from the columns that its features name, stacked in their order. Columns
that no input names are ignored.

Values must survive the way into the declared datatype. Integers, booleans and floats may stand for each other where
the value stays the same (integers go into a float up to the size at which it holds every one: 2**24 in FP32); a float
may be rounded to a narrower one, as the training libraries do, but not overflow. Text is never parsed and numbers are
never spelled out. A missing cell (None, NaN, a masked value) becomes NaN in a float and, in text, the string that
stands for one if the input has such a string; elsewhere it is refused.
"""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InvalidInput
from .tensors import Array, DataType, TensorSpec, listed

Column = Array | Sequence[Any]
"""Values of all rows: `(n_rows,)`, `(n_rows, ...)`, or a sequence of cells; cells may be arrays or lists themselves."""

_NESTED = (list, tuple, np.ndarray)
_NUMBERS = (numbers.Number, np.number, np.bool_)
_MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType", "MaskedConstant"})


def bind_columns(specs: Sequence[TensorSpec], columns: Mapping[str, Column]) -> dict[str, Array]:
    """Return input name -> array `(n_rows, d1, ...)` of the declared datatype, one for each spec.

    Args:
        specs: the bundle's inputs.
        columns: column name -> its cells; anything that `numpy.asarray` takes. Arrays that fit are not copied.

    Raises:
        InvalidInput: a column is missing, has another number of rows than the first, a cell of the wrong size, or a
            value that the datatype cannot hold; names the column, what was expected and what came.
    """
    arrays: dict[str, Array] = {}
    values: dict[str, Array] = {}
    for spec in specs:
        names = columns_of(spec, columns)
        for name in names:
            values[name] = _values(name, columns[name])
            if len(values[name]) != (expected := len(values[first := next(iter(values))])):
                raise InvalidInput(f"column {name!r} has {len(values[name])} rows, column {first!r} has {expected}")
        if names == (spec.name,):
            arrays[spec.name] = _bound(spec, spec.name, values[spec.name], spec.row_shape)
        else:
            parts = [_bound(spec, name, values[name], spec.row_shape[1:]) for name in names]
            arrays[spec.name] = np.stack(parts, axis=1)
    return arrays


def columns_of(spec: TensorSpec, available: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the columns that an input is bound from: its own, or its features'.

    Raises:
        InvalidInput: neither is there.
    """
    is_own_feature = len(spec.feature_names) > 1 and spec.name in spec.feature_names
    if spec.name in available and not is_own_feature:
        return (spec.name,)
    missing = [name for name in spec.feature_names if name not in available]
    if spec.feature_names and not missing:
        return spec.feature_names
    if len(missing) == len(spec.feature_names):
        features = f" or the columns {listed(spec.feature_names)}" if spec.feature_names else ""
        raise InvalidInput(f"input {spec.name!r}: expected a column {spec.name!r}{features}, got {listed(available)}")
    raise InvalidInput(
        f"input {spec.name!r}: column {missing[0]!r} is missing; expected the columns {listed(spec.feature_names)}"
    )


def _bound(spec: TensorSpec, name: str, values: Array, cell_shape: tuple[int, ...]) -> Array:
    """Return a column as `(n_rows, *cell_shape)` of the input's datatype."""
    if isinstance(values, np.ma.MaskedArray):
        if values.dtype.kind in "biuf" and spec.datatype.is_float:
            return _masked(f"input {spec.name!r}, column {name!r}", values, spec.datatype, cell_shape)
        values = _with_none(values)
    if values.dtype != object and values.dtype == spec.datatype.dtype and values.shape[1:] == cell_shape:
        return values
    what = f"input {spec.name!r}, column {name!r}"
    n_rows, size = len(values), math.prod(cell_shape)
    nested = values.ndim == 1 and n_rows > 0 and isinstance(values[0], _NESTED)
    for row, cell in enumerate(values if nested else values[:1]):
        if (shape := _shape(cell)) not in {cell_shape, (size,)} and not (size == 1 and shape == ()):
            row_major = "" if len(cell_shape) < 2 else f" or [{size}]"
            raise InvalidInput(
                f"{what}: expected cells of shape {list(cell_shape)}{row_major}, got {list(shape)} in row {row}"
            )
    if nested:
        values = np.concatenate([_flat(cell) for cell in values])
    if values.size != n_rows * size:
        raise InvalidInput(f"{what}: expected {size} values in every cell, got {values.size} in {n_rows} cells")
    array = (
        _text(what, values, size, spec.missing)
        if spec.datatype is DataType.BYTES
        else _numbers(what, values, spec.datatype, size)
    )
    return array.reshape((n_rows, *cell_shape))


def _values(name: str, column: Column) -> Array:
    """Return a column as an array with one entry a row."""
    values = _cells(column)
    if values.ndim == 0:
        raise InvalidInput(f"column {name!r}: expected one value a row, got {_described(column)}")
    return values


def _cells(column: Column) -> Array:
    """Return values as an array; lists keep theirs as they are, for numpy would turn `[1, "a"]` into text."""
    if isinstance(column, np.ma.MaskedArray):
        return column
    if isinstance(column, list | tuple):
        return np.fromiter(column, object, len(column))
    return np.asarray(column)


def _with_none(column: np.ma.MaskedArray[Any, Any]) -> Array:
    """Return a masked column as objects, None where it is masked."""
    values = column.data.astype(object)
    values[np.ma.getmaskarray(column)] = None
    return values


def _shape(cell: Any) -> tuple[int, ...]:
    """Return the shape of a cell; of nested lists, that of the first ones."""
    if not isinstance(cell, _NESTED):
        return ()
    return (len(cell), *(_shape(cell[0]) if len(cell) else ()))


def _flat(cell: Any) -> Array:
    """Return all values of a cell, row-major."""
    if isinstance(cell, list | tuple) and cell and isinstance(cell[0], _NESTED):
        return np.concatenate([_flat(part) for part in cell])
    values = _cells(cell)
    return (_with_none(values) if isinstance(values, np.ma.MaskedArray) else values).reshape(-1)


def _text(what: str, values: Array, size: int, missing: str | None) -> Array:
    if values.dtype.kind == "U":
        return values.astype(object)
    out = np.empty(values.size, object)
    for i, value in enumerate(values.flat):
        if isinstance(value, bytes):
            try:
                out[i] = value.decode()
            except UnicodeDecodeError as error:
                raise InvalidInput(f"{what}: row {i // size} is not UTF-8: {error}") from None
        elif isinstance(value, str):
            out[i] = str(value)
        elif missing is not None and _is_missing(value):
            out[i] = missing
        else:
            got = "a missing value" if _is_missing(value) else _described(value)
            raise InvalidInput(f"{what}: expected text (BYTES), got {got} in row {i // size}")
    return out


def _numbers(what: str, values: Array, datatype: DataType, size: int) -> Array:
    if values.dtype != object:
        return _cast(what, values.reshape(-1), datatype, lambda i: i // size)
    flat = values.reshape(-1)
    missing = np.fromiter((_is_missing(value) for value in flat), np.bool_, flat.size)
    rows = np.arange(flat.size) // size
    if missing.any() and not datatype.is_float:
        raise InvalidInput(f"{what}: expected {datatype}, got a missing value in row {rows[missing][0]}")
    for row, value in zip(rows[~missing], flat[~missing], strict=True):
        if not isinstance(value, _NUMBERS):
            raise InvalidInput(f"{what}: expected {datatype}, got {_described(value)} in row {row}")
    present = np.array(flat[~missing].tolist())
    if present.dtype == object:  # decimals, or integers beyond 64 bits
        present = np.array([float(value) for value in present])
    out = np.full(flat.size, np.nan if datatype.is_float else 0, datatype.dtype)
    out[~missing] = _cast(what, present, datatype, lambda i: int(rows[~missing][i]))
    return out


def _masked(what: str, values: np.ma.MaskedArray[Any, Any], datatype: DataType, cell_shape: tuple[int, ...]) -> Array:
    """Return masked numbers as floats, NaN where they are masked."""
    n_rows, size = len(values), math.prod(cell_shape)
    if values.size != n_rows * size:
        raise InvalidInput(f"{what}: expected {size} values in every cell, got {values.size} in {n_rows} cells")
    present = ~np.ma.getmaskarray(values).reshape(-1)
    out = np.full(values.size, np.nan, datatype.dtype)
    found = values.data.reshape(-1)[present]
    out[present] = _cast(what, found, datatype, lambda i: int(np.flatnonzero(present)[i]) // size)
    return out.reshape((n_rows, *cell_shape))


def _cast(what: str, values: Array, datatype: DataType, row_of: Callable[[int], int]) -> Array:
    """Return `(n,)` values in another type after checking that it holds every one; `row_of` tells a value's row."""
    target, kind = datatype.dtype, values.dtype.kind
    if values.dtype == target or values.size == 0:
        return values.astype(target, copy=False)
    if kind not in "biuf":
        raise InvalidInput(f"{what}: expected {datatype}, got {_described(values[0])} in row {row_of(0)}")
    with np.errstate(over="ignore", invalid="ignore"):
        if target.kind == "f":
            cast = values.astype(target)
            limit = 2 ** (np.finfo(target).nmant + 1)
            fits = (np.isinf(values) | ~np.isinf(cast)) if kind == "f" else (values <= limit) & (values >= -limit)
        elif target.kind == "b":
            fits = (values == 0) | (values == 1)
        else:
            least, most = int(np.iinfo(target).min), int(np.iinfo(target).max)
            # In floats the largest integer itself may round up, so the bound is the next power of two.
            fits = (
                (values >= least) & (values < float(most + 1)) if kind == "f" else (values >= least) & (values <= most)
            )
            fits &= np.trunc(values) == values if kind == "f" else True
    if not fits.all():
        i = int(np.argmin(fits))
        raise InvalidInput(f"{what}: {datatype} cannot hold {_described(values[i])} of row {row_of(i)}")
    return values.astype(target)


def _is_missing(value: object) -> bool:
    """Return whether a cell says that there is no value; pandas' own marks are known by name, not imported."""
    return type(value).__name__ in _MISSING_TYPES or (isinstance(value, float | np.floating) and math.isnan(value))


def _described(value: object) -> str:
    return f"{value.item() if isinstance(value, np.generic) else value!r} ({type(value).__name__})"
