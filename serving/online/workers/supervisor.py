"""The supervisor: owns the repository's state and the port of several workers, and answers for them as one.

It holds no gRPC object and no onnxruntime session. A version counts as open once every worker has it open; a view is
staged in every worker, then one write to the board makes it current in all of them. A worker that dies is replaced by
one in the same state, while the others go on.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue

from ...contract.errors import BundleError, ExecutionError, NotReady, WidedeepError
from ...settings import ServeSettings
from ..repository import Repository, Source
from ..view import View
from .board import FIRST_SERVABLE, N_COUNTS, Board
from .control import Answer, Connection, ConnectionLost
from .counts import Counts
from .ledger import Ledger
from .nursery import Nursery, Run
from .port import hold_port
from .restarts import delay_s
from .spelling import spell_view

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
"""How often workers are asked what they have counted lately: so much may be lost with one that dies."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version that is open in every worker, under one key."""

    key: int
    name: str
    version: int
    path: Path
    digest: str
    drop: Callable[[int], None]

    def close(self) -> None:
        """Return once every worker has answered what it had accepted for it."""
        self.drop(self.key)


@dataclass(slots=True, eq=False)
class Worker:
    """A worker as the supervisor sees it; `connection` is lost when it dies."""

    number: int
    process: int
    connection: Connection
    is_lost: bool = False


