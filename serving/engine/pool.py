"""Worker threads, one a core, that every ensemble of the process shares.

The right to compute is a *slot*, and there are as many as cores. A worker takes a job, then a slot, and gives the slot
back before it takes the next job. A thread that brings work, such as one that has just read a request, may take a
free slot and do a short job itself: waking a worker would take longer than the job (`Pool.collect`).
"""

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Protocol

from .cgroup import cpu_quota
from .slots import Slots

_LOG = logging.getLogger(__name__)


def available_cores() -> int:
    """Return how many cores this process may use: its CPU affinity, cut to the cgroup's quota (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


class Job(Protocol):
    """Work for one thread. It handles its own errors and may return more work of the same kind."""

    def __call__(self) -> "Job | None":
        """Do the work."""


class Pool:
    """Workers for jobs of any origin, in order of arrival. Every method may be called from any thread.

    Owner: the process; `close` once nothing is submitted any more.
    """

    def __init__(self, n_cores: int | None = None) -> None:
        """Prepare a worker a core, started by `start` or when first needed; None means all cores available."""
        self.n_cores = n_cores or available_cores()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._slots = Slots(self.n_cores)
        self._starting = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._here = _Here()

    @property
    def idle(self) -> int:
        """Cores on which nothing is computed at the moment."""
        return self._slots.free

    def start(self) -> None:
        """Start the workers, so that a system without threads to give says so now, not to who brings the first job.

        Raises:
            RuntimeError: a thread could not be started.
        """
        with self._starting:
            for i in range(len(self._workers), self.n_cores):
                worker = threading.Thread(target=self._work, name=f"widedeep-worker-{i}", daemon=True)
                worker.start()
                self._workers.append(worker)

    def submit(self, job: Job, seconds: float) -> None:
        """Leave a job that is expected to take `seconds` to a worker, or to this thread if it collects such."""
        if seconds <= self._here.limit_s:
            self._here.collected.append(job)
        else:
            self._put(job)

    def collect(self, limit_s: float) -> "_Collection":
        """Return a context: the jobs that this thread submits in it, it does itself at the end, one after the other.

        Jobs longer than `limit_s` go to the workers at once, and at the end all that find no slot free.
        """
        return _Collection(self, limit_s)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a slot and keep it meanwhile; a thread that has one keeps that."""
        here = self._here
        if here.has_slot:
            yield
            return
        self._slots.take()
        here.has_slot = True
        try:
            yield
        finally:
            here.has_slot = False
            self._slots.give_back()

    @contextmanager
    def more_slots(self, n: int) -> Iterator[bool]:
        """Take `n` further slots, all or none, for a run on several threads; tells whether they were to be had."""
        has_them = self._slots.try_take(n)
        try:
            yield has_them
        finally:
            if has_them:
                self._slots.give_back(n)

    def share(self, shared: "Shared", n_threads: int) -> None:
        """Work on shared jobs from this thread, which has a slot, and let at most `n_threads - 1` workers join.

        Returns when no job is left to start; others may still be at their last ones.
        """
        # More than are idle would come too late as a rule; one is let in whenever a core becomes free.
        for _ in range(min(n_threads - 1, max(1, self.idle))):
            self._put(shared.join)
        shared.work()

    def close(self) -> None:
        """Stop the workers after the jobs at hand."""
        with self._starting:
            for _ in self._workers:
                self._jobs.put(None)
            for worker in self._workers:
                worker.join()
            self._workers.clear()

    def _put(self, job: Job) -> None:
        if not self._workers:
            self.start()
        self._jobs.put(job)

    def _work(self) -> None:
        self._here.has_slot = True
        while (job := self._jobs.get()) is not None:
            self._slots.take()
            try:
                while job is not None:
                    job = self._do(job)
                    if self._slots.is_wanted or not self._jobs.empty():  # others first
                        break
            finally:
                self._slots.give_back()
            if job is not None:  # so that a worker that waits holds no job, and with it no model
                self._jobs.put(job)

    def _do_or_put(self, job: Job) -> None:
        if not self._slots.try_take():
            self._put(job)
            return
        self._here.has_slot = True
        try:
            more = self._do(job)
        finally:
            self._here.has_slot = False
            self._slots.give_back()
        if more is not None:
            self._put(more)

    @staticmethod
    def _do(job: Job) -> Job | None:
        try:
            return job()
        except Exception:  # a worker outlives every job
            _LOG.exception("a job failed")
            return None


class _Here(threading.local):
    """What one thread does: whether it has a slot, and the jobs it collects, those of at most `limit_s`."""

    has_slot = False
    limit_s = -math.inf

    def __init__(self) -> None:
        self.collected: list[Job] = []


class _Collection:
    """A stretch in which one thread keeps what it submits."""

    __slots__ = ("_jobs", "_limit_s", "_pool")

    def __init__(self, pool: Pool, limit_s: float) -> None:
        self._pool = pool
        self._limit_s = limit_s
        self._jobs: list[Job] = []

    def __enter__(self) -> None:
        here = self._pool._here
        here.limit_s, here.collected = self._limit_s, self._jobs

    def __exit__(self, *_: object) -> None:
        here = self._pool._here
        here.limit_s, here.collected = -math.inf, []  # jobs that are done must not stay in memory
        for job in self._jobs:
            self._pool._do_or_put(job)


class Shared:
    """A list of jobs for several threads; those that come late find nothing left and go.

    Attributes:
        error: what a job raised, if one did; set before `ended` is called.
    """

    def __init__(self, jobs: Sequence[Callable[[], None]], ended: Callable[[Exception | None], None]) -> None:
        """Store the jobs and what to call, from the thread of the last one, when all have ended: with `error`."""
        self.error: Exception | None = None
        self._ended = ended
        self._jobs = deque(jobs)
        self._left = len(jobs)
        self._lock = threading.Lock()

    def work(self) -> None:
        """Do jobs in order until none is left to start; when one raises, those not yet started are dropped."""
        while self._do_next():
            pass

    def join(self) -> Job | None:
        """Do one job; return the same again while more are left, so that a worker can see to others in between."""
        return self.join if self._do_next() and self._jobs else None

    def _do_next(self) -> bool:
        """Do the next job; return whether there was one."""
        try:
            job = self._jobs.popleft()
        except IndexError:
            return False
        n_done = 1
        try:
            job()
        except Exception as error:  # handed on, whatever it is
            self.error = error
            n_done += self._drop()
        self._finish(n_done)
        return True

    def _drop(self) -> int:
        dropped = 0
        while True:
            try:
                self._jobs.popleft()
            except IndexError:
                return dropped
            dropped += 1

    def _finish(self, n_jobs: int) -> None:
        with self._lock:
            self._left -= n_jobs
            is_last = self._left == 0
        if is_last:
            self._ended(self.error)
