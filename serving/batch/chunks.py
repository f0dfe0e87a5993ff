"""From blocks of any size, as a reader yields them, to chunks of the size that is scored at once."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .rows import Block, Locate, Place, Unread


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows that are scored at once.

    Attributes:
        batch: `pyarrow.RecordBatch`; None where there are only unread rows.
        unread: rows among or after these that could not be parsed.
    """

    batch: Any
    unread: tuple[Unread, ...]
    _starts: tuple[int, ...] = ()
    _pieces: tuple[tuple[Locate, int], ...] = ()

    @property
    def n_rows(self) -> int:
        """Rows, unread ones included."""
        return len(self.unread) + (0 if self.batch is None else self.batch.num_rows)

    def place(self, row: int) -> Place:
        """Return where the batch's row of this index stands in its source."""
        i = bisect_right(self._starts, row) - 1
        locate, first = self._pieces[i]
        return locate(first + row - self._starts[i])


def chunks(items: Iterable[Block | Unread], rows: int) -> Iterator[Chunk]:
    """Yield all rows in their order, in chunks of at most `rows` rows.

    Blocks are cut evenly, into as few pieces as that takes, and a piece of half the rows or more is a chunk of its own,
    which nothing is copied for; smaller ones are put together.
    """
    gathered = _Gathered()
    for item in items:
        if isinstance(item, Unread):
            gathered.unread.append(item)
            if len(gathered.unread) >= rows:
                yield gathered.chunk()
            continue
        n_pieces = -(-item.batch.num_rows // rows)
        for i in range(n_pieces):
            start, stop = (item.batch.num_rows * j // n_pieces for j in (i, i + 1))
            if gathered.n_rows + stop - start > rows:
                yield gathered.chunk()
            gathered.add(item, start, stop - start)
            if 2 * gathered.n_rows >= rows:
                yield gathered.chunk()
    if gathered.n_rows or gathered.unread:
        yield gathered.chunk()


@dataclass(slots=True)
class _Gathered:
    """The chunk that is being filled."""

    n_rows: int = 0
    batches: list[Any] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    pieces: list[tuple[Locate, int]] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def add(self, block: Block, first: int, n: int) -> None:
        self.batches.append(block.batch.slice(first, n))
        self.starts.append(self.n_rows)
        self.pieces.append((block.locate, first))
        self.n_rows += n

    def chunk(self) -> Chunk:
        """Return what was gathered and begin anew."""
        batch = self.batches[0] if len(self.batches) == 1 else pa.concat_batches(self.batches) if self.batches else None
        made = Chunk(batch, tuple(self.unread), tuple(self.starts), tuple(self.pieces))
        self.n_rows = 0
        for part in (self.batches, self.starts, self.pieces, self.unread):
            part.clear()
        return made
