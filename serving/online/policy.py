"""Admission and batching decisions as pure functions; the batcher acts on them."""

import math
from dataclasses import dataclass

from ..engine.plan import HAND_OFF_S

DEFAULT_DEADLINE_S = 1.0
"""Where a request without a deadline stands among those with one: as if it had this long."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Limits of one servable's queue.

    Attributes:
        max_batch_rows: rows executed together at most.
        max_queue_rows: rows that may wait.
        max_delay_s: how long the oldest request may wait for others to join its batch.
    """

    max_batch_rows: int = 256
    max_queue_rows: int = 65536
    max_delay_s: float = 0.0

    def admits(self, waiting_rows: int, n_rows: int) -> bool:
        """Return whether a request may join the queue; an empty queue takes a request of any size."""
        return waiting_rows == 0 or waiting_rows + n_rows <= self.max_queue_rows

    def wait_s(self, waiting_rows: int, oldest_s: float, now_s: float) -> float:
        """Return how long to wait for more rows before executing; 0 means now."""
        if waiting_rows >= self.max_batch_rows:
            return 0.0
        return max(0.0, oldest_s + self.max_delay_s - now_s)

    def room(self, waiting_rows: int, n_workers: int, efficient_rows: int) -> int:
        """Return how many rows a batch should have at most.

        Args:
            waiting_rows: rows that wait.
            n_workers: workers that are about to cut a batch, this one included.
            efficient_rows: rows from which larger batches are hardly cheaper by row; what goes beyond only makes
                callers wait for each other, unless a delay was set to get large batches.
        """
        wanted = self.max_batch_rows if self.max_delay_s else min(self.max_batch_rows, efficient_rows)
        return min(wanted, math.ceil(waiting_rows / n_workers))

    def rows_to_take(self, n_rows: int, taken: int, room: int, batch_rows: int) -> int:
        """Return how many rows of the request at the front go into the batch at hand.

        A request that fits into one batch is never cut: it goes in whole or waits for the next batch. A longer one
        fills the room and goes on in the next batch.

        Args:
            n_rows: rows of the request.
            taken: rows of it executed before.
            room: rows that the batch should have at most; the first request may exceed it.
            batch_rows: rows in the batch already.
        """
        left = n_rows - taken
        space = max(0, room - batch_rows) if batch_rows else self.max_batch_rows
        if left <= space:
            return left
        return space if n_rows > self.max_batch_rows else 0

    def wants_worker(self, coming: int, n_idle: int, waiting_s: float) -> bool:
        """Return whether one more worker should cut a batch.

        One is always on its way while requests wait. More come only where cores are idle and each has work for longer
        than it takes to wake it: short runs in several threads are slower than the same in one.

        Args:
            coming: workers that are about to cut a batch, or will be in a moment, when their short batch has ended.
            n_idle: cores on which nothing runs.
            waiting_s: estimated time of what waits.
        """
        return coming == 0 or (coming < n_idle and waiting_s > HAND_OFF_S * coming)


def urgency_s(arrived_s: float, deadline_s: float | None) -> float:
    """Return the time by which requests are put in order: the earliest is executed first."""
    usual_s = arrived_s + DEFAULT_DEADLINE_S
    return usual_s if deadline_s is None else min(deadline_s, usual_s)
