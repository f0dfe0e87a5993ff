"""Arrays inside a zip archive, read some rows after the other."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from shutil import copyfileobj
from typing import Any, Protocol
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from ...contract.tensors import Array

_LOCAL_HEADER_BYTES = 30
_SPOOLED_BYTES = 16 << 20
"""Of a compressed array in column-major order that is held in memory; a larger one goes to a temporary file."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class Member:
    """An array of an archive.

    Attributes:
        name: of the column.
        dtype: of its values as they are stored.
        shape: `(n_rows, ...)`.
        column_major: whether the first axis runs fastest.
        start: place of the first value behind the member's first byte.
        info: its entry in the archive.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    column_major: bool
    start: int
    info: ZipInfo

    @property
    def compressed(self) -> bool:
        """Return whether rows can be reached only through those before."""
        return self.info.compress_type != ZIP_STORED

    @property
    def row_bytes(self) -> int:
        """Return the size of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class Rows(Protocol):
    """An array that is read from a row on. One thread."""

    def read(self, n_rows: int) -> Array:
        """Return the next rows, in the machine's byte order."""
        ...


def read_header(zipped: ZipFile, info: ZipInfo) -> Member:
    """Return what an archive's member says of itself.

    Raises:
        ValueError: it is no array, or one of Python objects.
    """
    name = info.filename.removesuffix(".npy")
    if info.flag_bits & 1:
        raise ValueError(f"array {name!r} is encrypted")
    with zipped.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"array {name!r} has version {version}, expected 1.0 or 2.0")
        shape, column_major, dtype = _HEADERS[version](stream)
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"array {name!r} holds Python objects, which are not unpickled")
    expected = start + math.prod(shape) * dtype.itemsize
    if info.file_size != expected:
        raise ValueError(f"array {name!r} has {info.file_size} bytes, expected {expected} for shape {shape}")
    return Member(name, dtype, shape, column_major and len(shape) > 1, start, info)


@contextmanager
def open_member(zipped: ZipFile, member: Member, first: int) -> Iterator[Rows]:
    """Return an array's rows from one on."""
    if not member.compressed:
        source = zipped.fp
        base = _data_start(source, member.info) + member.start
        kind = _ColumnMajor if member.column_major else _RowMajor
        yield kind(source, base, member, first)
        return
    with zipped.open(member.info) as stream:
        if member.column_major:
            with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as unpacked:
                copyfileobj(stream, unpacked)
                yield _ColumnMajor(unpacked, member.start, member, first)
        else:
            stream.seek(member.start + first * member.row_bytes)
            yield _Streamed(stream, member)


def _data_start(source: Any, info: ZipInfo) -> int:
    """Return where a stored member's bytes begin in the archive."""
    source.seek(info.header_offset)
    header = source.read(_LOCAL_HEADER_BYTES)
    n_name, n_extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
    return int(info.header_offset) + _LOCAL_HEADER_BYTES + n_name + n_extra


class _Streamed:
    """Rows in row-major order, out of a stream."""

    def __init__(self, stream: Any, member: Member) -> None:
        self._stream, self._member = stream, member

    def read(self, n_rows: int) -> Array:
        """Return the next rows."""
        shape = (n_rows, *self._member.shape[1:])
        return _values(self._stream.read(n_rows * self._member.row_bytes), self._member).reshape(shape)


class _RowMajor:
    """Rows in row-major order, at a place of a file that others read, too."""

    def __init__(self, source: Any, base: int, member: Member, first: int) -> None:
        self._source, self._member = source, member
        self._place = base + first * member.row_bytes

    def read(self, n_rows: int) -> Array:
        """Return the next rows."""
        n_bytes = n_rows * self._member.row_bytes
        self._source.seek(self._place)
        self._place += n_bytes
        return _values(self._source.read(n_bytes), self._member).reshape(n_rows, *self._member.shape[1:])


class _ColumnMajor:
    """Rows in column-major order: a stretch of each column at a time."""

    def __init__(self, source: Any, base: int, member: Member, first: int) -> None:
        self._source, self._base, self._member, self._row = source, base, member, first

    def read(self, n_rows: int) -> Array:
        """Return the next rows."""
        n_total, *shape = self._member.shape
        itemsize = self._member.dtype.itemsize
        parts = []
        for column in range(math.prod(shape)):
            self._source.seek(self._base + (column * n_total + self._row) * itemsize)
            parts.append(self._source.read(n_rows * itemsize))
        self._row += n_rows
        values = _values(b"".join(parts), self._member).reshape(*reversed(shape), n_rows)
        return np.ascontiguousarray(values.T)


def _values(data: bytes, member: Member) -> Array:
    values = np.frombuffer(data, member.dtype)
    return values.astype(member.dtype.newbyteorder("="), copy=False)
