"""What metrics need of the rest of the server, so that they import nothing that runs a model."""

from typing import Protocol

from ..counters import Counters
from .snapshot import Snapshot


class Counting(Protocol):
    """Counters; see `statistics.Statistics`."""

    def all(self, *, by_size: bool = True) -> list[Counters]:
        """Return what was counted, then what each member has; `by_size` says whether with batches by their size."""
        ...


class Opened(Protocol):
    """An open version; see `servable.Servable`."""

    @property
    def statistics(self) -> Counting:
        """Its counters, which stay readable once it is closed."""
        ...

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be executed."""
        ...


class Subject(Protocol):
    """A server as those who watch it see it; any thread may ask."""

    def is_ready(self) -> bool:
        """Return whether the server accepts work."""
        ...

    def check(self, name: str, version: str) -> None:
        """Return if a model, or one version of it, is ready; raises `NotFound` or `NotReady` otherwise."""
        ...

    def snapshot(self) -> Snapshot:
        """Return all there is to know of it now."""
        ...
