r"""Quotes of CSV: where rows end that hold line ends, and which lines are rows for sure.

Quotes are read strictly: one opens only at the beginning of a cell and closes only at its end, and stands doubled in
between. So no lone quote can make one row of many lines, or swallow rows, unseen.

Where quoted cells may not hold line ends, files are cut at any line, and a line cannot be told from a line of a cell
by what stands before it in the file. It is told by its surroundings: lines between one whose quote stays open and one
that closes a quote, at most `MARGIN_BYTES` apart, are the inside of a cell. (One that would itself be a row with
quoted cells is taken for a row.)
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .format import OpenFile
from .lines import LONGEST_LINE_BYTES, PIECE_BYTES, Piece, Spans, first_place, quote, window

MARGIN_BYTES = 64 << 10
"""How far apart the two ends of a quoted cell are looked for where such cells are not allowed."""

_SHORT_PIECE_BYTES = 4 << 10

_OPEN_CELL = "expected a quoted cell to end on its line (cells with line ends need `multiline`), got {}"
_INSIDE = "expected a row, got a line inside of a quoted cell (cells with line ends need `multiline`): {}"
_STRAY = "expected quotes only around cells and doubled inside of them, got {}"
_UNCLOSED = "expected every quote to be closed, got {}"


class Quotes:
    """Rules for one delimiter. Immutable."""

    def __init__(self, delimiter: str) -> None:
        mark = re.escape(delimiter).encode()
        cell = rb'(?:"(?:[^"]++|"")*+"|[^"\r' + mark + rb"]*+)"
        rest = rb"(?:" + mark + cell + rb")*+"
        inside = rb'(?:[^"]++|"")*+'
        self._row = re.compile(cell + rest).fullmatch
        self._opening = re.compile(rb"(?:" + cell + mark + rb')*+"' + inside).fullmatch
        self._closing = re.compile(inside + b'"' + rest).fullmatch
        self._reopening = re.compile(inside + b'"' + rest + mark + b'"' + inside).fullmatch
        self._inside = re.compile(inside).fullmatch
        self._quoted = re.compile(rb'"(?:[^"]++|"")*+"')
        self._delimiter = delimiter.encode()
        self._before = _members(self._delimiter + b'\n"')
        self._behind = _members(self._delimiter + b'\n\r"')

    def n_cells(self, row: bytes) -> int:
        """Return the number of cells of a row; 0 where its quotes break the rules."""
        if b'"' not in row:
            return 1 + row.count(self._delimiter)
        return 1 + self.unquoted(row).count(self._delimiter) if self._row(row) else 0

    def unquoted(self, row: bytes) -> bytes:
        """Return a row without its quoted cells."""
        return self._quoted.sub(b"", row)

    def stray(self, data: bytes) -> int | None:
        """Return where the first quote stands that breaks the rules, or the last one if it is never closed."""
        if b'"' not in data:
            return None
        view = np.frombuffer(data, np.uint8)
        places = np.flatnonzero(view == ord('"'))
        broken = self._first_broken(view, places)
        if broken is None and len(places) % 2:
            return int(places[-1])
        return broken

    def row_ends(self, data: bytes) -> npt.NDArray[np.int64]:
        """Return the line ends that are not quoted, in bytes that begin with a row."""
        view = np.frombuffer(data, np.uint8)
        ends: npt.NDArray[np.int64] = np.flatnonzero(view == ord("\n")).astype(np.int64, copy=False)
        if b'"' in data:
            ends = ends[np.searchsorted(np.flatnonzero(view == ord('"')), ends) % 2 == 0]
        return ends

    def read(self, file: OpenFile, start: int) -> Iterator[Piece]:
        """Yield the rows of a file from a place on, quoted line ends allowed; what is no row goes line by line.

        Raises:
            InvalidInput: a line is longer than `LONGEST_LINE_BYTES`.
        """
        with window(file, start) as text:
            place = start or first_place(text)
            most = PIECE_BYTES
            while True:
                text.fill(place + most)
                text.leave(place)
                data = text.take(place, place + most)
                if not data:
                    return
                length, broken = self._whole_rows(data, last=text.ended and text.stop <= place + most)
                if not length and not broken and most < LONGEST_LINE_BYTES:
                    most = min(4 * most, LONGEST_LINE_BYTES)
                    continue
                if length:
                    yield Piece(data[:length], place)
                    most = min(2 * most, PIECE_BYTES)
                else:
                    length = text.line_end(place, file.source) - place
                    line = text.take(place, place + length)
                    yield Piece(line, place, broken=(broken or _UNCLOSED).format(quote(line.rstrip(b"\r\n"))))
                    most = _SHORT_PIECE_BYTES  # where one is broken, others may be
                place += length

    def faults(self, piece: Piece, spans: Spans) -> list[str]:
        """Return for each line why its quotes or its surroundings make it no row; "" where they do not."""
        rows = [piece.data[start:stop] for start, stop in spans.tolist()]
        before, after = piece.before.split(b"\n"), piece.after.split(b"\n")
        if len(piece.before) >= MARGIN_BYTES:
            del before[0]  # what may be cut off is not judged
        if len(piece.after) >= MARGIN_BYTES:
            del after[-1]
        lines = [*(line.removesuffix(b"\r") for line in before), *rows, *(line.removesuffix(b"\r") for line in after)]
        return self._faults(lines)[len(before) : len(before) + len(rows)]

    def suspects(self, piece: Piece) -> bool:
        """Return whether a piece's first lines may be the inside of a cell."""
        at = piece.before.rfind(b'"')
        if at < 0:
            return False
        start = piece.before.rfind(b"\n", 0, at) + 1
        stop = piece.before.find(b"\n", at)
        return not self._row(piece.before[start : stop if stop >= 0 else None].removesuffix(b"\r"))

    def _faults(self, lines: Sequence[bytes]) -> list[str]:
        out = [""] * len(lines)
        first, distance = None, 0  # line behind one whose quote stays open, and bytes from there
        for i, line in enumerate(lines):
            distance += len(line) + 1
            if b'"' not in line:
                continue
            if self._row(line):
                first = None
                continue
            opens = bool(self._opening(line))
            out[i] = (_OPEN_CELL if opens else _STRAY).format(quote(line))
            reopens = bool(self._reopening(line))
            if first is not None and distance <= MARGIN_BYTES and (reopens or self._closing(line)):
                out[first:i] = [_INSIDE.format(quote(inside)) for inside in lines[first:i]]
            if opens or reopens:
                first, distance = i + 1, 0
            elif not self._inside(line):
                first = None
        return out

    def _whole_rows(self, data: bytes, *, last: bool) -> tuple[int, str]:
        """Return the bytes at the beginning that are whole rows, or 0 and why the first line is none, or 0 and ""."""
        view = np.frombuffer(data, np.uint8)
        broken = self._first_broken(view, np.flatnonzero(view == ord('"')))
        ends = self.row_ends(data)
        if broken is not None:
            ends = ends[ends < broken]
        if len(ends):
            return int(ends[-1]) + 1, ""
        if broken is not None:
            return 0, _STRAY
        if not last:
            return 0, ""
        return (0, _UNCLOSED) if data.count(b'"') % 2 else (len(data), "")

    def _first_broken(self, view: Any, places: Any) -> int | None:
        """Return the first quote that neither opens nor closes a cell nor is doubled."""
        opens, closes = places[0::2], places[1::2]
        behind = view[np.minimum(closes + 1, len(view) - 1)]
        line_end = view[np.minimum(closes + 2, len(view) - 1)] == ord("\n")
        good_open = self._before[view[np.maximum(opens, 1) - 1]] | (opens == 0)
        good_close = self._behind[behind] & ((behind != ord("\r")) | line_end | (closes + 2 >= len(view)))
        broken = np.concatenate([opens[~good_open], closes[~good_close]])
        return int(broken.min()) if len(broken) else None


def _members(marks: bytes) -> npt.NDArray[np.bool_]:
    """Return for every byte whether it is one of these."""
    out = np.zeros(256, np.bool_)
    out[list(marks)] = True
    return out
