"""Columns that the names of folders give: `year=2026/month=1/rows.parquet`.

A column is int64 where each of its values is a whole number as a program writes it, without leading zeros; else text,
percent-decoded. `__HIVE_DEFAULT_PARTITION__` is null.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from ...contract.errors import InvalidInput
from ..spec import InputFile

_NULL = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")


def partition_fields(files: Sequence[InputFile]) -> list[Any]:
    """Return a `pyarrow.Field` for each partition column, in the order of the folders.

    Raises:
        InvalidInput: files lie in folders of different columns; names two.
    """
    folders: dict[str, str] = {}
    for file in files:
        folders.setdefault(file.path.rpartition("/")[0], file.path)
    (first, example), *_ = folders.items()
    names = [name for name, _ in _pairs(first)]
    texts: dict[str, set[str]] = {name: set() for name in names}
    for folder, path in folders.items():
        pairs = _pairs(folder)
        if [name for name, _ in pairs] != names:
            raise InvalidInput(
                f"{path}: expected folders for the columns {names}, as {example} has, got {[name for name, _ in pairs]}"
            )
        for name, text in pairs:
            texts[name].add(text)
    return [pa.field(name, _type_of(texts[name])) for name in names]


def partition_values(path: str, names: Sequence[str]) -> dict[str, str | None]:
    """Return the text of each partition column for a file's path, None for null.

    Raises:
        InvalidInput: the path has no folder for one.
    """
    found = dict(_pairs(path.rpartition("/")[0]))
    if missing := [name for name in names if name not in found]:
        raise InvalidInput(f"{path}: expected it to lie in a folder {missing[0]}=...")
    return {name: None if found[name] == _NULL else unquote(found[name]) for name in names}


def _pairs(folder: str) -> list[tuple[str, str]]:
    halves = (part.partition("=") for part in folder.split("/"))
    return [(unquote(name), text) for name, mark, text in halves if mark and name]


def _type_of(texts: set[str]) -> Any:
    values = [unquote(text) for text in texts if text != _NULL]
    whole = values and all(_WHOLE.fullmatch(text) and -(2**63) <= int(text) < 2**63 for text in values)
    return pa.int64() if whole else pa.string()
