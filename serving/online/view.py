"""What a repository shows its readers: which versions are ready, and the state of every version on disk.

A view never changes; a repository that changes shows another. So a reader that takes one view sees one state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from ..contract.errors import NotFound, NotReady
from ..contract.versions import number_of


class Version(Protocol):
    """One version of a model that is held open."""

    @property
    def name(self) -> str:
        """The model's."""
        ...

    @property
    def version(self) -> int:
        """Its number."""
        ...

    @property
    def digest(self) -> str:
        """Digest of its bundle."""
        ...

    def close(self) -> None:
        """Answer what has been accepted and let go of it."""
        ...


V = TypeVar("V", bound=Version)


class State(StrEnum):
    """States of a version, as RepositoryIndex names them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in the index."""

    name: str
    version: int
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class View(Generic[V]):
    """One state of a repository.

    Attributes:
        ready: model -> version -> what answers.
        entries: model and version -> its line in the index.
    """

    ready: Mapping[str, Mapping[int, V]] = field(default_factory=dict)
    entries: Mapping[tuple[str, int], Entry] = field(default_factory=dict)

    def get(self, name: str, version: str = "") -> V:
        """Return a ready version, the newest if none is named.

        Raises:
            NotFound: no such model or version.
            NotReady: it exists but is not loaded.
        """
        versions = self.ready.get(name, {})
        number = number_of(version) if version else max(versions, default=None)
        if number is not None and number in versions:
            return versions[number]
        raise self._missing(name, version)

    def names(self) -> list[str]:
        """Return the names of all models, ready or not."""
        return sorted({entry.name for entry in self.entries.values()})

    def servables(self) -> list[V]:
        """Return all that is ready, by name and version."""
        return [self.ready[name][version] for name in sorted(self.ready) for version in sorted(self.ready[name])]

    def versions(self, name: str) -> list[V]:
        """Return what is ready of a model, the oldest version first."""
        return [servable for _, servable in sorted(self.ready.get(name, {}).items())]

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        return [entry for _, entry in sorted(self.entries.items())]

    def _missing(self, name: str, version: str) -> NotFound | NotReady:
        """Return the error that says why `get` has nothing to give."""
        entries = [entry for entry in self.index() if entry.name == name]
        if not entries:
            return NotFound(f"unknown model {name!r}; this server has {', '.join(map(repr, self.names())) or 'none'}")
        asked = [entry for entry in entries if not version or str(entry.version) == version]
        if not asked:
            known = ", ".join(str(entry.version) for entry in entries)
            return NotFound(f"model {name!r} has no version {version!r}; it has {known}")
        newest = asked[-1]
        return NotReady(
            f"model {name!r} version {newest.version} is {newest.state}: {newest.reason or 'not ready yet'}"
        )
