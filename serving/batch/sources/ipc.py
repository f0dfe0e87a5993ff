"""Arrow IPC: files in stretches of whole record batches, streams as one.

Which of the two a file is, its first bytes tell, not its name. Local files are mapped into memory: only what is read
of them is loaded, and the system may drop it again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Any

import pyarrow as pa

from ...contract.errors import InvalidInput
from ..locations import is_local
from ..rows import Block, Place, Unread
from .blocks import RowPlaces, block_rows, check_columns, conform
from .format import OpenFile

_MAGIC = b"ARROW1"


class IpcFormat:
    """Arrow IPC files and streams."""

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:  # noqa: ARG002  # it states its own
        """Return the file's columns."""
        with _opened(file) as source:
            return _reader(file, source).schema

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return stretches of record batches, taken to be of equal size; a stream is one."""
        with _opened(file) as source:
            reader = _reader(file, source)
            if not isinstance(reader, pa.ipc.RecordBatchFileReader):
                return [(0, None, file.size)]
            n = reader.num_record_batches
        n_cuts = max(1, min(n, -(-file.size // max(1, most_bytes))))
        bounds = [n * i // n_cuts for i in range(n_cuts + 1)]
        return [(start, stop, file.size * (stop - start) // max(1, n)) for start, stop in pairwise(bounds)]

    def read(  # noqa: PLR0917  # as FileFormat says
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield the rows of record batches, as `FileFormat` says."""
        with _opened(file) as source:
            reader = _reader(file, source)
            check_columns(file.source, reader.schema, columns, schema)
            reader = _narrowed(file, source, reader, columns)
            if isinstance(reader, pa.ipc.RecordBatchFileReader):
                stop = reader.num_record_batches if stop is None else stop
                batches = map(reader.get_batch, range(start, stop))
                n_before = _Count(0 if not start else lambda: _rows_before(file, start))
            else:
                batches = iter(reader)
                n_before = _Count(0)
            n_read = 0
            for whole in batches:
                batch = whole.select(columns)
                rows = block_rows(batch_rows, batch.nbytes / max(1, batch.num_rows))
                for first in range(0, batch.num_rows, rows):
                    part = batch.slice(first, rows)
                    yield from conform(part, columns, schema, _Places(file.source, n_before, n_read + first))
                n_read += batch.num_rows


class _Count:
    """A number of rows that is found when it is first asked for. Any thread may ask."""

    def __init__(self, value: int | Callable[[], int]) -> None:
        self._value = value
        self._lock = Lock()

    def get(self) -> int:
        """Return the number."""
        with self._lock:
            if not isinstance(self._value, int):
                self._value = self._value()
            return self._value


@dataclass(frozen=True, slots=True)
class _Places:
    """Places of rows of a stretch, the first of which is preceded by rows that are counted only when it matters."""

    source: str
    n_before: _Count
    first: int

    def __call__(self, row: int, /) -> Place:
        return RowPlaces(self.source, self.n_before.get() + self.first)(row)


@contextmanager
def _opened(file: OpenFile) -> Iterator[Any]:
    local = is_local(file.files)
    with pa.memory_map(file.path) if local else file.files.open_input_file(file.path) as source:
        yield source


def _reader(file: OpenFile, source: Any, fields: Sequence[int] = ()) -> Any:
    """Return a reader of record batches with the fields of these numbers, all where none are given.

    Raises:
        InvalidInput: this is no Arrow IPC.
    """
    options = pa.ipc.IpcReadOptions(included_fields=list(fields), use_threads=False)
    is_file = source.read(len(_MAGIC)) == _MAGIC
    source.seek(0)
    try:
        return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source, options=options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(f"{file.source}: expected an Arrow IPC file or stream: {error}") from error


def _rows_before(file: OpenFile, stop: int) -> int:
    """Return how many rows the record batches before one hold."""
    with _opened(file) as source:
        reader = _reader(file, source)
        narrowest = _narrowed(file, source, reader, reader.schema.names[:1])
        return sum(narrowest.get_batch(i).num_rows for i in range(stop))


def _narrowed(file: OpenFile, source: Any, reader: Any, columns: Sequence[str]) -> Any:
    """Return a reader that loads no other columns, though its batches may have some.

    Where a mapped file is not compressed, that is the reader of all columns: one that skips some copies the others.
    """
    if isinstance(reader, pa.ipc.RecordBatchFileReader) and (
        not reader.num_record_batches or _is_mapped(source, reader.get_batch(0))
    ):
        return reader
    source.seek(0)
    return _reader(file, source, [reader.schema.get_field_index(name) for name in columns])


def _is_mapped(source: Any, batch: Any) -> bool:
    """Return whether a batch's buffers are parts of a mapped file, and nothing of it was read, then."""
    if not isinstance(source, pa.MemoryMappedFile):
        return False
    source.seek(0)
    first = source.read_buffer(1).address
    buffers = [buffer for column in batch.columns for buffer in column.buffers() if buffer is not None and buffer.size]
    return all(first <= buffer.address < first + source.size() for buffer in buffers)
