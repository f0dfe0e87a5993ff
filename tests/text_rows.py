"""What a text format reads, put together from all stretches of a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from widedeep.serving.batch.rows import Block, Place, Unread
from widedeep.serving.batch.sources.format import FileFormat, OpenFile


@dataclass
class Rows:
    """Good rows with their places, and the others."""

    good: list[dict[str, Any]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """Return why rows are unread."""
        return [item.reason for item in self.unread]


def read_all(
    form: FileFormat,
    file: OpenFile,
    schema: Any,
    *,
    most_bytes: int = 1 << 30,
    columns: Sequence[str] | None = None,
    batch_rows: int = 1000,
) -> Rows:
    """Return the rows of all stretches that a file is cut into, in the order of the stretches."""
    out = Rows()
    names = schema.names if columns is None else columns
    for start, stop, _ in form.cuts(file, most_bytes):
        for item in form.read(file, start, stop, names, schema, batch_rows):
            if isinstance(item, Block):
                assert item.batch.num_rows <= batch_rows
                assert item.batch.schema.names == list(names)
                out.good += item.batch.to_pylist()
                out.places += [item.locate(i) for i in range(item.batch.num_rows)]
            else:
                out.unread.append(item)
    return out
