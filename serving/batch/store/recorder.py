"""When results are put on record: the first at once, then those of a while together.

Object stores cannot append, so each write is a file of its own; a long job has some hundreds of them. What is not on
record yet when a job is killed is done again.
"""

import threading
from collections.abc import Callable, Sequence

from ..task import TaskResult

EVERY_S = 1.0
EVERY_SHARE = 0.01
"""Results are written when this long has passed since the last time: seconds, or share of the time since the start."""


def wait_s(start: float, last: float | None, now: float) -> float:
    """Return seconds until results may be written again, 0 for now; `last` is when they were, None for never."""
    if last is None:
        return 0.0
    return max(0.0, last + max(EVERY_S, EVERY_SHARE * (now - start)) - now)


class Recorder:
    """Gathers results and writes them. Any thread may call it; `close` last. Has a thread for those left waiting."""

    def __init__(self, write: Callable[[Sequence[TaskResult]], None], clock: Callable[[], float]) -> None:
        """Begin with nothing gathered.

        Args:
            write: puts results on record; called by one thread at a time.
            clock: seconds, from any start.
        """
        self._write, self._clock = write, clock
        self._start = clock()
        self._last: float | None = None
        self._waiting: list[TaskResult] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._write_late, name="widedeep-record", daemon=True)
        self._thread.start()

    def add(self, result: TaskResult) -> None:
        """Take a result; it is on record within `EVERY_S` or `EVERY_SHARE`.

        Raises:
            OSError, ConfigurationError: of `write`, for this result or those before it, which are kept.
        """
        with self._changed:
            self._waiting.append(result)
            if self._wait_s() == 0:
                self._flush()
            self._changed.notify_all()

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            OSError, ConfigurationError: of `write`.
        """
        with self._changed:
            self._flush()

    def close(self) -> None:
        """End the thread, then write what was gathered; more than once does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self.flush()

    def _wait_s(self) -> float:
        return wait_s(self._start, self._last, self._clock())

    def _flush(self) -> None:
        if self._waiting:
            self._write(self._waiting)
            self._waiting = []
            self._last = self._clock()

    def _write_late(self) -> None:
        with self._changed:
            while not self._closed:
                left = self._wait_s() if self._waiting else None
                if left == 0:
                    try:
                        self._flush()
                    except Exception:  # raised by the next call, which tries once more
                        return
                else:
                    self._changed.wait(left)
