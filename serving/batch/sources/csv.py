r"""CSV with a header line, read by pyarrow and checked so that no row is silently another one.

- UTF-8, with or without a byte order mark; lines end in `\n` or `\r\n`; empty lines are skipped.
- Quotes stand around whole cells and doubled inside them. Line ends in quoted cells need `multiline`; a file is then
  one stretch, because no one can tell where a row begins without reading what comes before.
- Columns that the job has no type for stay text, as written (`007`, `NA`, ` x `); an empty cell is null, a quoted empty
  one is empty text.
- Columns with a type: blanks around numbers are skipped; whole numbers are written without point or exponent
  (`3.0` is no int64); booleans are `true`, `false`, `1` or `0`, in any case; `nan` and `inf` are floats. Null are an
  empty cell and, unquoted, what pyarrow takes for null except for nan: `cells.NULL_SPELLINGS`.
- A row with another number of cells than the header, with a cell that is not of its column's type or too large for it,
  with a lone carriage return outside of quotes or that is not UTF-8 is unread.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...contract.errors import ConfigurationError, InvalidInput
from ..rows import Block, Unread
from .cells import INFINITE, NULL_MARKS, NULL_SPELLINGS, as_text, is_cell, is_text, misfits
from .format import OpenFile
from .lines import BOM, Piece, Spans, cuts, first_place, is_utf8, line_spans, quote, read_pieces, window
from .quoting import MARGIN_BYTES, Quotes
from .sieve import read_rows


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """CSV files.

    Attributes:
        delimiter: between cells, one ASCII character.
        multiline: whether quoted cells may hold line ends.
    """

    delimiter: str = ","
    multiline: bool = False

    def __post_init__(self) -> None:
        """Check the delimiter.

        Raises:
            ConfigurationError: it is not one ASCII character that may stand between cells.
        """
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ConfigurationError(
                f"expected one ASCII character other than quotes and line ends to delimit CSV, got {self.delimiter!r}"
            )

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:
        """Return the file's columns: text, but for those that `types` names."""
        import pyarrow as pa

        names, _ = self._header(file)
        for name in names:
            if name in types and not is_cell(types[name]):
                raise InvalidInput(
                    f"{file.source}: column {name!r} is wanted as {types[name]}, which no cell of CSV holds"
                )
        return pa.schema([(name, types.get(name, pa.string())) for name in names])

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return stretches of bytes; the whole file where it is compressed, or cells may hold line ends."""
        return cuts(file, most_bytes, whole=self.multiline)

    def read(  # noqa: PLR0917  # as FileFormat says
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield the rows that begin in a stretch of bytes, as `FileFormat` says."""
        names, first = self._header(file)
        missing = [name for name in columns if name not in names]
        if missing:
            raise InvalidInput(f"{file.source}: expected the columns {missing}, its header names {list(names)}")
        if stop is not None and stop <= first:
            return
        parser = _CsvParser(self, names, columns, schema)
        begin = max(start, first)
        pieces = parser.quotes.read(file, begin) if self.multiline else read_pieces(file, begin, stop, MARGIN_BYTES)
        yield from read_rows(pieces, parser, file.source, batch_rows, numbered=start == 0)

    def _header(self, file: OpenFile) -> tuple[tuple[str, ...], int]:
        """Return the header's names and the place behind its line.

        Raises:
            InvalidInput: there is no header line, or it names a column twice.
        """
        raw, stop = self._header_line(file)
        if not raw:
            raise InvalidInput(f"{file.source}: expected CSV with a header line, got no line")
        quotes = Quotes(self.delimiter)
        if not is_utf8(raw) or not quotes.n_cells(raw) or b"\r" in quotes.unquoted(raw):
            raise InvalidInput(
                f"{file.source}: expected a header in UTF-8 with quotes only around names and a line feed behind it, "
                f"got {quote(raw)}"
            )
        names = tuple(next(csv.reader(io.StringIO(raw.decode(), newline=""), delimiter=self.delimiter)))
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInput(f"{file.source}: expected each column once in the header, got {twice} more than once")
        return names, stop

    def _header_line(self, file: OpenFile) -> tuple[bytes, int]:
        if self.multiline:
            quotes = Quotes(self.delimiter)
            for piece in quotes.read(file, 0):
                spans = line_spans(piece.data, quotes.row_ends(piece.data))
                if piece.broken:
                    return piece.data, piece.offset
                if len(spans):
                    start, end = spans[0].tolist()
                    return piece.data[start:end], piece.offset + end
            return b"", 0
        with window(file, 0) as text:
            place = first_place(text)
            while True:
                end = text.line_end(place, file.source)
                raw = text.take(place, end)
                if raw.rstrip(b"\r\n") or end == place:
                    return raw.removesuffix(b"\n").removesuffix(b"\r"), end
                place = end


