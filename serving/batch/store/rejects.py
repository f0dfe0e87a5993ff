"""Files of rejected rows: where each stood, why it could not be scored, and its values, for a retry.

A task's are in `_rejects/`, a Parquet file under the name of its part; a task without any has no file. Columns:

    _source, _row, _byte    where the row stands, as `Place` says
    _reason                 what was expected and what came
    _raw                    the row's bytes, where it could not be parsed and has some
    _parsed                 whether the columns that follow hold its values; else all of them are null
    then the columns read
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from ...contract.errors import ConfigurationError
from ..rows import Block, Place, Unread
from .groups import RowGroups
from .output import Output
from .parts import parquet_writer

REJECTS = "_rejects"

_ABOUT = pa.schema(
    [
        pa.field("_source", pa.string()),
        pa.field("_row", pa.int64()),
        pa.field("_byte", pa.int64()),
        pa.field("_reason", pa.string()),
        pa.field("_raw", pa.large_binary()),
        pa.field("_parsed", pa.bool_()),
    ]
)

_GATHERED_ROWS = 1024
_GATHERED_BYTES = 4 << 20
_READ_ROWS = 4096


def reject_schema(schema: Any) -> Any:
    """Return the `pyarrow.Schema` of reject files for rows of a schema.

    Raises:
        ConfigurationError: one of its columns has a name that reject files use.
    """
    if taken := [name for name in schema.names if name in _ABOUT.names]:
        raise ConfigurationError(f"input column {taken[0]!r}: files of rejected rows use this name; rename the column")
    return pa.schema([*_ABOUT, *(field.with_nullable(True) for field in schema)])


class RejectWriter:
    """Writes one reject file, which is there, whole, once the `with` block ends without an error. Used by one thread.

    Attributes:
        name: the file's under `_rejects/`.
        n_rows: rows added.
    """

    def __init__(self, output: Output, name: str, schema: Any) -> None:
        """Prepare; nothing is written before the first row.

        Args:
            output: where.
            name: of the part, without its suffix.
            schema: `pyarrow.Schema` of the rows.

        Raises:
            ConfigurationError: see `reject_schema`.
        """
        self.name = f"{name}.parquet"
        self.n_rows = 0
        self._output = output
        self._schema = reject_schema(schema)
        self._groups = RowGroups(self._schema)
        self._about: list[tuple[Place, str, bytes | None, bool]] = []
        self._values: list[Any] = []
        self._n_bytes = 0
        self._none = pa.RecordBatch.from_arrays([pa.nulls(1, field.type) for field in schema], schema=_nullable(schema))
        self._files = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._end()
        except BaseException:
            self._files.__exit__(*sys.exc_info())
            raise
        self._files.__exit__(kind, error, trace)

    def add(self, row: Any, place: Place, reason: str) -> None:
        """Add a row that was parsed: a record batch of one row. It is copied, so that it keeps no more in memory.

        Raises:
            OSError: the file cannot be written.
        """
        own = pa.RecordBatch.from_arrays([_copied(column) for column in row.columns], schema=self._none.schema)
        self._add(own, place, reason, None, own.nbytes)

    def add_unread(self, unread: Unread) -> None:
        """Add a row that could not be parsed.

        Raises:
            OSError: the file cannot be written.
        """
        self._add(None, unread.place, unread.reason, unread.raw, len(unread.raw or b""))

    def _add(self, values: Any, place: Place, reason: str, raw: bytes | None, n_bytes: int) -> None:
        self._about.append((place, reason, raw, values is not None))
        self._values.append(self._none if values is None else values)
        self._n_bytes += n_bytes
        self.n_rows += 1
        if len(self._about) >= _GATHERED_ROWS or self._n_bytes >= _GATHERED_BYTES:
            self._write()

    def _write(self) -> None:
        if self._writer is None:
            sink = self._files.enter_context(self._output.create(f"{REJECTS}/{self.name}"))
            self._writer = parquet_writer(sink, self._schema)
            self._files.callback(self._writer.close)
        places, reasons, raws, parsed = zip(*self._about, strict=True)
        told = ([p.source for p in places], [p.row for p in places], [p.byte for p in places], reasons, raws, parsed)
        about = [pa.array(values, field.type) for values, field in zip(told, _ABOUT, strict=True)]
        columns = [*about, *pa.concat_batches(self._values).columns]
        for group in self._groups.add(pa.RecordBatch.from_arrays(columns, schema=self._schema)):
            self._writer.write_table(group, row_group_size=group.num_rows)
        self._about, self._values, self._n_bytes = [], [], 0

    def _end(self) -> None:
        if self._about:
            self._write()
        if (rest := self._groups.rest()).num_rows:
            self._writer.write_table(rest, row_group_size=rest.num_rows)


def read_rejects(output: Output, name: str) -> Iterator[Block | Unread]:
    """Yield the rows of a reject file again as a reader does, for a retry; blocks hold rows that were parsed.

    Args:
        output: where.
        name: of the file under `_rejects/`, as `TaskResult.rejects` says.

    Raises:
        FileNotFoundError: there is none.
    """
    with output.open(f"{REJECTS}/{name}") as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_READ_ROWS):
            yield from _rows_again(batch)


def _rows_again(batch: Any) -> Iterator[Block | Unread]:
    """Yield runs of parsed rows as blocks, the others one by one, in their order."""
    about = batch.select(_ABOUT.names).to_pylist()
    values = batch.select([name for name in batch.schema.names if name not in _ABOUT.names])
    start = 0
    while start < len(about):
        row = about[start]
        if not row["_parsed"]:
            yield Unread(_place(row), row["_reason"], row["_raw"])
            start += 1
            continue
        stop = next((i for i in range(start, len(about)) if not about[i]["_parsed"]), len(about))
        places = [_place(row) for row in about[start:stop]]
        yield Block(values.slice(start, stop - start), places.__getitem__)
        start = stop


def _place(row: dict[str, Any]) -> Place:
    return Place(row["_source"], row["_row"], row["_byte"])


def _nullable(schema: Any) -> Any:
    return pa.schema([field.with_nullable(True) for field in schema])


def _copied(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode().dictionary_encode().cast(column.type)
    return column.take(pa.array([0]))
