"""Admission and batching decisions as pure functions; the batcher acts on them."""

from dataclasses import dataclass


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

    def rows_to_take(self, n_rows: int, taken: int, room: int) -> int:
        """Return how many rows of the request at the front go into the batch at hand.

        A request that fits into one batch is never cut: it goes in whole or waits for the next batch. A longer one
        fills the room and goes on in the next batch.

        Args:
            n_rows: rows of the request.
            taken: rows of it executed before.
            room: rows that the batch can still take.
        """
        left = n_rows - taken
        if left <= room:
            return left
        return room if n_rows > self.max_batch_rows else 0
