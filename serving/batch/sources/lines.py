"""Text files as pieces of whole lines.

A line belongs to the stretch in which its first byte lies, wherever files are cut. Every place is a byte of the file,
of the decompressed one where it is compressed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ...contract.errors import InvalidInput
from .format import OpenFile

Spans = npt.NDArray[np.int64]
"""`(n, 2)`: where lines begin and where they end, without their line ends, in a piece."""

PIECE_BYTES = 2 << 20
"""Measured: pieces of 1 to 4 MB are parsed at the same rate, smaller ones slower."""

LONGEST_LINE_BYTES = 64 << 20
"""Several workers hold one each at worst, within 1 GB."""

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
"""Suffix of a file's name -> pyarrow's name of its codec."""

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Whole lines that stand together.

    Attributes:
        data: their bytes; the file's last line may lack its line end.
        offset: place of the first.
        before: what stands before them, at most as long as the margin that was asked for.
        after: what stands behind them, likewise.
        broken: why `data` is no row but one line of which no row can be made; "" where it may be.
    """

    data: bytes
    offset: int
    before: bytes = b""
    after: bytes = b""
    broken: str = ""


class Window:
    """The part of a stream that is in memory. One thread; made, moved forward and left to the collector by its reader.

    Attributes:
        data: its bytes.
        start: place of the first of them.
        ended: whether the stream has no more.
    """

    def __init__(self, stream: Any, start: int) -> None:
        self.data = b""
        self.start = start
        self.ended = False
        self._stream = stream

    @property
    def stop(self) -> int:
        """Return the place behind the last byte."""
        return self.start + len(self.data)

    def fill(self, stop: int) -> None:
        """Read up to a place, or to the end."""
        chunks = [self.data]
        missing = stop - self.stop
        while missing > 0 and not self.ended:
            chunk = self._stream.read(missing)
            self.ended = not chunk
            missing -= len(chunk)
            chunks.append(chunk)
        if len(chunks) > 1:
            self.data = b"".join(chunks)

    def leave(self, start: int) -> None:
        """Forget what stands before a place."""
        if start > self.start:
            self.data = self.data[start - self.start :]
            self.start = start

    def take(self, start: int, stop: int) -> bytes:
        """Return what stands between two places, as far as it is in memory."""
        return self.data[max(0, start - self.start) : max(0, stop - self.start)]

    def line_end(self, place: int, source: str) -> int:
        """Return the place behind the first line end at or behind a place, or the stream's end.

        Raises:
            InvalidInput: there is none for `LONGEST_LINE_BYTES`.
        """
        seen, step = place, 1 << 16
        while True:
            self.fill(seen + step)
            found = self.data.find(b"\n", seen - self.start)
            if found >= 0:
                return self.start + found + 1
            if self.ended:
                return self.stop
            seen = self.stop
            step = min(2 * step, 16 << 20)
            if seen - place > LONGEST_LINE_BYTES:
                raise InvalidInput(
                    f"{source}: expected lines of at most {LONGEST_LINE_BYTES} bytes, got a longer one at byte {place}"
                )


@contextmanager
def window(file: OpenFile, start: int) -> Iterator[Window]:
    """Open a file's (decompressed) bytes from a place on.

    Raises:
        InvalidInput: it is not compressed as its name says, or is cut off.
    """
    compression = _compression(file)
    try:
        if compression:
            with file.files.open_input_stream(file.path, compression=compression) as stream:
                yield Window(stream, 0)
        else:
            with file.files.open_input_file(file.path) as stream:
                stream.seek(min(start, stream.size()))
                yield Window(stream, start)
    except OSError as error:
        # Codecs and file systems raise the same class.
        if compression and any(word in str(error) for word in ("compress", "inflate")):
            raise InvalidInput(f"{file.source}: expected a file compressed with {compression}: {error}") from error
        raise


def cuts(file: OpenFile, most_bytes: int, *, whole: bool = False) -> Sequence[tuple[int, int | None, int]]:
    """Return stretches as `FileFormat.cuts` does: of equal size, or the whole file where it cannot be cut."""
    if whole or _compression(file):
        return [(0, None, file.size)]
    n = max(1, -(-file.size // max(1, most_bytes)))
    bounds = [file.size * i // n for i in range(n + 1)]
    return [(start, stop, stop - start) for start, stop in pairwise(bounds)]


def read_pieces(file: OpenFile, start: int, stop: int | None, margin: int = 0) -> Iterator[Piece]:
    """Yield the lines that begin in a stretch; a byte order mark is skipped.

    Args:
        file: what to read.
        start: first byte of the stretch.
        stop: the byte after the last, None for the end.
        margin: bytes to show on either side of a piece.

    Raises:
        InvalidInput: a line is longer than `LONGEST_LINE_BYTES`, or the file is not compressed as its name says.
        OSError: the file cannot be read.
    """
    with window(file, max(0, start - max(margin, len(BOM)))) as text:
        first = 0 if text.start else first_place(text)
        place = first if start <= first else text.line_end(start - 1, file.source)
        while stop is None or place < stop:
            end = _piece_end(text, place, stop, file.source)
            if end == place:
                return
            text.fill(end + margin)
            before = text.take(place - margin, place)
            yield Piece(text.take(place, end), place, before, text.take(end, end + margin))
            place = end
            text.leave(place - margin)


def first_place(text: Window) -> int:
    """Return where the text of a file begins, whose first bytes are still in the window."""
    text.fill(len(BOM))
    return len(BOM) if text.data.startswith(BOM) else 0


def line_spans(data: bytes, ends: npt.NDArray[np.int64] | None = None) -> Spans:
    r"""Return the lines that are not empty.

    Args:
        data: bytes that begin with a line.
        ends: which `\n` end a line; None for all of them.
    """
    view = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(view == ord("\n")) if ends is None else ends
    if data and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    stops = ends - ((ends > starts) & (view[np.maximum(ends, 1) - 1] == ord("\r")) if len(view) else 0)
    return np.stack([starts, stops], axis=1)[stops > starts].astype(np.int64, copy=False)


def is_utf8(data: bytes) -> bool:
    """Return whether bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def quote(raw: bytes | str, most: int = 80) -> str:
    """Return a text for a message, shortened."""
    text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
    return repr(text if len(text) <= most else text[:most] + "...")


def _piece_end(text: Window, place: int, stop: int | None, source: str) -> int:
    """Return where the piece that begins at a place ends; the place itself where the stream does."""
    most = place + PIECE_BYTES
    if stop is not None and stop <= most:
        return text.line_end(stop - 1, source)
    text.fill(most)
    if text.ended and text.stop <= most:
        return text.stop
    last = text.data.rfind(b"\n", place - text.start, most - text.start)
    return text.start + last + 1 if last >= 0 else text.line_end(place, source)


def _compression(file: OpenFile) -> str | None:
    return COMPRESSIONS.get(PurePosixPath(file.path).suffix.lower())
