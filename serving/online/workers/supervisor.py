"""The supervisor: owns the repository's state and the port of several workers, and stands for them as one server.

It holds no gRPC object and no onnxruntime session, so that nothing but a load of its own can slow it down or end it.
A worker that dies is replaced by one in the same state, while the others go on; so is the nursery they come from.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

from ...contract.errors import ExecutionError, WidedeepError
from ...settings import ServeSettings
from ..metrics.site import Site
from ..metrics.watch import Watch
from ..origin import Folder, Origin
from ..polling import Poller
from ..repository import Repository, Source
from .board import Board
from .control import Connection, ConnectionLost
from .crew import Crew, Deployed, Mate
from .nursery import Nursery
from .overview import Overview
from .port import hold_port
from .restarts import delay_s

_LOG = logging.getLogger(__name__)
_RECORD_S = 1.0
"""How often workers are asked what they have counted lately; so much of it may be lost with one that dies."""


class Supervisor:
    """A server of several workers, which starts and stops as `Server` does.

    Order of calls: `start`, then `stop`, from the same thread. Owner: the command line. When it goes without `stop`,
    its workers see their sockets close and end at once.
    """

    def __init__(self, origin: Path | Origin, settings: ServeSettings, *, failed: Callable[[], None]) -> None:
        """Store the settings; `start` does the work.

        Args:
            origin: a repository or one bundle, or what brings one.
            settings: of the server; `workers` says how many there are.
            failed: called once, from another thread, when processes die so often that going on is of no use.
        """
        self._origin = Folder(origin) if isinstance(origin, Path) else origin
        self._settings = settings
        self._failed = failed
        self._lost: SimpleQueue[Mate | None] = SimpleQueue()
        self._lives = count()
        self._summary: list[str] = []
        self._is_stopping = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="widedeep-tender", daemon=True)

    def start(self) -> None:
        """Take the port, have every model loaded by every worker, then listen, then turn ready.

        Raises:
            ConfigurationError: a port is taken, nothing to serve, a provider is missing or meant for no member here.
            BundleError: a bundle is damaged or fails its golden check.
            ExecutionError: workers die.
            WidedeepError: what the origin raises.
        """
        settings = self._settings
        self._held = hold_port(settings.host, settings.port)
        self._port = int(self._held[0].getsockname()[1])
        self._board, self._board_descriptor = Board.create(settings.workers)
        self._crew = Crew(self._board)
        self._repository: Repository[Deployed] = Repository(
            self._crew.open, max_versions=settings.versions, publish=self._crew.show
        )
        self._poller = Poller(self._repository.poll, settings.poll_interval_s)
        self._nursery = Nursery(settings.model_copy(update={"port": self._port}))
        self._nursery.start()
        self._overview = Overview(self._crew)
        watch = Watch(
            self._repository,
            self._overview.observation,
            lambda: self._board.is_open,
            n_workers=settings.workers,
            origin=self._origin,
        )
        self._site = Site(watch, settings)
        with self._site.opening():
            self._start_workers()

    def _start_workers(self) -> None:
        settings = self._settings
        for place in range(settings.workers):
            self._crew.join(self._forked(place))
        self._crew.ask("prepare")
        self._repository.start(Source(self._origin.start(), settings.name))
        listening = self._crew.ask("listen")
        if len(listening) < settings.workers:
            raise ExecutionError("a worker died before it could listen")
        self._summary = [str(line) for line in listening[0]]
        self._board.is_open = True
        self._crew.ask("turn", ready=True)
        self._tender.start()
        self._poller.start()

    def served(self) -> set[tuple[str, int]]:
        """Return the names and versions of the models that are ready."""
        return {(one.name, one.version) for one in self._repository.servables()}

    def summary(self) -> list[str]:
        """Return the lines that tell a person what is served, by how many workers, and where."""
        workers = f"{self._settings.workers} workers"
        return [*self._summary[:-1], workers, *self._site.summary(), self._summary[-1]]

    @property
    def metrics_port(self) -> int:
        """Where metrics, health and the status page are served; 0 if they are not."""
        return self._site.port

    def stop(self) -> None:
        """Turn not ready in all workers, have them answer what they accepted, and let them go."""
        self._is_stopping.set()
        self._lost.put(None)
        self._tender.join()
        self._board.is_open = False
        self._crew.ask("turn", ready=False)
        # A load under way ends first, and calls are answered meanwhile: workers cannot go over one.
        self._poller.stop(self._settings.grace_s)
        # Step by step: a caller that one worker has turned back must find all others shut, for a gRPC server that
        # shuts cancels the calls that are on their way to it.
        for step in ("hold", "shut", "leave"):
            self._crew.ask(step)
        self._crew.part()
        self._nursery.close()
        for held in self._held:
            held.close()
        self._site.stop()

    def _forked(self, place: int) -> Mate:
        """Return a new worker, which has nothing open yet."""
        end = self._nursery.fork(place, self._board_descriptor)
        mate: Mate
        connection = Connection(end, lost=lambda: self._lost.put(mate), name=f"worker {place}")
        mate = Mate(place, next(self._lives), connection)
        connection.start(
            {
                "load": self._repository.load,
                "unload": self._repository.unload,
                "load_failures": lambda: dict(self._repository.load_failures()),
                "statistics": self._crew.statistics,
            }
        )
        return mate

    def _tend(self) -> None:
        """Replace workers that die, and the nursery, until the server stops or they die too often."""
        deaths: list[float] = []
        while not self._is_stopping.is_set():
            try:
                dead = self._lost.get(timeout=_RECORD_S)
            except Empty:
                goes_on = self._has_nursery(deaths)
                self._crew.record()
                if self._settings.metrics:
                    self._overview.record()
            else:
                goes_on = dead is None or not self._crew.is_in(dead) or self._replace(dead.place, deaths)
            if not goes_on:
                _LOG.critical("processes died %d times in a short while; giving up", len(deaths))
                self._failed()
                return

    def _has_nursery(self, deaths: list[float]) -> bool:
        """Have another nursery take the place of one that died; return False if processes die too often."""
        try:
            if not self._nursery.renew():
                return True
        except ExecutionError as error:
            _LOG.error("%s", error)
        deaths.append(now := time.monotonic())
        return delay_s(deaths, now) is not None

    def _replace(self, place: int, deaths: list[float]) -> bool:
        """Put a worker into a dead one's place, however many it takes; return False if they die too often."""
        self._board.clear(place)
        while not self._is_stopping.is_set():
            deaths.append(now := time.monotonic())
            wait_s = delay_s(deaths, now)
            if wait_s is None:
                return False
            _LOG.warning("worker %d has died; another starts in %.1f s", place, wait_s)
            if self._is_stopping.wait(wait_s) or self._is_replaced(place):
                break
        return True

    def _is_replaced(self, place: int) -> bool:
        """Start a worker in the state of the others and return whether it got there."""
        try:
            mate = self._forked(place)
        except WidedeepError as error:
            _LOG.error("worker %d cannot be started: %s", place, error)
            return False
        try:
            self._repository.while_unchanged(partial(self._crew.bring_up, mate))
        except (ConnectionLost, WidedeepError, RuntimeError) as error:
            _LOG.error("worker %d did not come up: %s", place, error)
            mate.connection.close()
            self._poller.hurry()  # another bundle may lie there by now
            return False
        return True