class _CsvParser:
    """Reads the rows of one stretch. One thread."""

    def __init__(self, form: CsvFormat, names: Sequence[str], columns: Sequence[str], schema: Any) -> None:
        import pyarrow as pa

        self.quotes = Quotes(form.delimiter)
        self._form = form
        self._names = list(names)
        self._schema = pa.schema([schema.field(name) for name in columns])
        self._texts = pa.schema([item for item in self._schema if is_text(item.type)])
        self._typed = pa.schema([item for item in self._schema if not is_text(item.type)])
        self._floats = [item.name for item in self._schema if pa.types.is_floating(item.type)]
        self._nulls_spelled = not self._texts.names

    def spans(self, data: bytes) -> Spans:
        """Return where the rows of whole lines stand."""
        return line_spans(data, self.quotes.row_ends(data) if self._form.multiline else None)

    def accepts(self, piece: Piece) -> bool:
        """Return whether encoding, line ends and quotes leave no doubt about where rows begin."""
        data = piece.data
        return (
            is_utf8(data)
            and BOM not in data
            and (b"\r" not in data or data.count(b"\r") == data.count(b"\r\n"))
            and self.quotes.stray(data) is None
            and not self.quotes.suspects(piece)
        )

    def faults(self, piece: Piece, spans: Spans) -> list[str]:
        """Return for each line why it is no row of the file, as far as its text tells."""
        out = [""] * len(spans) if self._form.multiline else self.quotes.faults(piece, spans)
        rows = [piece.data[start:stop] for start, stop in spans.tolist()]
        out = [fault or self._fault(row) for fault, row in zip(out, rows, strict=True)]
        whole = [i for i, fault in enumerate(out) if not fault]
        if whole and self._typed.names:
            texts = self._read(b"".join(rows[i] + b"\n" for i in whole), as_text(self._typed), NULL_SPELLINGS)
            for name, i, text in misfits(texts, self._typed):
                out[whole[i]] = out[whole[i]] or self._misfit(name, text)
        return out

    def convert(self, data: bytes, n_rows: int) -> Any | None:
        """Return the rows as a batch, or None where a cell does not fit or a row is not one line."""
        import pyarrow as pa

        try:
            if not self._nulls_spelled:
                try:
                    return self._checked(data, n_rows, self._read(data, self._schema, ("",)))
                except pa.ArrowInvalid:
                    # Text must stay text where numbers are null: read in two passes from here on.
                    if not self._typed.names or not any(mark in data for mark in NULL_MARKS):
                        raise
            batch = self._read_apart(data)
        except pa.ArrowInvalid:
            return None
        self._nulls_spelled = True
        return self._checked(data, n_rows, batch)

    def explain(self, raw: bytes) -> str:
        """Return which cell does not fit its column."""
        data, names = raw + b"\n", self._typed.names
        while len(names) > 1:  # the first half that fails holds the first cell that does
            first = names[: len(names) // 2]
            fits = _CsvParser(self._form, self._names, first, self._schema).convert(data, 1) is not None
            names = names[len(first) :] if fits else first
        if not names:
            return f"expected a row of {len(self._names)} cells, got {quote(raw)}"
        text = self._read(data, as_text(self._typed), ()).column(names[0])[0].as_py()
        return self._misfit(names[0], text)

    def _misfit(self, name: str, text: str) -> str:
        return f"column {name!r}: expected {self._schema.field(name).type}, got {quote(text)}"

    def _fault(self, row: bytes) -> str:
        if not is_utf8(row):
            return f"expected UTF-8, got {quote(row)}"
        if row.startswith(BOM):
            return f"expected a row, got a byte order mark inside of the file before {quote(row[len(BOM) :])}"
        if b"\r" in row and b"\r" in self.quotes.unquoted(row):
            return f"expected lines that end in a line feed, got a carriage return inside of {quote(row)}"
        n_cells = self.quotes.n_cells(row)
        if n_cells != len(self._names):
            return f"expected {len(self._names)} cells, got {n_cells}: {quote(row)}"
        return ""

    def _read_apart(self, data: bytes) -> Any:
        """Return the rows with every spelling of null in columns with a type and none in text."""
        import pyarrow as pa

        typed = self._read(data, self._typed, NULL_SPELLINGS)
        if not self._texts.names:
            return typed
        texts = self._read(data, self._texts, ("",))
        arrays = [(texts if is_text(item.type) else typed).column(item.name) for item in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _read(self, data: bytes, schema: Any, nulls: Sequence[str]) -> Any:
        import pyarrow as pa
        from pyarrow import csv as arrow

        table = arrow.read_csv(
            pa.BufferReader(data),
            arrow.ReadOptions(use_threads=False, column_names=self._names, block_size=len(data) + 1),
            arrow.ParseOptions(delimiter=self._form.delimiter, newlines_in_values=self._form.multiline),
            arrow.ConvertOptions(
                column_types={item.name: item.type for item in schema},
                include_columns=schema.names or self._names[:1],
                null_values=list(nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        ).select(schema.names)
        chunks = table.combine_chunks().to_batches()
        return chunks[0] if chunks else pa.RecordBatch.from_pylist([], schema=schema)

    def _checked(self, data: bytes, n_rows: int, batch: Any) -> Any | None:
        """Return a batch if every line became a row and every number is what was written."""
        if batch.num_rows != n_rows or any(self._overflows(data, batch, name) for name in self._floats):
            return None
        return batch

    def _overflows(self, data: bytes, batch: Any, name: str) -> bool:
        """Return whether a float is infinite that is not written so: pyarrow reads 1e999 as inf."""
        import pyarrow as pa
        from pyarrow import compute

        infinite = compute.is_inf(batch.column(name))
        if not compute.any(infinite).as_py():
            return False
        texts = self._read(data, pa.schema([(name, pa.string())]), ()).column(0).filter(infinite)
        return not compute.all(compute.match_substring_regex(texts, INFINITE)).as_py()
