"""What the URL of an input stands for: one file, a folder, or the files below a folder that fit a pattern."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from pyarrow import fs

from ...contract.errors import InvalidInput
from ..locations import resolve
from .format import OpenFile

_ANY_DEPTH = "**"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Names of a path's parts below a root, with `*`, `?`, `[...]`, and `**` for any number of folders.

    A folder that fits stands for all that lies below it.
    """

    parts: tuple[str, ...]

    def matches(self, path: str) -> bool:
        """Return whether a file's path, or a folder that it lies in, fits."""
        return _fits(self.parts, path.split("/"))

    def may_hold(self, folder: str) -> bool:
        """Return whether files below a folder may fit."""
        fixed = self.parts.index(_ANY_DEPTH) if _ANY_DEPTH in self.parts else len(self.parts)
        pairs = zip(self.parts[:fixed], folder.split("/"), strict=False)
        return all(fnmatch.fnmatchcase(name, part) for part, name in pairs)


@dataclass(frozen=True, slots=True)
class Root:
    """Where an input lies.

    Attributes:
        files: `pyarrow.fs.FileSystem`.
        folder: what the paths of its files are relative to.
        name: of the file, where the input is one; else "".
        pattern: what files must fit, if there is one.
    """

    files: Any
    folder: str
    name: str = ""
    pattern: Pattern | None = None

    @classmethod
    def find(cls, url: str) -> Self:
        """Look up a path or URL.

        Raises:
            InvalidInput: nothing is there.
            ConfigurationError: the scheme is unknown.
        """
        base, parts = _split(url)
        if parts and "://" not in url and _kind(*resolve(url)) is not fs.FileType.NotFound:
            base, parts = url, ()
        files, path = resolve(base)
        kind = _kind(files, path)
        if kind is fs.FileType.File and not parts:
            folder, _, name = path.rpartition("/")
            return cls(files, folder or path[: len(path) - len(name)], name)
        if kind is not fs.FileType.Directory:
            raise InvalidInput(f"{url}: expected a file, a folder or a pattern, there is nothing of this name")
        return cls(files, path if path == "/" else path.rstrip("/"), pattern=Pattern(parts) if parts else None)

    @property
    def prefix(self) -> str:
        """Return what stands before the relative path of each file."""
        return self.folder if not self.folder or self.folder.endswith("/") else f"{self.folder}/"

    def open_file(self, source: str, size: int = 0) -> OpenFile:
        """Return a file of the input, to be read or, with its size, to be cut."""
        return OpenFile(self.files, self.prefix + source, source, size)


def _kind(files: Any, path: str) -> Any:
    return files.get_file_info(path).type


def _split(url: str) -> tuple[str, tuple[str, ...]]:
    """Return the part of a path or URL before its first wild card, and the parts of the pattern behind it."""
    scheme, mark, rest = url.rpartition("://")
    options = ""
    if mark:
        rest, question, tail = rest.partition("?")
        options = question + tail
    parts = rest.split("/")
    first = next((i for i, part in enumerate(parts) if re.search(r"[*\[?]", part)), None)
    if first is None or (mark and first == 0):
        return url, ()
    base = "/".join(parts[:first])
    if not mark and not base:
        base = "/" if first else "."
    return f"{scheme}{mark}{base}{options}", tuple(part for part in parts[first:] if part)


def _fits(pattern: Sequence[str], names: Sequence[str]) -> bool:
    if not pattern:
        return True
    if pattern[0] == _ANY_DEPTH:
        return any(_fits(pattern[1:], names[i:]) for i in range(len(names)))
    return bool(names) and fnmatch.fnmatchcase(names[0], pattern[0]) and _fits(pattern[1:], names[1:])
