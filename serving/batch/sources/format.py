"""What the reader asks of each file format."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..rows import Block, Unread


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file of the input and where it lies.

    Attributes:
        files: `pyarrow.fs.FileSystem`.
        path: its path there.
        source: its path below the input's root: what `Place.source` says.
        size: bytes, for `cuts`; 0 where the file is only read.
    """

    files: Any
    path: str
    source: str
    size: int


class FileFormat(Protocol):
    """One format. Immutable and picklable; every method may be called from any number of threads at once."""

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:
        """Return the file's `pyarrow.Schema`.

        Args:
            file: the first of the input.
            types: column -> `pyarrow.DataType` that the job wants of it, for formats that state no types.

        Raises:
            InvalidInput: the file is not of this format; names the file and what came.
        """
        ...

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:
        """Return `(start, stop, bytes)` of consecutive stretches of about `most_bytes`, as `Range` counts them.

        They cover every row once. Only the file's own table of contents is read, where it has one.
        """
        ...

    def read(  # noqa: PLR0917  # called in one place
        self, file: OpenFile, start: int, stop: int | None, columns: Sequence[str], schema: Any, batch_rows: int
    ) -> Iterator[Block | Unread]:
        """Yield the rows of a stretch in their order, in memory that does not grow with it.

        Args:
            file: what to read.
            start: first unit.
            stop: the unit after the last, None for the end.
            columns: names to read; every block holds exactly these, in this order.
            schema: the job's, with the type of every column; what cannot be cast to it without loss is unread.
            batch_rows: rows of a block at most.

        Raises:
            InvalidInput: the file is damaged, or lacks a column; names file and column.
            OSError: it cannot be read.
        """
        ...
