"""Part files: rows in, a file of the job's format out, whole or not at all, in memory that does not grow with it.

A part's bytes depend on its rows and schema alone, not on how the rows are cut into batches: a task that is done again
writes the same file. Only Parquet names the bundle (in the file's key-value metadata) and keeps lists as they are; see
`flat` for CSV and `json_text` for JSON lines.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ...contract.errors import ConfigurationError
from ..spec import OutputFormat
from .flat import flat_batch, flat_schema
from .groups import RowGroups
from .json_text import has_json_text, json_lines
from .output import Output

TEXT_BYTES = 4 << 20
"""Rows that become text at once, as they are in memory."""


class PartWriter(Protocol):
    """Writes one part; used by one thread."""

    @property
    def name(self) -> str:
        """The file's name in the output folder."""
        ...

    def write(self, batch: Any) -> None:
        """Add a `pyarrow.RecordBatch` of any number of rows."""
        ...


def part_name(task: int, retry: int = 0) -> str:
    """Return the name, without its suffix, of a task's part and reject file; retries of rejected rows count from 1."""
    return f"part-{task:06d}" + (f"-retry-{retry}" if retry else "")


@contextmanager
def part_writer(output: Output, name: str, schema: Any, file_format: OutputFormat) -> Iterator[PartWriter]:
    """Give a writer of a part that is there once the block ends; an error leaves nothing.

    Args:
        output: where.
        name: the part's name without the suffix, which is the format's.
        schema: `pyarrow.Schema` of the batches, which `check_schema` let pass when the job was made.
        file_format: of the file.

    Raises:
        OSError: it cannot be written.
    """
    name = f"{name}.{file_format}"
    with output.create(name) as sink:
        writer = _WRITERS[file_format](name, sink, schema)
        try:
            yield writer
            writer.end()
        finally:
            writer.close()


def check_schema(schema: Any, file_format: OutputFormat) -> None:
    """Make sure that parts of a format can hold all columns of a `pyarrow.Schema`.

    Raises:
        ConfigurationError: they cannot; names the column.
    """
    may_be = {"parquet": _in_parquet, "csv": _in_csv, "jsonl": has_json_text}[file_format]
    held = flat_schema(schema) if file_format == "csv" else schema
    for field in held:
        if not may_be(field.type):
            raise ConfigurationError(
                f"column {field.name!r}: parts in {file_format} cannot hold {field.type}; choose another "
                f"output format, or do not keep the column"
            )
    name, times = Counter(held.names).most_common(1)[0] if held.names else ("", 1)
    if times > 1:
        raise ConfigurationError(f"column {name!r}: parts in {file_format} would have {times} columns of this name")


class _Parquet:
    """Row groups of `RowGroups`' bounds."""

    def __init__(self, name: str, sink: Any, schema: Any) -> None:
        self.name = name
        self._groups = RowGroups(schema)
        self._writer = parquet_writer(sink, schema)

    def write(self, batch: Any) -> None:
        for group in self._groups.add(batch):
            self._writer.write_table(group, row_group_size=max(1, group.num_rows))

    def end(self) -> None:
        if (rest := self._groups.rest()).num_rows:
            self._writer.write_table(rest, row_group_size=rest.num_rows)

    def close(self) -> None:
        self._writer.close()


class _Csv:
    """A line of names, then the rows; no value is nothing between the delimiters, an empty text is quoted."""

    def __init__(self, name: str, sink: Any, schema: Any) -> None:
        self.name = name
        self._schema = flat_schema(schema)
        self._writer = csv.CSVWriter(sink, self._schema)

    def write(self, batch: Any) -> None:
        for piece in _pieces(batch):
            self._writer.write_batch(flat_batch(piece, self._schema))

    def end(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        self._writer.close()


class _JsonLines:
    """An object a line."""

    def __init__(self, name: str, sink: Any, schema: Any) -> None:
        del schema
        self.name = name
        self._sink = sink

    def write(self, batch: Any) -> None:
        for piece in _pieces(batch):
            self._sink.write(json_lines(piece))

    def end(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """The sink is its owner's."""


_WRITERS: dict[OutputFormat, Any] = {"parquet": _Parquet, "csv": _Csv, "jsonl": _JsonLines}


def parquet_writer(sink: Any, schema: Any) -> Any:
    """Return a `pyarrow.parquet.ParquetWriter` with the settings of all files of a job.

    Only texts get a dictionary: scores hardly repeat, and looking for that costs more than the rest of writing them.
    Measured on three float32 scores, an id and a label, in million rows a second of one core: 12 as here, 5 with
    dictionaries for all; 15 with snappy, whose files are a third larger.
    """
    texts = [field.name for field in schema if _is_text(field.type)]
    return pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1, use_dictionary=texts or False)


def _pieces(batch: Any) -> Iterator[Any]:
    if batch.num_rows:
        rows = max(1, TEXT_BYTES * batch.num_rows // max(1, batch.nbytes))
        yield from (batch.slice(start, rows) for start in range(0, batch.num_rows, rows))


def _is_text(datatype: Any) -> bool:
    return any(is_kind(datatype) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary))


def _in_csv(datatype: Any) -> bool:
    try:
        csv.write_csv(pa.table([pa.nulls(0, datatype)], ["column"]), pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return not _is_bytes(datatype)


def _is_bytes(datatype: Any) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(kind(datatype) for kind in kinds)


def _in_parquet(datatype: Any) -> bool:
    try:
        pq.write_table(pa.table([pa.nulls(0, datatype)], ["column"]), pa.BufferOutputStream())
    except pa.ArrowException:
        return False
    return True