class Supervisor:
    """A server of several workers, which starts and stops as `Server` does.

    Order of calls: `start` before this process has any thread, then `stop`, from the same thread. Owner: the command
    line. When it goes without `stop`, its workers see their sockets close and end at once.
    """

    def __init__(self, path: Path, settings: ServeSettings, *, failed: Callable[[], None]) -> None:
        """Store the settings; `start` does the work.

        Args:
            path: a repository or one bundle.
            settings: of the server; `workers` says how many there are.
            failed: called once, from another thread, when workers die so often that going on is of no use.
        """
        self._settings = settings
        self._path = path
        self._failed = failed
        self._nursery = Nursery(self._prepare)
        self._ledger = Ledger()
        self._workers: list[Worker] = []
        self._lost: SimpleQueue[Worker | None] = SimpleQueue()
        self._generation = 0
        self._open_now: dict[int, Deployed] = {}
        self._summary: list[str] = []
        self._is_stopping = threading.Event()
        self._tender = threading.Thread(target=self._tend, name="widedeep-tender", daemon=True)
        self.repository: Repository[Deployed] = Repository(
            Source(path, settings.name), self._open, max_versions=settings.versions, publish=self._publish
        )

    def start(self) -> None:
        """Take the port, have every model loaded by every worker, then listen, then turn ready.

        Raises:
            ConfigurationError: the port is taken, nothing to serve, a provider is missing or meant for no member here.
            BundleError: a bundle is damaged or fails its golden check.
        """
        self._held = hold_port(self._settings.host, self._settings.port)
        self._port = int(self._held[0].getsockname()[1])
        self._board, self._board_descriptor = Board.create(self._settings.workers)
        self._nursery.start()
        self._workers = [self._forked(number) for number in range(self._settings.workers)]
        self.repository.start()
        self._summary = [str(line) for line in self._everywhere("listen")[0]]
        self._board.is_open = True
        self._everywhere("turn", ready=True)
        self._tender.start()

    def summary(self) -> list[str]:
        """Return the lines that tell a person what is served, by how many workers, and where."""
        return [*self._summary[:-1], f"{self._settings.workers} workers", self._summary[-1]]

    def stop(self) -> None:
        """Turn not ready in all workers, have them answer what they accepted, and let them go."""
        self._is_stopping.set()
        self._lost.put(None)
        if self._tender.ident is not None:
            self._tender.join()
        self._board.is_open = False
        self._everywhere("turn", ready=False)
        self._everywhere("stop")
        for worker in self._workers:
            worker.connection.close()
        self._nursery.close()
        for held in self._held:
            held.close()

    def _prepare(self) -> Run:
        """Import what workers need, in the nursery, and return what they do."""
        from .worker import Worker as Served

        settings = self._settings.model_copy(update={"port": self._port})
        return lambda control, board, number: Served(self._path, settings, control, board, number).run()

    def _forked(self, number: int) -> Worker:
        process, end = self._nursery.fork(number, self._board_descriptor)
        worker: Worker

        def lost() -> None:
            worker.is_lost = True
            self._lost.put(worker)

        worker = Worker(number, process, Connection(end, lost=lost, name=f"worker {number}"))
        worker.connection.start({"load": self._load, "unload": self._unload, "statistics": self._statistics})
        return worker

    # What workers ask.

    def _load(self, name: str) -> None:
        self.repository.load(name)

    def _unload(self, name: str) -> None:
        self.repository.unload(name)

    def _statistics(self, keys: Sequence[str]) -> dict[str, Sequence[Counts]]:
        """Return the sums over all workers, after asking each that lives."""
        self._look(keys)
        return self._ledger.total(keys)

    def _look(self, keys: Sequence[str] | None) -> None:
        """Have the ledger know what workers have counted; None means whatever is new."""
        workers = list(self._workers)
        for worker, reply in [(w, w.connection.begin("statistics", keys=keys)) for w in workers]:
            try:
                self._ledger.record(worker.process, reply.result())
            except ConnectionLost:
                continue

    # What the repository asks.

    def _open(self, name: str, version: int, path: Path) -> Deployed:
        """Open a version in all workers, or in none."""
        key = next(number for number in count(FIRST_SERVABLE) if number not in self._open_now)
        if key >= N_COUNTS:
            raise NotReady(f"{N_COUNTS - FIRST_SERVABLE} versions are open, the most that workers can share")
        workers = [worker for worker in self._workers if not worker.is_lost]
        if not workers:
            raise NotReady("no worker is up")
        question = {"key": key, "name": name, "version": version, "path": str(path)}
        replies = [worker.connection.begin("open", **question) for worker in workers]
        errors = [error for reply in replies if (error := reply.exception())]
        digests = {reply.result() for reply in replies if not reply.exception()}
        if not errors and len(digests) == 1:
            self._open_now[key] = Deployed(key, name, version, path, digests.pop(), self._drop)
            return self._open_now[key]
        self._drop(key)
        if not errors:
            raise BundleError(f"{path} changed while it was loaded")
        deliberate = [error for error in errors if isinstance(error, WidedeepError)]
        if deliberate:
            raise deliberate[0]
        if isinstance(errors[0], ConnectionLost):
            raise ExecutionError("a worker died while it loaded it") from errors[0]
        raise errors[0]

    def _publish(self, view: View[Deployed]) -> None:
        """Make a view current in all workers at once."""
        self._everywhere("stage", generation=self._generation + 1, view=spell_view(view, self._open_now))
        self._generation += 1
        self._board.generation = self._generation

    def _drop(self, key: int) -> None:
        self._everywhere("drop", key=key)
        self._ledger.forget(str(key))
        self._open_now.pop(key, None)

    def _everywhere(self, question: str, **arguments: Answer) -> list[Answer]:
        """Ask all workers and return the answers of those that live."""
        replies: list[Future[Answer]] = [w.connection.begin(question, **arguments) for w in self._workers]
        answers = []
        for reply in replies:
            try:
                answers.append(reply.result())
            except ConnectionLost:
                continue
        return answers

    # Workers that die.

    def _tend(self) -> None:
        """Replace workers that die, until the server stops or they die too often."""
        deaths: list[float] = []
        while not self._is_stopping.is_set():
            try:
                dead = self._lost.get(timeout=_LOOK_S)
            except Empty:
                self._look(None)
                continue
            if dead is None or self._workers[dead.number] is not dead:
                continue
            self._board.clear(dead.number)
            while not self._is_stopping.is_set():
                deaths.append(now := time.monotonic())
                wait_s = delay_s(deaths, now)
                if wait_s is None:
                    _LOG.critical("workers died %d times in a short while; giving up", len(deaths))
                    self._failed()
                    return
                _LOG.warning("worker %d has died; another starts in %.1f s", dead.number, wait_s)
                if self._is_stopping.wait(wait_s) or self._replaced(dead.number):
                    break

    def _replaced(self, number: int) -> bool:
        """Start a worker in the state of the others; return whether it got there."""
        worker = self._forked(number)
        try:
            self.repository.while_unchanged(lambda view: self._bring_up(worker, view))
        except (ConnectionLost, WidedeepError, RuntimeError) as error:
            _LOG.error("worker %d did not come up: %s", number, error)
            worker.connection.close()
            return False
        return True

    def _bring_up(self, worker: Worker, view: View[Deployed]) -> None:
        ask = worker.connection.ask
        for servable in view.servables():
            digest = ask(
                "open", key=servable.key, name=servable.name, version=servable.version, path=str(servable.path)
            )
            if digest != servable.digest:
                raise BundleError(
                    f"{servable.path} is another bundle by now than the one that the other workers serve; load it anew"
                )
        ask("stage", generation=self._generation, view=spell_view(view, self._open_now))
        ask("listen")
        ask("turn", ready=True)
        self._workers[worker.number] = worker
