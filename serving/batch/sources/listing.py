"""The files of an input, sorted by path.

Names that begin with `_` or `.` are passed over, with all that lies below them: what other programs keep beside their
data, and the records of a batch job whose output is read here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyarrow import fs

from ...contract.errors import InvalidInput
from ..locations import is_local
from ..spec import InputFile
from .root import Root

_CHANGED = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""Where the file systems of fsspec say when a file was changed."""


def list_files(root: Root, url: str) -> list[InputFile]:
    """Return the input's files, sorted by their paths' code points.

    Raises:
        InvalidInput: there are none, or a name is not UTF-8.
        OSError: a folder cannot be listed.
    """
    if root.name:
        entry = _looked_up(root.files, root.prefix + root.name)
        return [InputFile(root.name, entry.size, entry.mtime_ns)]
    found = _local(root, "", ()) if is_local(root.files) else _remote(root)
    files = sorted((file for file in found if _is_wanted(root, file.path)), key=lambda file: file.path)
    if not files:
        fitting = " that fits" if root.pattern else ""
        raise InvalidInput(f"{url}: expected files of rows, there is none{fitting}")
    return files


def is_hidden(name: str) -> bool:
    """Return whether files and folders of this name are passed over."""
    return name.startswith(("_", "."))


def _is_wanted(root: Root, path: str) -> bool:
    return root.pattern is None or root.pattern.matches(path)


def _local(root: Root, folder: str, within: tuple[tuple[int, int], ...]) -> Iterator[InputFile]:
    """Yield the files below a folder of this machine; links are followed, but not in circles."""
    with os.scandir(root.prefix + folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            path = f"{folder}{entry.name}"
            if entry.is_dir():
                inode = (entry.stat().st_dev, entry.stat().st_ino)
                if inode not in within and (root.pattern is None or root.pattern.may_hold(path)):
                    yield from _local(root, f"{path}/", (*within, inode))
            elif entry.is_file():
                _check_name(path)
                stat = entry.stat()
                yield InputFile(path, stat.st_size, stat.st_mtime_ns)


def _check_name(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{path.encode(errors='replace').decode()}: expected a name in UTF-8") from error


def _remote(root: Root) -> Iterator[InputFile]:
    """Yield the files of a store: all at once, or with a pattern folder by folder, where it may hold some."""
    folders = [root.folder]
    while folders:
        for entry in _listed(root.files, folders.pop(), recursive=root.pattern is None):
            path = entry.path.removeprefix(root.prefix)
            if any(map(is_hidden, path.split("/"))):
                continue
            if not entry.is_folder:
                yield InputFile(path, entry.size, entry.mtime_ns)
            elif root.pattern is not None and root.pattern.may_hold(path):
                folders.append(entry.path)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    is_folder: bool
    size: int
    mtime_ns: int


def _listed(files: Any, folder: str, *, recursive: bool) -> Iterator[_Entry]:
    fsspec_files = _fsspec_of(files)
    if fsspec_files is None:
        for info in files.get_file_info(fs.FileSelector(folder, recursive=recursive)):
            yield _entry(info)
        return
    fsspec_files.invalidate_cache()
    told = fsspec_files.find(folder, detail=True).values() if recursive else fsspec_files.ls(folder, detail=True)
    for info in told:
        yield _fsspec_entry(info)


def _looked_up(files: Any, path: str) -> _Entry:
    fsspec_files = _fsspec_of(files)
    return _entry(files.get_file_info(path)) if fsspec_files is None else _fsspec_entry(fsspec_files.info(path))


def _fsspec_of(files: Any) -> Any | None:
    """Return the file system of fsspec that one of pyarrow's wraps, if it does: it tells more."""
    handler = getattr(files, "handler", None)
    return handler.fs if isinstance(handler, fs.FSSpecHandler) else None


def _entry(info: Any) -> _Entry:
    return _Entry(info.path.rstrip("/"), info.type is fs.FileType.Directory, info.size or 0, info.mtime_ns or 0)


def _fsspec_entry(told: Mapping[str, Any]) -> _Entry:
    return _Entry(told["name"].rstrip("/"), told["type"] == "directory", told.get("size") or 0, _changed_ns(told))


def _changed_ns(told: Mapping[str, Any]) -> int:
    """Return when a file was changed, as a file system of fsspec tells it; 0 where it does not."""
    for name in _CHANGED:
        value = told.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            return round(value.timestamp() * 1e6) * 1000
        if isinstance(value, int | float):
            return round(value * 1e9)
    return 0
