"""One set of threads, as many as cores, that every ensemble of the process shares."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period of this process's cgroup, version 2."""


def available_cores() -> int:
    """Return how many cores this process may use: its CPU affinity, cut to the cgroup's quota (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return cores if quota is None else max(1, min(cores, quota))


def _cgroup_quota() -> int | None:
    """Return the CPU quota in cores, None without one. Source: `cpu.max` in the kernel's cgroup v2 documentation."""
    try:
        quota, period = CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else -(-int(quota) // int(period))


class Pool:
    """Threads that share lists of short jobs. `run` may be called from any thread; the caller works too.

    Owner: the process; `close` once nothing runs any more.
    """

    def __init__(self, n_cores: int | None = None) -> None:
        """Prepare `n_cores - 1` threads, started when first needed; None means all cores available."""
        self.n_cores = n_cores or available_cores()
        self._threads = ThreadPoolExecutor(max(1, self.n_cores - 1), thread_name_prefix="widedeep-pool")

    def run(self, jobs: Sequence[Callable[[], None]], n_threads: int) -> None:
        """Run all jobs on at most `n_threads` threads, this one included, and return when the last has ended.

        Jobs start in order. When one raises, those not yet started are dropped and its exception is raised here.
        """
        if n_threads <= 1:
            for job in jobs:
                job()
            return
        shared = _Shared(jobs)
        for _ in range(n_threads - 1):
            self._threads.submit(shared.work)
        shared.work()
        shared.wait()

    def close(self) -> None:
        """Stop the threads after the jobs at hand."""
        self._threads.shutdown()


class _Shared:
    """Jobs of one `run`; threads that come late find nothing left and go."""

    def __init__(self, jobs: Sequence[Callable[[], None]]) -> None:
        self._jobs = deque(jobs)
        self._left = len(jobs)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._error: BaseException | None = None

    def work(self) -> None:
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            try:
                job()
            except BaseException as error:  # handed to the caller, whatever it is
                self._error = error
                self._finish(1 + self._drop())
            else:
                self._finish(1)

    def wait(self) -> None:
        self._done.wait()
        if self._error is not None:
            raise self._error

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
            if self._left == 0:
                self._done.set()
