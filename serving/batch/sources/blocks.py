"""From batches as a file holds them to blocks with the job's types.

A type may differ between files where every value stays what it is: whole numbers of another width, or as floats; wider
floats; text, bytes and lists of another layout; dictionaries; columns that are null throughout. Values that the job's
type cannot hold are unread rows; a type that could never hold them ends the job.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as kinds

from ...contract.errors import InvalidInput
from ..rows import Block, Locate, Place, Unread

BLOCK_BYTES = 8 << 20
"""Of a block, about. Several workers hold a few each, and a chunk that is scored at once is 4 MiB."""

_LISTS = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)


@dataclass(frozen=True, slots=True)
class RowPlaces:
    """Places of rows that stand together in a file, the first of which has a number there."""

    source: str
    first: int

    def __call__(self, row: int, /) -> Place:
        """Return the place of a row."""
        return Place(self.source, self.first + row)


@dataclass(frozen=True, slots=True)
class _KeptPlaces:
    """Places of rows from among which others were taken."""

    locate: Locate
    rows: Sequence[int]

    def __call__(self, row: int, /) -> Place:
        return self.locate(self.rows[row])


def block_rows(most: int, row_bytes: float) -> int:
    """Return how many rows of this size a block has, from 1 to `most`."""
    return max(1, min(most, int(BLOCK_BYTES / max(row_bytes, 1))))


def check_columns(source: str, have: Any, columns: Sequence[str], want: Any) -> None:
    """Refuse a file that does not fit.

    Args:
        source: its name.
        have: its `pyarrow.Schema`.
        columns: names that are read.
        want: the job's schema.

    Raises:
        InvalidInput: a column is not there, is there twice, or has another type; names file, column and both types.
    """
    for name in columns:
        n = have.names.count(name)
        if n != 1:
            came = "none" if not n else f"{n} of this name"
            raise InvalidInput(f"{source}: expected one column {name!r}, got {came}; it has {have.names}")
        if not _can_cast(have.field(name).type, want.field(name).type):
            raise InvalidInput(
                f"{source}: column {name!r} is {have.field(name).type}, expected {want.field(name).type} as in the "
                f"input's first file"
            )


def conform(batch: Any, columns: Sequence[str], want: Any, locate: Locate) -> Iterator[Block | Unread]:
    """Yield a batch's rows with the job's types, and after them those with a value that these cannot hold.

    Args:
        batch: `pyarrow.RecordBatch` whose columns passed `check_columns`.
        columns: names to take, in this order.
        want: the job's schema.
        locate: where the batch's rows stand.
    """
    schema = pa.schema([want.field(name) for name in columns])
    misfits: dict[int, str] = {}
    for item in schema:
        column = batch.column(item.name)
        for row in () if _fits(column, item.type) else _misfits(column, item.type, 0):
            value = str(column[row].as_py())[:80]
            misfits.setdefault(row, f"column {item.name!r}: expected {item.type}, got {value}")
    if misfits:
        kept = [row for row in range(batch.num_rows) if row not in misfits]
        before, locate = locate, _KeptPlaces(locate, kept)
        batch = batch.take(pa.array(kept, pa.int64()))
    arrays = [_cast(batch.column(item.name), item.type) for item in schema]
    yield Block(pa.RecordBatch.from_arrays(arrays, schema=schema), locate)
    for row, reason in sorted(misfits.items()):
        yield Unread(before(row), reason)


def fixed_bytes(column: Any) -> int:
    """Return the bytes that a value of an Arrow type takes, as far as its type alone tells."""
    if isinstance(column, pa.BaseExtensionType):
        return fixed_bytes(column.storage_type)
    if isinstance(column, pa.FixedSizeListType):
        return int(column.list_size) * fixed_bytes(column.value_type)
    if isinstance(column, pa.StructType):
        return sum(fixed_bytes(item.type) for item in column)
    try:
        return math.ceil(int(column.bit_width) / 8)
    except ValueError:
        return 0


def _can_cast(have: Any, want: Any) -> bool:
    """Return whether values of one type may be values of another without being changed."""
    have, want = _stored(have), _stored(want)
    if have == want or kinds.is_null(have):
        return True
    if isinstance(have, _LISTS) and isinstance(want, _LISTS):
        return _can_cast(have.value_type, want.value_type)
    if isinstance(have, pa.StructType) and isinstance(want, pa.StructType):
        names = [item.name for item in have]
        types = ((item.type, want.field(item.name).type) for item in have)
        return names == [item.name for item in want] and all(_can_cast(*pair) for pair in types)
    if kinds.is_floating(have) and kinds.is_floating(want):
        return bool(have.bit_width <= want.bit_width)
    if kinds.is_timestamp(have) and kinds.is_timestamp(want) and (have.tz is None) != (want.tz is None):
        return False
    becomes_number = kinds.is_integer(have) and (kinds.is_floating(want) or kinds.is_decimal(want))
    return becomes_number or any(is_kind(have) and is_kind(want) for is_kind in _KINDS)


def _stored(column: Any) -> Any:
    """Return the type of the values that extension and dictionary types stand for."""
    if isinstance(column, pa.BaseExtensionType):
        return _stored(column.storage_type)
    return column.value_type if kinds.is_dictionary(column) else column


def _is_text(column: Any) -> bool:
    return bool(kinds.is_string(column) or kinds.is_large_string(column) or kinds.is_string_view(column))


def _is_bytes(column: Any) -> bool:
    return bool(
        kinds.is_binary(column)
        or kinds.is_large_binary(column)
        or kinds.is_binary_view(column)
        or kinds.is_fixed_size_binary(column)
    )


_KINDS = (
    kinds.is_integer,
    kinds.is_decimal,
    kinds.is_date,
    kinds.is_time,
    kinds.is_timestamp,
    kinds.is_duration,
    _is_text,
    _is_bytes,
)


def _cast(array: Any, want: Any) -> Any:
    """Return an array as one of another type.

    Raises:
        pyarrow.ArrowInvalid: a value would be changed.
    """
    if array.type == want:
        return array
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(want, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(want, _cast(array, want.storage_type))
    if kinds.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array.cast(want)


def _fits(array: Any, want: Any) -> bool:
    if array.type == want:
        return True
    try:
        _cast(array, want)
    except pa.ArrowInvalid:
        return False
    return True


def _misfits(array: Any, want: Any, first: int) -> Iterator[int]:
    """Yield the rows that do not fit, found by halving."""
    if len(array) == 1:
        yield first
        return
    half = len(array) // 2
    for part, start in ((array[:half], first), (array[half:], first + half)):
        if not _fits(part, want):
            yield from _misfits(part, want, start)
