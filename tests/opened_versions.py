"""What a repository is given in place of servables: it opens no graph, and keeps the book."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


class Opened:
    """What a repository holds of a version."""

    def __init__(self, name: str, version: int, path: Path, digest: str) -> None:
        self.name, self.version, self.path, self.digest = name, version, path, digest
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Opener:
    """Opens versions, except those that are named as broken.

    Attributes:
        opened: all that it has opened.
        tried: what it was to open.
        broken: `<model>/<version>` -> what opening it raises.
        during: called whenever it is to open something.
    """

    def __init__(self, digest: Callable[[Path], str]) -> None:
        """Store what returns the digest of a bundle, or raises what is wrong with it."""
        self._digest = digest
        self.opened: list[Opened] = []
        self.tried: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.during: Callable[[], object] = lambda: None

    def __call__(self, name: str, version: int, path: Path) -> Any:
        self.tried.append(key := f"{name}/{version}")
        self.during()
        if key in self.broken:
            raise self.broken[key]
        self.opened.append(Opened(name, version, path, self._digest(path)))
        return self.opened[-1]

    def open_now(self) -> list[str]:
        return sorted(f"{one.name}/{one.version}" for one in self.opened if not one.closed)
