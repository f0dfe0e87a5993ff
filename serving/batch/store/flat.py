"""Lists laid flat for CSV, which has none: a column for each element."""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ELEMENTS = b"elements"
"""Metadata of a list column: names of its elements as a JSON list; formats without lists make columns of them."""


def flat_names(field: Any) -> list[str] | None:
    """Return the names of the columns that a list column becomes, None where it is none or its length is not known.

    An element is `<column>.<name>` where the field's metadata names them, else `<column>.<number from 0>`.
    """
    size = _size(field.type)
    if size is None:
        return None
    named = json.loads((field.metadata or {}).get(ELEMENTS, b"[]"))
    return [f"{field.name}.{name}" for name in (named if len(named) == size else range(size))]


def flat_schema(schema: Any) -> Any:
    """Return the `pyarrow.Schema` with lists of fixed length laid flat and dictionaries decoded."""
    return pa.schema([flat for field in schema for flat in _flat_fields(field)])


def flat_batch(batch: Any, schema: Any) -> Any:
    """Return a record batch as `schema`, which `flat_schema` gave for it; no list is a row of nulls."""
    columns = [flat for column in batch.columns for flat in _flat_columns(column)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _flat_fields(field: Any) -> Iterator[Any]:
    names = flat_names(field)
    if names is None:
        yield pa.field(field.name, _plain(field.type))
    else:
        yield from (pa.field(name, _plain(_storage(field.type).value_type)) for name in names)


def _flat_columns(column: Any) -> Iterator[Any]:
    array = column.storage if isinstance(column.type, pa.BaseExtensionType) else column
    size = _size(array.type)
    for item in [array] if size is None else [pc.list_element(array, i) for i in range(size)]:
        yield item.dictionary_decode() if pa.types.is_dictionary(item.type) else item


def _size(datatype: Any) -> int | None:
    storage = _storage(datatype)
    return int(storage.list_size) if pa.types.is_fixed_size_list(storage) else None


def _storage(datatype: Any) -> Any:
    return datatype.storage_type if isinstance(datatype, pa.BaseExtensionType) else datatype


def _plain(datatype: Any) -> Any:
    storage = _storage(datatype)
    return storage.value_type if pa.types.is_dictionary(storage) else storage
