"""NPZ: each array of the archive is a column, its first axis are the rows.

One axis becomes a plain column, two a list of fixed size, more a FixedShapeTensor. Arrays that are stored are read by
seeking, in stretches of rows; where one is compressed, the file is one stretch and is streamed. Nothing is unpickled.
"""

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import pyarrow as pa

from ...contract.errors import InvalidInput
from ...contract.tensors import Array
from ..rows import Block, Unread
from .blocks import RowPlaces, block_rows, check_columns, conform
from .format import OpenFile
from .npy import Member, open_member, read_header

_WITHOUT_UNIT = (np.dtype("M8"), np.dtype("m8"))


class NpzFormat:
    """NPZ files."""

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:  # noqa: ARG002  # it states its own
        """Return the archive's arrays as columns."""
        with _opened(file) as archive:
            return pa.schema([(name, _column_type(file, member)) for name, member in archive.members.items()])

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return stretches of rows of equal size; the whole file where an array is compressed."""
        with _opened(file) as archive:
            if any(member.compressed for member in archive.members.values()):
                return [(0, None, file.size)]
            n_rows = archive.n_rows
        n = max(1, min(n_rows, -(-file.size // max(1, most_bytes))))
        bounds = [n_rows * i // n for i in range(n + 1)]
        return [(start, stop, file.size * (stop - start) // max(1, n_rows)) for start, stop in pairwise(bounds)]

    def read(  # noqa: PLR0917  # as FileFormat says
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield rows, as `FileFormat` says."""
        with _opened(file) as archive, ExitStack() as stack:
            members = archive.members
            have = pa.schema([(name, _column_type(file, member)) for name, member in members.items()])
            check_columns(file.source, have, columns, schema)
            arrays = {name: stack.enter_context(open_member(archive.zipped, members[name], start)) for name in columns}
            stop = archive.n_rows if stop is None else min(stop, archive.n_rows)
            rows = block_rows(batch_rows, sum(members[name].row_bytes for name in columns))
            for first in range(start, stop, rows):
                n = min(rows, stop - first)
                batch = pa.RecordBatch.from_arrays(
                    [_column(arrays[name].read(n), have.field(name).type) for name in columns],
                    schema=pa.schema([have.field(name) for name in columns]),
                )
                yield from conform(batch, columns, schema, RowPlaces(file.source, first))


@dataclass(frozen=True, slots=True)
class _Archive:
    zipped: ZipFile
    members: Mapping[str, Member]
    n_rows: int


@contextmanager
def _opened(file: OpenFile) -> Iterator[_Archive]:
    """Open an archive and read the headers of its arrays.

    Raises:
        InvalidInput: it is none, or its arrays do not make a table.
    """
    with file.files.open_input_file(file.path) as stream:
        try:
            with ZipFile(stream) as zipped:
                infos = [info for info in zipped.infolist() if info.filename.endswith(".npy")]
                members = {info.filename.removesuffix(".npy"): read_header(zipped, info) for info in infos}
                yield _Archive(zipped, members, _n_rows(file, members))
        except (BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
            raise InvalidInput(f"{file.source}: expected an NPZ file of plain arrays: {error}") from error


def _n_rows(file: OpenFile, members: Mapping[str, Member]) -> int:
    if not members:
        raise InvalidInput(f"{file.source}: expected arrays, got none")
    for name, member in members.items():
        if not member.shape:
            raise InvalidInput(f"{file.source}: array {name!r}: expected rows, got a single value")
    lengths = {name: member.shape[0] for name, member in members.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"{file.source}: expected arrays of one length, got {lengths}")
    return next(iter(lengths.values()))


def _column_type(file: OpenFile, member: Member) -> Any:
    """Return the Arrow type of an array's rows."""
    dtype, shape = member.dtype, member.shape[1:]
    if dtype.kind == "U":
        value: Any = pa.string()
    elif dtype.kind == "S":
        value = pa.binary()
    elif dtype.kind in "biufmM" and dtype.itemsize <= 8 and dtype not in _WITHOUT_UNIT:
        value = pa.from_numpy_dtype(dtype.newbyteorder("="))
    else:
        raise InvalidInput(
            f"{file.source}: array {member.name!r}: expected numbers, text, bytes or times, got dtype {dtype}"
        )
    if 0 in shape or (len(shape) > 1 and dtype.kind in "US"):
        raise InvalidInput(f"{file.source}: array {member.name!r}: expected rows of values, got shape {member.shape}")
    if not shape:
        return value
    return pa.list_(value, shape[0]) if len(shape) == 1 else pa.fixed_shape_tensor(value, shape)


def _column(values: Array, column: Any) -> Any:
    """Return `(n_rows, ...)` as an Arrow array of a type that `_column_type` gave."""
    flat = values.reshape(-1)
    if values.ndim == 1:
        return pa.array(flat, column)
    size = math.prod(values.shape[1:])
    if values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(flat, column.value_type), size)
    storage = pa.FixedSizeListArray.from_arrays(pa.array(flat, column.value_type), size)
    return pa.ExtensionArray.from_storage(column, storage)
