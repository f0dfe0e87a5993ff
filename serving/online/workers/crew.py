"""The workers of a server, asked together: what is open is open in all of them, what is shown all show at once."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ...contract.errors import BundleError, ExecutionError, NotReady, WidedeepError
from ..counts import Counts
from ..view import View
from .board import FIRST_SERVABLE, N_COUNTS, Board
from .control import Answer, Connection, ConnectionLost
from .ledger import Ledger
from .spelling import spell_view

_LOG = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True, eq=False)
class Mate:
    """A worker as the supervisor sees it.

    Attributes:
        place: which of the workers it is, from 0; the same as that of the dead one whose place it took.
        life: tells it from others that had its place.
        connection: lost when it dies.
    """

    place: int
    life: int
    connection: Connection


class Crew:
    """All workers. `statistics` and `ask` may be called from any thread; the rest by one at a time.

    A worker that has died is passed over, until another takes its place. Owner: the supervisor.
    """

    def __init__(self, board: Board) -> None:
        """Start with nobody; the board says which view is current."""
        self._board = board
        self._ledger = Ledger()
        self._mates: dict[int, Mate] = {}
        self._open: dict[int, Deployed] = {}
        self._changing = threading.Lock()

    def join(self, mate: Mate) -> None:
        """Count a worker in."""
        with self._changing:
            self._mates = {**self._mates, mate.place: mate}

    def is_in(self, mate: Mate) -> bool:
        """Return whether a worker has been counted in and no other has taken its place."""
        return self._mates.get(mate.place) is mate

    def ask(self, question: str, **arguments: Answer) -> list[Answer]:
        """Ask all workers and return the answers of those that live, in the order of their places."""
        replies = [mate.connection.begin(question, **arguments) for _, mate in sorted(self._mates.items())]
        answers = []
        for reply in replies:
            try:
                answers.append(reply.result())
            except ConnectionLost:
                continue
        return answers

    def begin(self, question: str, **arguments: Answer) -> list[tuple[int, "Future[Answer]"]]:
        """Ask all workers and return their answers to come, each with the life of the worker that gives it."""
        return [(mate.life, mate.connection.begin(question, **arguments)) for mate in self._mates.values()]

    def open(self, name: str, version: int, path: Path) -> Deployed:
        """Open a version in all workers, or in none.

        Raises:
            WidedeepError: a worker could not open it; what the first such says.
            ExecutionError: a worker died over it.
            BundleError: workers found different bundles there.
            NotReady: no worker is up, or too much is open.
        """
        key = next(number for number in count(FIRST_SERVABLE) if number not in self._open)
        if key >= N_COUNTS:
            raise NotReady(f"{N_COUNTS - FIRST_SERVABLE} versions are open, the most that workers can share")
        question = {"key": key, "name": name, "version": version, "path": str(path)}
        mates = [mate for mate in self._mates.values() if not mate.connection.is_lost]
        replies = [mate.connection.begin("open", **question) for mate in mates]
        errors = [error for reply in replies if (error := reply.exception())]
        digests = {reply.result() for reply in replies if not reply.exception()}
        if not errors and len(digests) == 1:
            self._open[key] = Deployed(key, name, version, path, digests.pop(), self.drop)
            return self._open[key]
        self.drop(key)
        if not replies:
            raise NotReady("no worker is up")
        raise _worst(errors) if errors else BundleError("it changed while it was loaded")

    def drop(self, key: int) -> None:
        """Return once every worker has let go of a version."""
        self.ask("drop", key=key)
        self._ledger.forget(str(key))
        self._open.pop(key, None)

    def show(self, view: View[Deployed]) -> None:
        """Make a view current in all workers at once."""
        generation = self._board.generation + 1
        self.ask("stage", generation=generation, view=spell_view(view, self._open))
        self._board.generation = generation

    def bring_up(self, mate: Mate, view: View[Deployed]) -> None:
        """Bring a new worker into the state of the others and count it in.

        Raises:
            BundleError: what is on disk is not what the others serve.
            WidedeepError, ConnectionLost: it did not get there.
        """
        ask = mate.connection.ask
        ask("prepare")
        for servable in view.servables():
            key, path = servable.key, servable.path
            digest = ask("open", key=key, name=servable.name, version=servable.version, path=str(path))
            if digest != servable.digest:
                raise BundleError(f"{path} is not the bundle any more that the other workers serve; load it anew")
        ask("stage", generation=self._board.generation, view=spell_view(view, self._open))
        ask("listen")
        ask("turn", ready=True)
        self.join(mate)

    def statistics(self, keys: Sequence[str]) -> dict[str, Sequence[Counts]]:
        """Return the sums over all workers, those that have died included, of what was counted for each servable."""
        self._record(keys)
        return self._ledger.total(keys)

    def record(self) -> None:
        """Write down what workers have counted lately: what is not written down is lost with one that dies."""
        self._record(None)

    def part(self) -> None:
        """End the connections; workers go."""
        for mate in self._mates.values():
            mate.connection.close()

    def _record(self, keys: Sequence[str] | None) -> None:
        for life, reply in self.begin("statistics", keys=keys):
            try:
                self._ledger.record(life, reply.result())
            except ConnectionLost:
                _LOG.debug("a worker died before it said what it had counted")


def _worst(errors: Sequence[BaseException]) -> BaseException:
    """Return the error to tell of: a deliberate one if there is one, since it says what to do."""
    for error in errors:
        if isinstance(error, WidedeepError):
            return error
    lost = all(isinstance(error, ConnectionLost) for error in errors)
    return ExecutionError("a worker died over it") if lost else errors[0]
