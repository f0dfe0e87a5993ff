"""One of several workers: a `Server` of its own behind the shared port, which does what the supervisor says.

It ends when the supervisor has gone, at once if that came unexpected. Signals to the process group or the container
are the supervisor's to act upon; here they are ignored.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any

from ...engine.pool import available_cores
from ...logs import number_worker
from ...settings import ServeSettings
from ..counters import Counters, read, spell
from ..counts import Counts
from ..metrics.observation import Key, Observation
from ..metrics.spelling import Told, spell_observation
from ..servable import Servable
from ..server import Server
from ..siblings import OpenServable
from ..tally import SharedCount
from .board import CALLS, STREAMS, Board
from .control import Connection
from .replica import Replica


class Worker:
    """A worker's process, and what its server knows of the others (`server.Siblings`).

    Order of calls: `run` once, from the main thread; the supervisor's questions come in while it runs.
    """

    def __init__(self, settings: ServeSettings, control: socket.socket, board: int, place: int) -> None:
        """Store the parts; `run` does the work.

        Args:
            settings: of the whole server; cores are shared out among its workers.
            control: socket to the supervisor.
            board: descriptor of the shared memory; closed here.
            place: which worker this is, from 0.
        """
        number_worker(place)
        self._place = place
        self._board = Board(board, settings.workers)
        os.close(board)
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._is_stopped = False
        self._observation: Callable[[], Observation] = Observation
        self._observed: Mapping[Key, tuple[int, Mapping[str, int]]] = {}
        self._told: dict[int, tuple[int, int, int]] = {}
        self._supervisor = Connection(control, lost=self._end, name="supervisor")
        cores = max(1, (settings.cores or available_cores()) // settings.workers)
        self._settings = settings.model_copy(update={"cores": cores, "metrics": False})  # the supervisor has those

    def run(self) -> None:
        """Do what the supervisor says until it lets go."""
        self._supervisor.start({"prepare": partial(self._on_main_thread, self._prepare), "observe": self._observe})
        while (job := self._jobs.get()) is not None:
            work, done = job
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

    # What the server asks of its siblings.

    def repository(self, open_servable: OpenServable) -> Replica:
        """Return the repository that follows the supervisor's."""
        self._replica = Replica(self._board, self._place, self._supervisor, open_servable)
        return self._replica

    @property
    def is_open(self) -> bool:
        """Whether all workers accept work."""
        return self._board.is_open

    @property
    def calls(self) -> SharedCount:
        """The count of calls that wait."""
        return self._board.count(self._place, CALLS)

    @property
    def streams(self) -> SharedCount:
        """The count of open streams."""
        return self._board.count(self._place, STREAMS)

    def counters(self, servables: Sequence[Servable]) -> Sequence[Sequence[Counters]]:
        """Return what all workers have counted for each servable, then for its members."""
        keys = {id(servable): str(key) for key, servable in self._replica.open_now().items()}
        sums = self._supervisor.ask("statistics", keys=list(keys.values()))
        return [
            [read(each) for each in sums[key]] if (key := keys.get(id(servable))) in sums else servable.counters()
            for servable in servables
        ]

    # What the supervisor asks.

    def _prepare(self) -> None:
        """Make the server, which may find that its settings cannot work here; the rest can be asked then."""
        self._server = Server(None, self._settings, siblings=self)
        self._observation = self._server.observation
        self._supervisor.answer(
            {
                "open": self._replica.open,
                "stage": self._replica.stage,
                "drop": self._replica.drop,
                "statistics": self._statistics,
                "turn": lambda ready: self._server.turn(ready=ready),
                "listen": partial(self._on_main_thread, self._listen),
                "hold": partial(self._on_main_thread, self._server.hold),
                "shut": partial(self._on_main_thread, self._server.shut),
                "leave": partial(self._on_main_thread, self._leave),
            }
        )

    def _statistics(self, keys: Sequence[str] | None) -> dict[str, Sequence[Counts]]:
        """Return what was counted here for some servables; None means those that counted since the last such call."""
        found: dict[str, Sequence[Counts]] = {}
        for key, servable in self._replica.open_now().items():
            if keys is not None and str(key) not in keys:
                continue
            counters = servable.counters()
            if keys is None:
                total = counters[0]
                state = (total.executions, total.success.count, total.fail.count)
                if self._told.get(key, (0, 0, 0)) == state:
                    continue
                self._told[key] = state
            found[str(key)] = [spell(each) for each in counters]
        return found

    def _observe(self, *, in_full: bool) -> Told:
        """Return what this worker has served, or only what has changed since it was asked last."""
        observation = self._observation()
        changes = {seen.facts.key: (seen.total.executions, seen.total.calls) for seen in observation.versions}
        unchanged = () if in_full else [key for key, now in changes.items() if self._observed.get(key) == now]
        self._observed = changes
        return spell_observation(observation, unchanged)

    def _listen(self) -> list[str]:
        self._server.start()
        return self._server.summary()

    def _leave(self) -> None:
        self._server.leave()
        self._is_stopped = True

    def _on_main_thread(self, work: Callable[[], Any]) -> Any:
        """Do what is to be done by one thread, in its order."""
        done: Future[Any] = Future()
        self._jobs.put((work, done))
        return done.result()

    def _end(self) -> None:
        """Go with the supervisor: in order where it has had this server stopped, else at once."""
        if self._is_stopped:
            self._jobs.put(None)
        else:
            os._exit(1)
