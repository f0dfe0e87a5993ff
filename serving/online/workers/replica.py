"""A worker's repository: it holds open what the supervisor tells it to, and shows the view that is current for all."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...engine.runtime import trim_heap
from ..servable import Servable
from ..siblings import OpenServable
from ..view import Entry, View
from .board import Board
from .control import Connection
from .spelling import Spelled, read_view


@dataclass(frozen=True, slots=True)
class _Step:
    """A view and the generation from which on it is current."""

    generation: int
    view: View[Servable]


class Replica:
    """What `Repository` is to a process alone. Any thread may call what reads, `load` and `unload`.

    `open`, `stage` and `drop` are the supervisor's, one at a time.
    """

    def __init__(
        self,
        board: Board,
        place: int,
        supervisor: Connection,
        open_servable: OpenServable,
    ) -> None:
        """Store the parts.

        Args:
            board: says which view is current.
            place: this worker's.
            supervisor: is asked for changes.
            open_servable: loads one version, given also the count of its waiting rows.
        """
        self._board = board
        self._place = place
        self._supervisor = supervisor
        self._open_servable = open_servable
        self._changing = threading.Lock()
        self._open: dict[int, Servable] = {}
        first = _Step(0, View())
        self._steps = (first, first)

    @property
    def view(self) -> View[Servable]:
        """What is current now, in every worker."""
        before, after = self._steps
        return after.view if self._board.generation >= after.generation else before.view

    def get(self, name: str, version: str = "") -> Servable:
        """Return a ready servable, the newest version if none is named; raises what `View.get` does."""
        return self.view.get(name, version)

    def names(self) -> list[str]:
        """Return the names of all models, ready or not."""
        return self.view.names()

    def servables(self) -> list[Servable]:
        """Return all ready servables, by name and version."""
        return self.view.servables()

    def versions(self, name: str) -> list[Servable]:
        """Return a model's ready servables, the oldest version first."""
        return self.view.versions(name)

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        return self.view.index()

    def load(self, name: str) -> None:
        """Have the supervisor load a model in all workers; raises what `Repository.load` does."""
        self._supervisor.ask("load", name=name)

    def unload(self, name: str) -> None:
        """Have the supervisor unload a model in all workers; raises what `Repository.unload` does."""
        self._supervisor.ask("unload", name=name)

    def load_failures(self) -> Mapping[str, int]:
        """Return model -> how often one of its versions could not be loaded."""
        failures: dict[str, int] = self._supervisor.ask("load_failures")
        return failures

    def close(self) -> None:
        """Answer what has been accepted and let go of every servable."""
        for key in list(self._open):
            self.drop(key)

    def open(self, key: int, name: str, version: int, path: str) -> str:
        """Open a version, which nobody sees yet, and return the digest of its bundle."""
        waiting = self._board.count(self._place, key)
        servable = self._open_servable(name, version, Path(path), waiting)
        with self._changing:
            self._open[key] = servable
        return servable.bundle.digest

    def stage(self, generation: int, view: Spelled) -> None:
        """Keep a view at hand, which is current once the board says so."""
        before = _Step(0, self.view)
        self._steps = (before, _Step(generation, read_view(view, self._open)))

    def drop(self, key: int) -> None:
        """Return once a version, if it is open here, has answered what it has accepted and is gone."""
        before, after = self._steps
        if before is not after and self._board.generation >= after.generation:
            self._steps = (after, after)  # the view before holds what is to go
        with self._changing:
            servable = self._open.pop(key, None)
        if servable is None:
            return
        servable.close()
        del servable
        trim_heap()

    def open_now(self) -> dict[int, Servable]:
        """Return all that is open, by its key."""
        with self._changing:
            return dict(self._open)
