"""Rows on their way from a source to a part or to the reject file, with where they came from."""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands in its source.

    Attributes:
        source: the file, as in `Range.source`; for an image its own path.
        row: number of the row in the file from 0, where that can be known without reading what comes before.
        byte: place of the row's first byte in the (decompressed) file, for text formats.
    """

    source: str
    row: int | None = None
    byte: int | None = None

    def __str__(self) -> str:
        """Return the place in words."""
        if self.row is not None:
            return f"{self.source}, row {self.row}"
        return self.source if self.byte is None else f"{self.source}, byte {self.byte}"


class Locate(Protocol):
    """Tells where a row of a batch stands; called for rejected rows only, so it may be slow."""

    def __call__(self, row: int, /) -> Place:
        """Return the place of the batch's row of this index."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Consecutive rows as a reader yields them.

    Attributes:
        batch: `pyarrow.RecordBatch` with the columns that were asked for, of the types of the job's schema; of any
            number of rows, also none.
        locate: where a row of it stands.
    """

    batch: Any
    locate: Locate


@dataclass(frozen=True, slots=True)
class Unread:
    """One row that could not be parsed.

    Attributes:
        place: where it stands.
        reason: what was expected and what came, naming the column where one is at fault.
        raw: its bytes as they stand in the file, without the line's end; None where it has none.
    """

    place: Place
    reason: str
    raw: bytes | None = None
