"""Reads the rows that a task's ranges name, with the columns and types of the job."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ...contract.errors import InvalidInput
from ..rows import Block, Unread
from ..spec import InputSpec
from ..task import Range
from .format import FileFormat
from .formats import file_format
from .partitions import partition_values
from .root import Root


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads an input. Immutable; any number of threads may read at once.

    Attributes:
        spec: how the input is read.
    """

    spec: InputSpec
    _root: Root
    _form: FileFormat

    def read(self, part: Range, columns: Sequence[str], batch_rows: int) -> Iterator[Block | Unread]:
        """Yield the rows of a stretch in their order; memory does not grow with it.

        Args:
            part: the stretch.
            columns: names of the columns to read, at least one; blocks hold these in this order.
            batch_rows: rows of a block at most; there are fewer where rows are large.

        Raises:
            InvalidInput: the file is damaged, lacks a column, or has one of a type that is not the job's.
            OSError: it cannot be read.
        """
        own = [name for name in columns if name not in self.spec.partitions]
        # A batch without columns has no rows either.
        read = own or [name for name in self.spec.schema.names if name not in self.spec.partitions][:1]
        items = self._form.read(
            self._root.open_file(part.source), part.start, part.stop, read, self.spec.schema, batch_rows
        )
        try:
            if len(own) == len(columns):
                yield from items
            else:
                yield from self._partitioned(items, part.source, columns)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise InvalidInput(f"{part.source}: expected {self.spec.format}, got a damaged file: {error}") from error
        except OSError as error:
            if part.source in str(error):
                raise
            raise OSError(*filter(None, [error.errno]), f"{part.source}: {error}") from error

    def _partitioned(
        self, items: Iterator[Block | Unread], source: str, columns: Sequence[str]
    ) -> Iterator[Block | Unread]:
        """Yield rows with the columns that the folders' names give."""
        schema = pa.schema([self.spec.schema.field(name) for name in columns])
        texts = partition_values(source, self.spec.partitions)
        values = {name: pa.scalar(text).cast(self.spec.schema.field(name).type) for name, text in texts.items()}
        for item in items:
            if isinstance(item, Unread):
                yield item
                continue
            arrays: list[Any] = [
                pa.repeat(values[name], item.batch.num_rows) if name in values else item.batch.column(name)
                for name in columns
            ]
            yield Block(pa.RecordBatch.from_arrays(arrays, schema=schema), item.locate)


def open_reader(spec: InputSpec) -> Reader:
    """Return the reader of an input.

    Raises:
        InvalidInput: it is not there.
        ConfigurationError: its URL's scheme is unknown here.
    """
    form = file_format(spec)
    return Reader(spec, Root.find(spec.url), form)
