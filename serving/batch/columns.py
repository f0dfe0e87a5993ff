"""From output tensors to the columns of an answer."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..contract.tensors import Array, DataType, TensorSpec
from .store.flat import ELEMENTS

_TYPES = {
    DataType.BYTES: pa.string(),
    DataType.FP16: pa.float16(),
    DataType.FP32: pa.float32(),
    DataType.FP64: pa.float64(),
    DataType.BOOL: pa.bool_(),
} | {datatype: getattr(pa, datatype.lower())() for datatype in DataType if datatype.startswith(("INT", "UINT"))}


def output_field(spec: TensorSpec, prefix: str, elements: Sequence[str]) -> Any:
    """Return the `pyarrow.Field` of an output: plain values where it has one a row, else lists of fixed length.

    Args:
        spec: the output, of shape `(-1, n)`; larger ranks are flattened, row-major.
        prefix: begins its name.
        elements: names of the values of a row, empty where they have none.
    """
    value = _TYPES[spec.datatype]
    size = int(np.prod(spec.row_shape))
    if size == 1:
        return pa.field(prefix + spec.name, value)
    named = {ELEMENTS: json.dumps(list(elements), ensure_ascii=False)} if len(elements) == size else None
    return pa.field(prefix + spec.name, pa.list_(value, size), metadata=named)


def output_column(field: Any, values: Array) -> Any:
    """Return `(n_rows, ...)` values as a `pyarrow.Array` of the field's type."""
    flat = values.reshape(-1)
    if not pa.types.is_fixed_size_list(field.type):
        return pa.array(flat, field.type)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, field.type.value_type), type=field.type)


def constant_columns(values: Mapping[str, str], n_rows: int) -> list[Any]:
    """Return columns that hold one text in every row, stored once a column."""
    indices = pa.array(np.zeros(n_rows, np.int8))
    return [pa.DictionaryArray.from_arrays(indices, pa.array([value])) for value in values.values()]


def empty_batch(schema: Any) -> Any:
    """Return a `pyarrow.RecordBatch` of no rows."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)
