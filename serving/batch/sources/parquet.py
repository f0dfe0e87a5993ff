"""Parquet, in stretches of whole row groups.

A row group may be larger than memory: its pages are read as they are needed, column by column. From a store that
answers slowly, a row group that is small is fetched at once instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...contract.errors import InvalidInput
from ..locations import is_local
from ..rows import Block, Unread
from .blocks import RowPlaces, block_rows, check_columns, conform, fixed_bytes
from .format import OpenFile

_LOCAL_BUFFER_BYTES = 128 << 10
_REMOTE_BUFFER_BYTES = 4 << 20
"""Read at once of each column."""

_FETCHED_BYTES = 64 << 20
"""Of a row group that is fetched at once, at most."""

_VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}


class ParquetFormat:
    """Parquet files."""

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:  # noqa: ARG002  # it states its own
        """Return the file's columns."""
        with _opened(file) as parquet:
            return parquet.schema_arrow

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return stretches of row groups, from the file's footer."""
        with _opened(file) as parquet:
            metadata = parquet.metadata
            sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        on_disk = file.size / max(1, sum(sizes))  # the footer states uncompressed sizes
        out: list[tuple[int, int | None, int]] = []
        start, n_bytes = 0, 0
        for i, size in enumerate(sizes):
            if i > start and (n_bytes + size) * on_disk > most_bytes:
                out.append((start, i, round(n_bytes * on_disk)))
                start, n_bytes = i, 0
            n_bytes += size
        return [*out, (start, len(sizes), round(n_bytes * on_disk))]

    def read(  # noqa: PLR0917  # as FileFormat says
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield the rows of row groups, as `FileFormat` says."""
        with _opened(file) as parquet:
            check_columns(file.source, parquet.schema_arrow, columns, schema)
            metadata = parquet.metadata
            types = [parquet.schema_arrow.field(name).type for name in columns]
            leaves = _leaves(parquet.schema, columns)
            stop = metadata.num_row_groups if stop is None else stop
            first = sum(metadata.row_group(i).num_rows for i in range(start))
            for i in range(start, stop):
                group = metadata.row_group(i)
                chunks = [group.column(leaf) for leaf in leaves]
                row_bytes = max(sum(map(fixed_bytes, types)), _n_bytes(chunks) / max(1, group.num_rows))
                with _fetched(file, parquet, chunks) as source:
                    rows = block_rows(batch_rows, row_bytes)
                    for batch in source.iter_batches(rows, row_groups=[i], columns=columns, use_threads=False):
                        yield from conform(batch, columns, schema, RowPlaces(file.source, first))
                        first += batch.num_rows


@contextmanager
def _opened(file: OpenFile) -> Iterator[Any]:
    """Open a file for reading page by page.

    Raises:
        InvalidInput: it is no Parquet file.
    """
    buffer_size = _LOCAL_BUFFER_BYTES if is_local(file.files) else _REMOTE_BUFFER_BYTES
    with file.files.open_input_file(file.path) as stream:
        try:
            parquet = pq.ParquetFile(stream, pre_buffer=False, buffer_size=buffer_size)
        except pa.ArrowInvalid as error:
            raise InvalidInput(f"{file.source}: expected a Parquet file: {error}") from error
        yield parquet


@contextmanager
def _fetched(file: OpenFile, parquet: Any, chunks: Sequence[Any]) -> Iterator[Any]:
    """Return what reads a row group's chunks: at once where they are far away and few bytes, else page by page."""
    if is_local(file.files) or sum(chunk.total_compressed_size for chunk in chunks) > _FETCHED_BYTES:
        yield parquet
        return
    with file.files.open_input_file(file.path) as stream:
        yield pq.ParquetFile(stream, metadata=parquet.metadata, pre_buffer=True)


def _leaves(schema: Any, columns: Sequence[str]) -> list[int]:
    """Return the places of the columns' leaves in a `ParquetSchema`."""
    wanted = set(columns)
    paths = [schema.column(i).path.split(".") for i in range(len(schema))]
    return [i for i, path in enumerate(paths) if any(".".join(path[:n]) in wanted for n in range(1, len(path) + 1))]


def _n_bytes(chunks: Sequence[Any]) -> int:
    """Return how large column chunks are in memory, about: repeated values take little room in the file only."""
    return sum(
        max(chunk.total_uncompressed_size, chunk.num_values * _VALUE_BYTES.get(chunk.physical_type, 8))
        for chunk in chunks
    )
