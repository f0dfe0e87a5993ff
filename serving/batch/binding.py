"""From the columns of a record batch to a bundle's tensors, as `contract.columns` says for every table.

What only batch jobs meet is added here: cells of bytes that hold images, and the types that text files are to be read
with.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..client.tables import bind_unchecked
from ..contract.columns import columns_of
from ..contract.errors import InvalidInput
from ..contract.tensors import Array, DataType, TensorSpec, check_rows, illegal_rows
from .images import decode


def bind_batch(specs: Sequence[TensorSpec], batch: Any, image_scale: float | None = None) -> dict[str, Array]:
    """Return input name -> `(n_rows, d1, ...)` for a `pyarrow.RecordBatch` of at least one row.

    Args:
        specs: the bundle's inputs.
        batch: each input is bound from the column of its name - a list, a FixedShapeTensor, bytes of an image - or from
            those that its features name.
        image_scale: what pixels are divided by; None as the bundle says.

    Raises:
        InvalidInput: a column is missing or does not fit, or a value is none that the bundle allows; names it, what was
            expected and what came.
    """
    arrays = _bound(specs, batch, image_scale)
    check_rows(specs, arrays)
    return arrays


def illegal_values(specs: Sequence[TensorSpec], batch: Any, image_scale: float | None = None) -> dict[int, str]:
    """Return the rows that hold values which the bundle does not allow -> why, found all at once.

    There are none if the batch cannot be bound at all.
    """
    try:
        arrays = _bound(specs, batch, image_scale)
    except InvalidInput:
        return {}
    illegal = [illegal_rows(spec, arrays[spec.name]) for spec in specs]
    return {int(row): _why(specs, arrays, int(row)) for row in np.flatnonzero(np.any(illegal, axis=0))}


def _why(specs: Sequence[TensorSpec], arrays: Mapping[str, Array], row: int) -> str:
    try:
        check_rows(specs, {name: array[row : row + 1] for name, array in arrays.items()})
    except InvalidInput as error:
        return str(error)
    raise AssertionError("the row is illegal")


def _bound(specs: Sequence[TensorSpec], batch: Any, image_scale: float | None) -> dict[str, Array]:
    columns: dict[str, Any] = {}
    for name in batch.schema.names:
        if name in columns:
            raise InvalidInput(f"column {name!r} is there twice; expected it once")
        columns[name] = batch.column(name)
    for spec in specs:
        if spec.name in columns and spec.datatype is not DataType.BYTES:
            column = columns[spec.name]
            if _has_bytes(column.type):
                column = column.field(_BYTES)
            if any(is_kind(column.type) for is_kind in _BINARY):
                columns[spec.name] = decode(spec, spec.name, column, image_scale)
    return bind_unchecked(specs, columns)


def columns_needed(specs: Sequence[TensorSpec], names: Sequence[str]) -> list[str]:
    """Return the columns that the inputs are bound from, in the order of the inputs.

    Raises:
        InvalidInput: an input finds none.
    """
    available = dict.fromkeys(names)
    return list(dict.fromkeys(name for spec in specs for name in columns_of(spec, available)))


def check_types(specs: Sequence[TensorSpec], schema: Any) -> None:
    """Refuse a `pyarrow.Schema` in which no row could be bound to an input: text for numbers, or the other way round.

    Raises:
        InvalidInput: a column is missing, or of such a type; names it and both types.
    """
    for spec in specs:
        for name in columns_of(spec, dict.fromkeys(schema.names)):
            column = schema.field(name).type
            if _has_bytes(column):
                column = column.field(_BYTES).type
            kinds = _TEXTS if spec.datatype is DataType.BYTES else _NUMBERS
            if not any(is_kind(_leaf(column)) for is_kind in kinds):
                what = "text" if spec.datatype is DataType.BYTES else f"{spec.datatype}, alone or in lists, or bytes"
                raise InvalidInput(f"input {spec.name!r}, column {name!r}: expected {what}, the file has {column}")


_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_null)
_NUMBERS = (
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_null),
    *_BINARY,
)


def _leaf(column: Any) -> Any:
    """Return the type of the values in lists, dictionaries and extension types."""
    while True:
        if isinstance(column, pa.BaseExtensionType):
            column = column.storage_type
        elif hasattr(column, "value_type"):
            column = column.value_type
        else:
            return column


_BYTES = "bytes"


def _has_bytes(column: Any) -> bool:
    """Return whether a column holds images beside their paths, as the data sets of Hugging Face do."""
    return bool(pa.types.is_struct(column) and column.get_field_index(_BYTES) >= 0)


def wanted_types(specs: Sequence[TensorSpec]) -> dict[str, Any]:
    """Return column -> `pyarrow.DataType` that a file which states no types is to be read with.

    Numbers are read as widely as text can state them, so that binding sees what was written.
    """
    out: dict[str, Any] = {}
    for spec in specs:
        cell = _cell_type(spec.datatype)
        if spec.row_shape == (1,):
            out[spec.name] = cell
        out |= dict.fromkeys(spec.feature_names, cell)
    return out


def widened(schema: Any, specs: Sequence[TensorSpec], keep: Collection[str] = ()) -> Any:
    """Return a schema in which the columns that inputs are bound from have types as wide as the inputs need.

    What the first file or the first rows have may be too narrow for others: whole numbers where those have fractions,
    nothing but nulls where those have values. Columns that are kept stay as they are.

    Args:
        schema: `pyarrow.Schema` of the input.
        specs: the bundle's inputs.
        keep: columns that go into the output.
    """
    for spec in specs:
        for name in columns_of(spec, dict.fromkeys(schema.names)):
            i = schema.get_field_index(name)
            if name not in keep:
                schema = schema.set(i, schema.field(i).with_type(_wide(schema.field(i).type, spec.datatype)))
    return schema


def _wide(column: Any, datatype: DataType) -> Any:
    if isinstance(column, pa.ListType):
        return pa.list_(_wide(column.value_type, datatype))
    narrow = pa.types.is_null(column) or (pa.types.is_integer(column) and datatype is not DataType.BYTES)
    return _cell_type(datatype) if narrow else column


def _cell_type(datatype: DataType) -> Any:
    if datatype is DataType.BYTES:
        return pa.string()
    if datatype is DataType.BOOL:
        return pa.bool_()
    if datatype is DataType.UINT64:
        return pa.uint64()
    return pa.float64() if datatype.is_float else pa.int64()
