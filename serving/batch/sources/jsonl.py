r"""JSON lines: one object a line, read by pyarrow and checked so that no row is silently another one.

UTF-8, with or without a byte order mark; lines end in `\n` or `\r\n`; blank lines are skipped. A field that a row lacks
is null, one that the schema lacks is ignored. Text stays text, dates too. A row is unread where its line is no single
JSON object, or a field that is read is not of its type: text is no number and 3.0 is no int64, but NaN and Infinity
are numbers, as other writers of JSON write them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contract.errors import InvalidInput
from ..rows import Block, Unread
from .format import OpenFile
from .lines import Piece, Spans, cuts, is_utf8, line_spans, quote, read_pieces
from .sieve import read_rows


@dataclass(frozen=True, slots=True)
class JsonLinesFormat:
    """Files of JSON lines."""

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:
        """Return the fields of the rows in the file's first piece, with the types of `types` where it names them.

        Where rows disagree on a field's type, the first one's counts; whole numbers give way to fractions.
        """
        import pyarrow as pa

        piece = next(read_pieces(file, 0, None), None)
        rows = _objects(piece.data) if piece else []
        if not rows:
            raise InvalidInput(f"{file.source}: expected lines that are JSON objects, got none at its beginning")
        fields = {item.name: _settled(item.type) for item in _inferred(rows)}
        return pa.schema([*(fields | {name: types[name] for name in fields if name in types}).items()])

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return stretches of bytes; the whole file where it is compressed."""
        return cuts(file, most_bytes)

    def read(  # noqa: PLR0917  # as FileFormat says
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield the rows that begin in a stretch of bytes, as `FileFormat` says."""
        parser = _JsonParser(columns, schema)
        parser.check(file.source)
        yield from read_rows(read_pieces(file, start, stop), parser, file.source, batch_rows, numbered=start == 0)


class _JsonParser:
    """Reads the rows of one stretch. One thread."""

    def __init__(self, columns: Sequence[str], schema: Any) -> None:
        import pyarrow as pa

        self._schema = pa.schema([schema.field(name) for name in columns])
        self._kinds = [(item.name, item, _kinds(item.type)) for item in self._schema]

    def check(self, source: str) -> None:
        """Check that JSON can be read as the columns' types at all.

        Raises:
            InvalidInput: pyarrow has no way to.
        """
        import pyarrow as pa

        try:
            _read(b"{}\n", self._schema)
        except pa.ArrowNotImplementedError as error:
            wanted = [f"{item.name!r} as {item.type}" for item in self._schema]
            raise InvalidInput(f"{source}: cannot read {', '.join(wanted)}: {error}") from error

    def spans(self, data: bytes) -> Spans:
        """Return the lines that are not blank."""
        spans = line_spans(data)
        first = np.frombuffer(data, np.uint8)[spans[:, 0]]
        if not (first <= ord(" ")).any():
            return spans
        return spans[[bool(data[start:stop].strip()) for start, stop in spans.tolist()]]

    def accepts(self, piece: Piece) -> bool:
        """Return whether every line begins and ends as an object does: then none spans several lines.

        pyarrow must see nothing else: it ends the process where text begins with a null.
        """
        if not is_utf8(piece.data):
            return False
        view = np.frombuffer(piece.data, np.uint8)
        spans = line_spans(piece.data)
        return bool((view[spans[:, 0]] == ord("{")).all() and (view[spans[:, 1] - 1] == ord("}")).all())

    def faults(self, piece: Piece, spans: Spans) -> list[str]:
        """Return for each line why it is no JSON object, or has a value of another kind than its column."""
        rows = (piece.data[start:stop] for start, stop in spans.tolist())
        return [_fault(row) or self._misfit(row) for row in rows]

    def convert(self, data: bytes, n_rows: int) -> Any | None:
        """Return the rows as a batch, or None where a field does not fit or a line is not one row."""
        import pyarrow as pa

        try:
            batch = _read(data, self._schema)
        except pa.ArrowInvalid:
            return None
        return batch.select(self._schema.names) if batch.num_rows == n_rows else None

    def explain(self, raw: bytes) -> str:
        """Return what of a line is no JSON object, or which field does not fit its column."""
        import pyarrow as pa

        fault = _fault(raw)
        if fault:
            return fault
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError) as error:
            return f"expected a JSON object, got {quote(raw)}: {error}"
        why = _error(raw, pa.schema([]))
        if why:
            return f"expected a JSON object, got {quote(raw)}: {why}"
        fields = list(self._schema)
        while len(fields) > 1:  # the first half that fails holds the first field that does
            half = len(fields) // 2
            fields = fields[:half] if _error(raw, pa.schema(fields[:half])) else fields[half:]
        reasons = [_reason(raw, item, row.get(item.name)) for item in fields]
        return "".join(reasons) or f"expected a JSON object, got {quote(raw)}"

    def _misfit(self, raw: bytes) -> str:
        """Return what `explain` does where Python tells quickly that it may have to; pyarrow decides."""
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError):
            return self.explain(raw) if _error(raw, self._schema) else ""
        for name, item, kinds in self._kinds:
            value = row.get(name)
            if value is not None and type(value) not in kinds:
                reason = _reason(raw, item, value)
                if reason:
                    return reason
        return ""


def _fault(row: bytes) -> str:
    if not is_utf8(row):
        return f"expected UTF-8, got {quote(row)}"
    text = row.strip(b" \t\r")
    if text.startswith(b"{") and text.endswith(b"}"):
        return ""
    return f"expected a JSON object, got {quote(row)}"


def _read(data: bytes, schema: Any | None) -> Any:
    """Return rows with the columns of a schema, or with whatever there is."""
    import pyarrow as pa
    from pyarrow import json as arrow

    table = arrow.read_json(
        pa.BufferReader(data),
        arrow.ReadOptions(use_threads=False, block_size=len(data) + 1),
        arrow.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer" if schema is None else "ignore"),
    )
    chunks = table.combine_chunks().to_batches()
    return chunks[0] if chunks else pa.RecordBatch.from_pylist([], schema=schema)


def _kinds(column: Any) -> Sequence[type]:
    """Return how Python reads what may be of a type."""
    import pyarrow as pa

    if pa.types.is_floating(column):
        return int, float
    if pa.types.is_integer(column):
        return (int,)
    if pa.types.is_boolean(column):
        return (bool,)
    if pa.types.is_nested(column):
        return list, dict
    return (str,)


def _reason(raw: bytes, item: Any, value: Any) -> str:
    """Return why a line has no value for a column, "" where it has."""
    import pyarrow as pa

    why = _error(raw, pa.schema([item]))
    return f"column {item.name!r}: expected {item.type}, got {quote(json.dumps(value))} ({why})" if why else ""


def _error(raw: bytes, schema: Any) -> str:
    """Return why pyarrow cannot read a line that begins as an object, "" where it can."""
    import pyarrow as pa

    try:
        _read(raw + b"\n", schema)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("JSON parse error: ").removesuffix(" in row 0").rstrip(".")
    return ""


def _objects(data: bytes) -> list[bytes]:
    rows = (data[start:stop] for start, stop in line_spans(data).tolist())
    return [row for row in rows if not _fault(row)]


def _inferred(rows: Sequence[bytes]) -> Any:
    """Return the schema of rows, those left out that do not parse."""
    import pyarrow as pa

    try:
        return _read(b"\n".join(rows) + b"\n", None).schema
    except pa.ArrowInvalid:
        if len(rows) == 1:
            return pa.schema([])
    half = len(rows) // 2
    first, second = _inferred(rows[:half]), _inferred(rows[half:])
    return _merged(pa.struct(list(first)), pa.struct(list(second)))


def _merged(first: Any, second: Any) -> Any:
    """Return the type for what is of either type; the first where none is."""
    import pyarrow as pa

    if pa.types.is_null(first) or (pa.types.is_integer(first) and pa.types.is_floating(second)):
        return second
    if isinstance(first, pa.ListType) and isinstance(second, pa.ListType):
        return pa.list_(_merged(first.value_type, second.value_type))
    if isinstance(first, pa.StructType) and isinstance(second, pa.StructType):
        types = {item.name: item.type for item in first}
        for item in second:
            types[item.name] = _merged(types.get(item.name, pa.null()), item.type)
        return pa.struct(list(types.items()))
    return first


def _settled(column: Any) -> Any:
    """Return an inferred type with text for dates, which stay as written, and for what was null in every row."""
    import pyarrow as pa

    if isinstance(column, pa.ListType):
        return pa.list_(_settled(column.value_type))
    if isinstance(column, pa.StructType):
        return pa.struct([(item.name, _settled(item.type)) for item in column])
    return pa.string() if pa.types.is_temporal(column) or pa.types.is_null(column) else column
