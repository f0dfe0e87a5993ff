"""A server as those who watch it see it: its repository and what its processes say, in one snapshot."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from ..origin import Origin
from ..view import Entry
from .observation import Observation
from .snapshot import Snapshot


class Shown(Protocol):
    """A repository as it is shown; see `repository.Repository`."""

    def get(self, name: str, version: str = "") -> object:
        """Return a ready version, or raise `NotFound` or `NotReady`."""
        ...

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        ...

    def load_failures(self) -> Mapping[str, int]:
        """Return model -> how often one of its versions could not be loaded."""
        ...


class Watch:
    """What there is to see of a server. Any method may be called from any thread. Owner: the server."""

    def __init__(
        self,
        repository: Shown,
        observe: Callable[[], Observation],
        is_ready: Callable[[], bool],
        *,
        n_workers: int = 1,
        origin: Origin | None = None,
    ) -> None:
        """Store the parts; the server counts as started now.

        Args:
            repository: what is served.
            observe: says what the server's processes have done.
            is_ready: whether the server accepts work.
            n_workers: processes that serve.
            origin: where what is served comes from.
        """
        self._repository = repository
        self._observe = observe
        self._n_workers = n_workers
        self._origin = origin
        self._started_s = time.time()
        self.is_ready = is_ready

    def check(self, name: str, version: str = "") -> None:
        """Return if a model, or one version of it, is ready; raises `NotFound` or `NotReady` otherwise."""
        self._repository.get(name, version)

    def snapshot(self) -> Snapshot:
        """Return all there is to know now."""
        observation = self._observe()
        return Snapshot(
            is_ready=self.is_ready(),
            started_s=self._started_s,
            now_s=time.time(),
            n_workers=self._n_workers,
            n_workers_up=observation.n_processes,
            versions=sorted(observation.versions, key=lambda seen: seen.facts.key),
            entries=self._repository.index(),
            refusals=observation.refusals,
            load_failures=self._repository.load_failures(),
            calls_under_way=observation.calls_under_way,
            front_end=observation.front_end,
            certificates=observation.certificates,
            process=observation.process,
            store=None if self._origin is None else self._origin.state(),
        )
