"""From what the user names to the input's files and the columns that they have in common."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ...contract.errors import InvalidInput
from ..locations import absolute
from ..spec import Format, InputFile, InputSpec
from .formats import file_format
from .listing import list_files
from .partitions import partition_fields
from .root import Root
from .suffixes import delimiter_of, format_of_files


def discover(
    url: str,
    *,
    format: Format | None = None,  # noqa: A002  # as the command's option
    types: Mapping[str, Any],
    delimiter: str = ",",
    multiline: bool = False,
    image_column: str = "image",
) -> tuple[InputSpec, list[InputFile]]:
    """Return how an input is read, and its files, sorted by path. Only the first file that is not empty is opened.

    Args:
        url: a file, a folder, a folder with partitions (`year=2026/`) or of images, or a pattern (`data/*.parquet`).
        format: of the files; None to go by their suffixes.
        types: column -> `pyarrow.DataType` that the job wants of it, for formats that state no types.
        delimiter: between cells of CSV; `.tsv` files have tabs.
        multiline: whether quoted cells may hold line ends.
        image_column: name of the column for the bytes of images.

    Raises:
        InvalidInput: nothing is there, the formats of the files differ or are unknown, or the first cannot be read.
        ConfigurationError: the URL's scheme is unknown, or the delimiter is none.
        OSError: the file system fails.
    """
    root = Root.find(absolute(url))
    files = list_files(root, url)
    kind = format or format_of_files(files)
    first = next((file for file in files if file.size), None)
    if first is None:
        raise InvalidInput(f"{url}: expected files of rows, got only empty files, such as {files[0].path}")
    spec = InputSpec(
        url=absolute(url),
        format=kind,
        schema=pa.schema([]),
        delimiter=delimiter_of(files, delimiter),
        multiline=multiline,
        image_column=image_column,
    )
    own = file_format(spec).schema(root.open_file(first.path, first.size), types)
    partitions = [] if root.name else partition_fields(files)
    return _with_columns(spec, own, partitions, first.path), files


def list_again(spec: InputSpec) -> list[InputFile]:
    """Return the files of an input as they are now, sorted by path.

    Raises:
        InvalidInput: nothing is there any more.
        OSError: the file system fails.
    """
    return list_files(Root.find(spec.url), spec.url)


def digest(files: Iterable[InputFile]) -> str:
    """Return the SHA-256 of the paths, sizes and times of files, in hex."""
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(f"{file.path}\0{file.size}\0{file.mtime_ns}\0".encode())
    return hashed.hexdigest()


def _with_columns(spec: InputSpec, own: Any, partitions: list[Any], source: str) -> InputSpec:
    """Return a spec with the columns of the files, then those of the folders, which stand before files' of that name.

    Fields are nullable and without metadata, since the next file may differ in both.
    """
    names = [item.name for item in partitions]
    fields = [pa.field(item.name, item.type) for item in own if item.name not in names] + partitions
    all_names = [item.name for item in fields]
    if twice := sorted({name for name in all_names if all_names.count(name) > 1}):
        raise InvalidInput(f"{source}: expected each column once, got {twice} more than once")
    return replace(spec, schema=pa.schema(fields), partitions=tuple(names))
