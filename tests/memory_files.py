"""Files of a batch job's input that live in memory."""

import itertools

from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs
from widedeep.serving.batch.sources.format import OpenFile

_numbers = itertools.count()


def memory_file(data: bytes, name: str = "rows.csv") -> OpenFile:
    """Return a file of its own with these bytes; a suffix such as `.gz` is part of its name."""
    files = MemoryFileSystem()
    path = f"/{next(_numbers)}/{name}"
    files.pipe_file(path, data)
    return OpenFile(fs.PyFileSystem(fs.FSSpecHandler(files)), path, name, len(data))
