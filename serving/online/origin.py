"""Where what is served comes from: a folder on disk, or a store that it is copied from first.

A server knows no more of a store than this; `remote.copy` has the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StoreState(Protocol):
    """A store at one moment, as those who watch the server see it."""

    @property
    def url(self) -> str:
        """Where it is, without what may be secret."""
        ...

    @property
    def is_copying(self) -> bool:
        """Whether the first copy is still under way, before which nothing can be served."""
        ...

    @property
    def is_up(self) -> bool | None:
        """Whether the last look at it succeeded; None before the first one has ended."""
        ...

    @property
    def trouble(self) -> str:
        """Why the last look did not succeed; "" where it did."""
        ...

    @property
    def seen_s(self) -> float:
        """When a look has last succeeded, in seconds since the epoch; 0 where none has."""
        ...

    @property
    def left_out(self) -> Mapping[tuple[str, int], str]:
        """Model and version that it has, but that could not be brought -> why."""
        ...


class Origin(Protocol):
    """Where the folder to serve comes from."""

    def start(self) -> Path:
        """Return the folder once it is there, which may take long; raises why there is nothing to serve."""
        ...

    def state(self) -> StoreState | None:
        """Return what there is to see of the store now, None where there is none; any thread may ask."""
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """An origin that is there: a repository or one bundle on disk."""

    path: Path

    def start(self) -> Path:
        """Return the folder."""
        return self.path

    def state(self) -> StoreState | None:
        """Return None: there is no store."""
        return None
