"""Which tasks of a job are done, with their counts, in a few bytes a task."""

from dataclasses import dataclass

import numpy as np

from ..task import TaskResult

_N_COUNTS = 3


@dataclass(frozen=True, slots=True)
class Totals:
    """What is on record of a job. `n_in == n_scored + n_rejected`.

    Attributes:
        tasks: how many are done.
        n_in: their rows.
        n_scored: rows in their parts.
        n_rejected: rows in their reject files.
    """

    tasks: int = 0
    n_in: int = 0
    n_scored: int = 0
    n_rejected: int = 0


class Record:
    """The latest result of each task, without its names: 33 bytes a task. Used by one thread.

    Results are told apart by their place: how many were recorded before, of this task or another.
    """

    def __init__(self, n_tasks: int) -> None:
        """Begin with no task done."""
        self.n_tasks = n_tasks
        self._place = np.full(n_tasks, -1, np.int64)
        self._counts = np.zeros((n_tasks, _N_COUNTS), np.int64)
        self._n_done = 0
        self._sums = [0] * _N_COUNTS

    @property
    def totals(self) -> Totals:
        """What is done so far."""
        return Totals(self._n_done, *self._sums)

    def add(self, result: TaskResult, place: int) -> None:
        """Take a result in, in place of an earlier one of its task.

        Raises:
            ValueError: it is no result of this job's.
        """
        check_result(result, self.n_tasks)
        task, counts = result.task, (result.n_in, result.n_scored, result.n_rejected)
        before = self._counts[task].tolist()
        self._sums = [total + now - then for total, now, then in zip(self._sums, counts, before, strict=True)]
        self._n_done += not self.is_done(task)
        self._counts[task] = counts
        self._place[task] = place

    def is_done(self, task: int) -> bool:
        """Return whether the task has a result."""
        return bool(self._place[task] >= 0)

    def is_latest(self, task: int, place: int) -> bool:
        """Return whether the task's result is the one of this place."""
        return bool(self._place[task] == place)


def check_result(result: TaskResult, n_tasks: int) -> None:
    """Make sure that a result can be recorded.

    Raises:
        ValueError: it failed, its rows do not add up, or there is no such task.
    """
    if result.error:
        raise ValueError(f"task {result.task} failed and has nothing to record: {result.error}")
    if not 0 <= result.task < n_tasks:
        raise ValueError(f"there is no task {result.task} among {n_tasks}")
    if min(result.n_scored, result.n_rejected) < 0 or result.n_in != result.n_scored + result.n_rejected:
        raise ValueError(
            f"task {result.task}: {result.n_in} rows in are not {result.n_scored} scored + {result.n_rejected} rejected"
        )
