"""Cells of CSV that have a type: which types there are, what is null, and which texts cannot be of a type."""

from collections.abc import Iterator, Sequence
from typing import Any

NULL_SPELLINGS = ("", "#N/A", "#N/A N/A", "#NA", "N/A", "NA", "NULL", "null")
"""In columns with a type. nan stays a number where it is one."""

NULL_MARKS = (b"NA", b"N/A", b"NULL", b"null")
"""One of them is in every spelling of null that is not empty."""

INFINITE = r"(?i)^\s*[+-]?inf(inity)?\s*$"

_BOOLEAN = r"(?i)^(true|false|1|0)$"
_WHOLE = r"^\s*(-?[0-9]+|0[xX][0-9a-fA-F]+)\s*$"
_FLOAT = r"(?i)^\s*[+-]?(inf(inity)?|nan(\(.*\))?|[0-9.]+(e[+-]?[0-9]+)?)\s*$"


def is_text(column: Any) -> bool:
    """Return whether a `pyarrow.DataType` is text."""
    import pyarrow as pa

    return bool(pa.types.is_string(column) or pa.types.is_large_string(column))


def is_cell(column: Any) -> bool:
    """Return whether cells are read as a `pyarrow.DataType`."""
    import pyarrow as pa

    number = pa.types.is_integer(column) or pa.types.is_float32(column) or pa.types.is_float64(column)
    return bool(number or pa.types.is_boolean(column) or is_text(column))


def as_text(schema: Any) -> Any:
    """Return a schema with text for every type."""
    import pyarrow as pa

    return pa.schema([(name, pa.string()) for name in schema.names])


def misfits(texts: Any, schema: Any) -> Iterator[tuple[str, int, str]]:
    """Yield column, row and text of cells that cannot be of their column's type, column by column.

    What pyarrow reads as the type is never among them; what it does not read may be missing: numbers too large.

    Args:
        texts: `pyarrow.RecordBatch` of text, null where a cell is null.
        schema: with the types.
    """
    from pyarrow import compute

    for item in schema:
        pattern = _pattern(item.type)
        if pattern:
            column = texts.column(item.name)
            bad = compute.invert(compute.match_substring_regex(column, pattern))
            rows: Sequence[int] = compute.indices_nonzero(bad.fill_null(False)).to_pylist()
            yield from ((item.name, i, column[i].as_py()) for i in rows)


def _pattern(column: Any) -> str:
    import pyarrow as pa

    if pa.types.is_boolean(column):
        return _BOOLEAN
    if pa.types.is_integer(column):
        return _WHOLE
    return _FLOAT if pa.types.is_floating(column) else ""
