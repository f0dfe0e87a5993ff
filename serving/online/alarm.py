"""A clock that wakes somebody once, at the soonest of the times that it was set to."""

import threading
import time
from collections.abc import Callable


class Alarm:
    """One thread that waits for a time. `set` may be called from any thread, before `close`.

    Owner: the batcher, which needs one only where batches wait for more rows.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        """Store whom to wake; the thread starts with the first `set`."""
        self._wake = wake
        self._changed = threading.Condition()
        self._due_s: float | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def set(self, wait_s: float) -> None:
        """Wake in `wait_s` seconds, unless it is set to an earlier time already."""
        due_s = time.monotonic() + wait_s
        with self._changed:
            if self._due_s is not None and self._due_s <= due_s:
                return
            self._due_s = due_s
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="widedeep-alarm", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Wake nobody any more and let the thread go; whom it would have woken is forgotten."""
        with self._changed:
            self._closed = True
            self._wake = _nobody
            self._changed.notify()

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (self._due_s is None or self._due_s > time.monotonic()):
                    self._changed.wait(None if self._due_s is None else self._due_s - time.monotonic())
                if self._closed:
                    return
                self._due_s = None
            self._wake()


def _nobody() -> None:
    """Stand for somebody to wake, so that a batcher and its alarm do not hold each other in memory."""
