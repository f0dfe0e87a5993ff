"""Rows gathered to groups whose bounds depend on the rows alone, not on the batches that they come in.

That makes a Parquet file the same, byte for byte, however its rows are cut into batches.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...contract.tensors import Array

GROUP_ROWS = 1 << 17
GROUP_BYTES = 16 << 20
"""A group ends at whichever comes first; about what its values take in memory."""

_OFFSET_BYTES = 4
_UNKNOWN_BYTES = 64
"""Taken for a value whose size cannot be told cheaply."""

_TEXT_KINDS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


class RowGroups:
    """Gathers rows; holds less than a group and a batch of them. Used by one thread; `rest` last."""

    def __init__(self, schema: Any, group_rows: int = GROUP_ROWS, group_bytes: int = GROUP_BYTES) -> None:
        """Begin empty, for batches of a `pyarrow.Schema`."""
        self._schema = schema
        self._group_rows, self._group_bytes = group_rows, group_bytes
        self._batches: list[Any] = []
        self._n_rows = self._n_bytes = 0

    def add(self, batch: Any) -> Iterator[Any]:
        """Take a batch in and yield the groups that are full, each a `pyarrow.Table` of one chunk a column."""
        ends = np.cumsum(sum((_value_bytes(column) for column in batch.columns), np.zeros(batch.num_rows, np.int64)))
        start = 0
        while start < batch.num_rows:
            used = int(ends[start - 1]) if start else 0
            full = 1 + int(np.searchsorted(ends, self._group_bytes - self._n_bytes + used))
            stop = min(full, start + self._group_rows - self._n_rows)
            taken = batch.slice(start, stop - start)
            self._batches.append(taken)
            self._n_rows += taken.num_rows
            if stop > batch.num_rows:
                self._n_bytes += int(ends[-1]) - used
                return
            yield self._group()
            start = stop

    def rest(self) -> Any:
        """Return the rows left over as a `pyarrow.Table`, of no rows if there are none."""
        return self._group()

    def _group(self) -> Any:
        columns = [
            _joined([batch.column(i) for batch in self._batches], field.type) for i, field in enumerate(self._schema)
        ]
        self._batches, self._n_rows, self._n_bytes = [], 0, 0
        return pa.Table.from_arrays(columns, schema=self._schema)


def _joined(chunks: list[Any], datatype: Any) -> Any:
    if not chunks:
        return pa.nulls(0, datatype)
    if pa.types.is_dictionary(datatype) and not all(chunk.dictionary.equals(chunks[0].dictionary) for chunk in chunks):
        values = pa.concat_arrays([chunk.dictionary_decode() for chunk in chunks])
        return values.dictionary_encode().cast(datatype)  # values in the order of the rows, whatever the batches'
    return pa.concat_arrays(chunks)


def _value_bytes(array: Any) -> Array:
    """Return `(n_rows,)` int64: about how many bytes each value takes."""
    datatype, n = array.type, len(array)
    if isinstance(datatype, pa.BaseExtensionType):
        return _value_bytes(array.storage)
    if pa.types.is_nested(datatype):
        return _nested_bytes(array)
    if any(is_kind(datatype) for is_kind in _TEXT_KINDS):
        lengths = pc.fill_null(pc.binary_length(array), 0)
        return np.asarray(lengths, np.int64) + _OFFSET_BYTES
    try:
        return np.full(n, (datatype.bit_width + 7) // 8, np.int64)
    except ValueError:
        return np.full(n, _UNKNOWN_BYTES, np.int64)


def _nested_bytes(array: Any) -> Array:
    datatype, n = array.type, len(array)
    if pa.types.is_fixed_size_list(datatype):
        size = datatype.list_size
        values = _value_bytes(array.values.slice(array.offset * size, n * size))
        return np.asarray(values.reshape(n, size).sum(axis=1))
    if pa.types.is_list(datatype) or pa.types.is_large_list(datatype):
        offsets = np.asarray(array.offsets, np.int64)
        values = _value_bytes(array.values.slice(offsets[0], offsets[-1] - offsets[0]))
        ends = np.concatenate(([0], np.cumsum(values)))
        return np.asarray(np.diff(ends[offsets - offsets[0]])) + _OFFSET_BYTES
    if pa.types.is_struct(datatype):
        return np.asarray(sum((_value_bytes(item) for item in array.flatten()), np.zeros(n, np.int64)))
    return np.full(n, _UNKNOWN_BYTES, np.int64)
