"""The workers of a run, each of which has at most one job."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from .messages import Ended, Export, Failed, Order, Question, Told
from .worker import Worker

Message = Told | Question | Ended | Failed


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a worker is at, since when as `time.monotonic()` counts."""

    order: Order | Export
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.started


class Crew:
    """Workers. Owner: the driver, from one thread; `close` in any case, after which no process is left.

    Args:
        start: starts a worker.
        n_workers: how many there are at most.
    """

    def __init__(self, start: Callable[[], Worker], n_workers: int) -> None:
        self.n_workers = n_workers
        self._start = start
        self._workers: dict[Worker, Job | None] = {}

    @property
    def jobs(self) -> Sequence[Job]:
        """What is being done."""
        return [job for job in self._workers.values() if job is not None]

    @property
    def is_free(self) -> bool:
        """Whether a worker has nothing to do, or one more may be started."""
        return len(self.jobs) < self.n_workers

    def give(self, order: Order | Export) -> None:
        """Give a job to a worker that has none; there must be one, see `is_free`."""
        worker = next((worker for worker, job in self._workers.items() if job is None), None) or self._start()
        self._workers[worker] = Job(order)
        worker.send(order)

    def listen(self, timeout_s: float) -> Iterator[tuple[Worker, Job, Message | None]]:
        """Yield what busy workers say within some seconds, None of one whose process is gone, which is let go.

        After `Ended` and `Failed` the worker has no job any more.
        """
        busy = {worker.connection: (worker, job) for worker, job in self._workers.items() if job is not None}
        for connection in wait(list(busy), timeout_s):
            worker, job = busy[connection]  # type: ignore[index]  # only connections were waited for
            message = worker.receive()
            if isinstance(message, Ended | Failed):
                self._workers[worker] = None
            elif message is None:
                del self._workers[worker]
                worker.end()
            yield worker, job, message

    def stop(self) -> Sequence[Job]:
        """End the workers that have jobs, and return these; the others stay."""
        busy = [(worker, job) for worker, job in self._workers.items() if job is not None]
        for worker, _ in busy:
            del self._workers[worker]
            worker.end()
        return [job for _, job in busy]

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
