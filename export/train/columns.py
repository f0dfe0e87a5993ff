"""What a column of the data becomes: numbers, words, an array beside the table, or nothing, and why.

The rules are those by which a bundle binds columns of the same file later (`serving.contract.columns`): booleans and
whole numbers may stand for numbers, text is never parsed, and what no tensor can hold is left out.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...serving.contract.tensors import Array

Role = Literal["numbers", "words", "array", "dropped", "weight", "target"]

_MOST_WHOLE = 1 << 53
"""Whole numbers beyond do not bind to FP64."""
_MOST_SINGLE = 1 << 24
_LEAST_RESOLUTION = 1e-3
_UNIQUE_SHARE, _UNIQUE_LEAST = 0.9, 20
_ROW_NUMBERS = frozenset({"id", "index", "row", "row_id", "rowid", "rownames", "unnamed: 0"})
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


@dataclass(frozen=True, slots=True)
class Column:
    """What became of a column of the data.

    Attributes:
        name: its name in the file.
        role: what it is to the models.
        note: what was done to it, or why it was dropped; empty if nothing.
    """

    name: str
    role: Role
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Typed:
    """A column with its values.

    Attributes:
        column: what it became.
        values: float64 `(n_rows,)` with NaN, or words `(n_rows,)` with ""; None where it was dropped.
        needs_double: whether float32 would not hold the numbers.
        n_words: how many different words there are.
    """

    column: Column
    values: Array | None = None
    needs_double: bool = False
    n_words: int = 0


def is_list(kind: Any) -> bool:
    """Return whether cells of a `pyarrow.DataType` are lists, or tensors, of numbers."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(kind) for is_kind in lists):
        return False
    while any(is_kind(kind) for is_kind in lists):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def type_column(name: str, cells: Any) -> Typed:
    """Return a column of a table as numbers or words, or dropped.

    Args:
        name: its name.
        cells: `pyarrow.ChunkedArray`.
    """
    import pyarrow as pa

    if not name:
        return _dropped(name, "has no name")
    if cells.null_count == len(cells):
        return _dropped(name, "holds no value")
    if isinstance(cells.type, pa.BaseExtensionType):
        cells = pa.chunked_array([chunk.storage for chunk in cells.chunks], cells.type.storage_type)
    if pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    kind = cells.type
    if (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        return _numbers(name, cells)
    if any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return _words(name, cells.cast(pa.large_string()))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        try:
            return _words(name, cells.cast(pa.large_string()))
        except pa.ArrowInvalid:
            pass
    return _dropped(name, _why_none_takes(kind))


def _why_none_takes(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_temporal(kind):
        return "holds dates or times, which no model here takes; add columns of what counts in them"
    has_bytes = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if has_bytes or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return "holds bytes that are no text; if they are images, name it with --image-column"
    return f"holds {kind}, which no model here takes"


def to_floats(cells: Any) -> Array:
    """Return a column of numbers or booleans as float64 `(n_rows,)`, NaN where one is missing."""
    import pyarrow as pa

    if pa.types.is_boolean(cells.type):
        cells = cells.cast(pa.int8())
    return np.array(cells.cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _numbers(name: str, cells: Any) -> Typed:
    import pyarrow as pa
    import pyarrow.compute as pc

    is_whole = pa.types.is_integer(cells.type)
    most = 0
    if is_whole:
        bounds = pc.min_max(cells).as_py()
        most = max(abs(bounds["min"]), abs(bounds["max"]))
        if most > _MOST_WHOLE:
            return _dropped(name, "holds whole numbers beyond 2**53, which no input can hold")
    values = to_floats(cells)
    note = ""
    if n_infinite := int(np.isinf(values).sum()):
        values[np.isinf(values)] = np.nan
        note = f"{n_infinite} infinite values are taken as missing"
    present = values[~np.isnan(values)]
    if not present.size:
        return _dropped(name, "holds no value" if not n_infinite else "holds nothing but infinite values")
    least, greatest = float(present.min()), float(present.max())
    if least == greatest and present.size == values.size:
        return _dropped(name, f"is {least:g} throughout")
    is_numbered = is_whole and present.size == values.size and bool((np.diff(values) == 1).all())
    if is_numbered and name.lower() in _ROW_NUMBERS:
        return _dropped(name, "numbers the rows")
    return Typed(Column(name, "numbers", note), values, (is_whole and most > _MOST_SINGLE) or _is_fine(present))


def _is_fine(present: Array) -> bool:
    """Return whether numbers are too large for float32, or differ by less than it resolves at their size."""
    most = float(np.abs(present).max())
    if most > np.finfo(np.float32).max:
        return True
    return most / _MOST_SINGLE > _LEAST_RESOLUTION * float(present.std())


def _words(name: str, cells: Any) -> Typed:
    import pyarrow.compute as pc

    coded = cells.combine_chunks().dictionary_encode()
    words = coded.dictionary.to_numpy(zero_copy_only=False)
    codes = coded.indices.fill_null(len(words)).to_numpy()
    values = np.append(words, "").astype(object)[codes]
    different = words[words != ""]
    is_missing = (values == "").astype(bool)
    n_present = int((~is_missing).sum())
    if not n_present:
        return _dropped(name, "holds no value")
    if len(different) == 1 and n_present == len(values):
        return _dropped(name, f"is {str(different[0])[:40]!r} throughout")
    if len(different) >= _UNIQUE_LEAST and len(different) > _UNIQUE_SHARE * n_present:
        return _dropped(
            name, f"has {len(different):,} different words in {n_present:,} rows, as names or free text have"
        )
    numeric = pc.sum(pc.match_substring_regex(coded.dictionary, _NUMBER)).as_py() or 0
    note = ""
    if numeric == len(different):
        note = "holds numbers written as text, which are taken as words"
    elif numeric:
        note = f"holds numbers and words, which are all taken as words: {numeric} of {len(different)} are numbers"
    return Typed(Column(name, "words", note), values, n_words=len(different))


def _dropped(name: str, why: str) -> Typed:
    return Typed(Column(name, "dropped", why))
