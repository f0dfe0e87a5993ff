"""From the names of an input's files to its format."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from ...contract.errors import InvalidInput
from ..spec import Format, InputFile
from .lines import COMPRESSIONS

_TEXT_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
"""May be compressed, with a further suffix."""

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".arrows": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".npz": "npz",
    ".bmp": "images",
    ".gif": "images",
    ".jpeg": "images",
    ".jpg": "images",
    ".png": "images",
    ".tif": "images",
    ".tiff": "images",
    ".webp": "images",
    **_TEXT_SUFFIXES,
}


def format_of_files(files: Sequence[InputFile]) -> Format:
    """Return the format of files by their suffixes.

    Raises:
        InvalidInput: a suffix is unknown, or two files are of different formats; names them.
    """
    kinds: dict[str, str] = {}
    for file in files:
        suffix = _suffix(file.path)
        if suffix not in _SUFFIXES:
            raise InvalidInput(
                f"{file.path}: expected a suffix that tells the format ({', '.join(_SUFFIXES)}; text also with "
                f"{', '.join(COMPRESSIONS)}); give the format otherwise"
            )
        kinds.setdefault("tsv" if suffix == ".tsv" else _SUFFIXES[suffix], file.path)
        if len(kinds) > 1:
            (kind, path), (other_kind, other_path) = kinds.items()
            raise InvalidInput(f"expected files of one format, got {path} ({kind}) and {other_path} ({other_kind})")
    return _SUFFIXES[_suffix(files[0].path)]


def delimiter_of(files: Sequence[InputFile], delimiter: str) -> str:
    """Return the delimiter between cells: a tab in `.tsv` files, unless another one than the comma is given."""
    return "\t" if delimiter == "," and _suffix(files[0].path) == ".tsv" else delimiter


def _suffix(path: str) -> str:
    name = PurePosixPath(path.lower())
    if name.suffix in COMPRESSIONS and PurePosixPath(name.stem).suffix in _TEXT_SUFFIXES:
        return PurePosixPath(name.stem).suffix
    return name.suffix
