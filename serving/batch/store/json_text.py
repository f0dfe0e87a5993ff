"""Columns as JSON text, a column at a time.

Numbers are the shortest text that reads back as the same value of the column's type; a number with a fraction's type
always has a point or an exponent. What JSON has no number for, NaN and the infinities, is null, as is a missing value.
Lists are lists, structs are objects, binary values are base64, and dates, times and timestamps are ISO 8601, those with
a time zone in UTC.
"""

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NULL = "null"
_TEXT = pa.large_string()
_UNSAFE = r'[\x00-\x1f"\\]'
"""What a JSON string must escape."""


def json_lines(batch: Any) -> Any:
    """Return a record batch as a `pyarrow.Buffer` of JSON lines, an object a row.

    Raises:
        TypeError: JSON has no form for a column; see `has_json_text`.
    """
    rows = _objects(batch.schema.names, batch.columns, batch.num_rows, "}\n")
    offsets = np.frombuffer(rows.buffers()[1], np.int64, len(rows) + 1, rows.offset * 8)
    return rows.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))


def has_json_text(datatype: Any) -> bool:
    """Return whether values of an Arrow type can be written."""
    try:
        json_text(pa.nulls(0, datatype))
    except (TypeError, pa.ArrowException):
        return False
    return True


def json_text(array: Any) -> Any:
    """Return each value's text, as a `pyarrow.LargeStringArray` without nulls.

    Raises:
        TypeError: JSON has no form for values of this type.
    """
    datatype = array.type
    if isinstance(datatype, pa.BaseExtensionType):
        return json_text(array.storage)
    if pa.types.is_dictionary(datatype):
        return json_text(array.dictionary_decode())
    for is_kind, text in _FORMS:
        if is_kind(datatype):
            return pc.fill_null(text(array).cast(_TEXT), _NULL)
    raise TypeError(f"JSON has no form for {datatype}")


def _plain(array: Any) -> Any:
    return array.cast(pa.string())


def _fractions(array: Any) -> Any:
    wide = array.cast(pa.float32()) if pa.types.is_float16(array.type) else array
    text = pc.if_else(pc.is_finite(wide), array.cast(pa.string()), None)
    return pc.if_else(pc.match_substring_regex(text, "[.e]"), text, _joined(text, ".0").cast(pa.string()))


def _strings(array: Any) -> Any:
    if pc.any(pc.match_substring_regex(array, _UNSAFE)).as_py():
        texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in array.to_pylist()]
        return pa.array(texts, _TEXT)
    return _quoted(array)


def _quoted(array: Any) -> Any:
    return _joined('"', array, '"')


def _joined(*pieces: Any) -> Any:
    large = [pa.scalar(piece, _TEXT) if isinstance(piece, str) else piece.cast(_TEXT) for piece in pieces]
    return pc.binary_join_element_wise(*large, pa.scalar("", _TEXT))


def _binaries(array: Any) -> Any:
    texts = [None if value is None else base64.b64encode(value).decode() for value in array.to_pylist()]
    return _quoted(pa.array(texts, _TEXT))


def _timestamps(array: Any) -> Any:
    in_utc = array.cast(pa.timestamp(array.type.unit, "UTC")) if array.type.tz else array
    return _quoted(pc.replace_substring(in_utc.cast(pa.string()), " ", "T"))


def _durations(array: Any) -> Any:
    return array.cast(pa.int64()).cast(pa.string())


def _lists(array: Any) -> Any:
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    return _bracketed(array, offsets - offsets[0], values)


def _fixed_size_lists(array: Any) -> Any:
    size, n = array.type.list_size, len(array)
    return _bracketed(array, np.arange(n + 1, dtype=np.int64) * size, array.values.slice(array.offset * size, n * size))


def _bracketed(array: Any, offsets: Any, values: Any) -> Any:
    items = pa.LargeListArray.from_arrays(pa.array(offsets), json_text(values))
    return pc.if_else(array.is_valid(), _joined("[", pc.binary_join(items, pa.scalar(",", _TEXT)), "]"), None)


def _structs(array: Any) -> Any:
    names = [field.name for field in array.type]
    return pc.if_else(array.is_valid(), _objects(names, array.flatten(), len(array), "}"), None)


def _objects(names: list[str], columns: list[Any], n: int, end: str) -> Any:
    if not names:
        return pa.array(["{" + end] * n, _TEXT)
    pieces: list[Any] = []
    for name, column in zip(names, columns, strict=True):
        key = ("," if pieces else "{") + json.dumps(name, ensure_ascii=False) + ":"
        pieces += [key, json_text(column)]
    return _joined(*pieces, end)


_FORMS: list[tuple[Callable[[Any], bool], Callable[[Any], Any]]] = [
    (pa.types.is_null, _plain),
    (pa.types.is_boolean, _plain),
    (pa.types.is_integer, _plain),
    (pa.types.is_decimal, _plain),
    (pa.types.is_floating, _fractions),
    (pa.types.is_string, _strings),
    (pa.types.is_large_string, _strings),
    (pa.types.is_binary, _binaries),
    (pa.types.is_large_binary, _binaries),
    (pa.types.is_fixed_size_binary, _binaries),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date, lambda array: _quoted(_plain(array))),
    (pa.types.is_time, lambda array: _quoted(_plain(array))),
    (pa.types.is_duration, _durations),
    (pa.types.is_list, _lists),
    (pa.types.is_large_list, _lists),
    (pa.types.is_fixed_size_list, _fixed_size_lists),
    (pa.types.is_struct, _structs),
]
