"""What a server that is one of several workers knows of the others; a server alone has none.

`workers.worker` is what stands behind it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .counters import Counters
from .servable import Servable
from .tally import SharedCount
from .view import Entry


class Models(Protocol):
    """A repository as its server and its servicer use it; see `repository.Repository`."""

    def close(self) -> None:
        """Answer what has been accepted and let go of everything."""
        ...

    def get(self, name: str, version: str = "") -> Servable:
        """Return a ready servable."""
        ...

    def names(self) -> list[str]:
        """Return the names of all models, ready or not."""
        ...

    def servables(self) -> list[Servable]:
        """Return all ready servables."""
        ...

    def versions(self, name: str) -> list[Servable]:
        """Return a model's ready servables."""
        ...

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        ...

    def load_failures(self) -> Mapping[str, int]:
        """Return model -> how often one of its versions could not be loaded."""
        ...

    def load(self, name: str) -> None:
        """Serve a model as its folder is now."""
        ...

    def unload(self, name: str) -> None:
        """Stop serving a model."""
        ...


class OpenServable(Protocol):
    """Loads one version, which counts the rows that wait for it where it is told."""

    def __call__(self, name: str, version: int, path: Path, waiting: SharedCount | None = None) -> Servable:
        """Return it warmed up and verified."""
        ...


class Siblings(Protocol):
    """The workers of one server, as one of them sees them all. May be called from any thread."""

    def repository(self, open_servable: OpenServable) -> Models:
        """Return the repository that all of them follow; called once, first."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the server accepts work, which is true of all workers or of none."""
        ...

    @property
    def calls(self) -> SharedCount:
        """The count of calls that wait."""
        ...

    @property
    def streams(self) -> SharedCount:
        """The count of open streams."""
        ...

    def counters(self, servables: Sequence[Servable]) -> Sequence[Sequence[Counters]]:
        """Return what all workers have counted for each servable, then for its members."""
        ...
