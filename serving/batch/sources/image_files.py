"""Folders of images: each file is a row, with its bytes as they are.

<image column>  binary  the file's bytes; decoding is left to the binding
path            string  as in `Range.source`
label           string  name of the folder that it lies in directly, "" at the root
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ...contract.errors import InvalidInput
from ..rows import Block, Place, Unread
from .format import OpenFile


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """Image files.

    Attributes:
        column: name of the column that holds their bytes.
    """

    column: str = "image"

    def schema(self, file: OpenFile, types: Mapping[str, Any]) -> Any:  # noqa: ARG002  # always the same
        """Return the three columns."""
        return pa.schema({self.column: pa.binary()} | {name: pa.string() for name in ("path", "label")})

    def cuts(self, file: OpenFile, most_bytes: int) -> Sequence[tuple[int, int | None, int]]:  # noqa: ARG002
        """Return the file as a whole."""
        return [(0, None, file.size)]

    def read(  # noqa: PLR0917  # as FileFormat says
        self,
        file: OpenFile,
        start: int,  # noqa: ARG002  # one row
        stop: int | None,  # noqa: ARG002
        columns: Sequence[str],
        schema: Any,
        batch_rows: int,  # noqa: ARG002
    ) -> Iterator[Block | Unread]:
        """Yield the image, or the reason why it cannot be read."""
        place = Place(file.source)
        values: dict[str, Any] = {
            "path": file.source,
            "label": file.source.rpartition("/")[0].rpartition("/")[2],
        }
        if missing := [name for name in columns if name != self.column and name not in values]:
            raise InvalidInput(
                f"{file.source}: expected the column {missing[0]!r}, an image has {self.column!r}, path, label"
            )
        if self.column in columns:
            try:
                with file.files.open_input_stream(file.path, compression=None) as stream:
                    values[self.column] = stream.readall()
            except OSError as error:
                yield Unread(place, f"expected a readable image file: {error}")
                return
        want = pa.schema([schema.field(name) for name in columns])
        arrays = [pa.array([values[item.name]], item.type) for item in want]
        yield Block(pa.RecordBatch.from_arrays(arrays, schema=want), lambda _: place)
