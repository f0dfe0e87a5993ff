"""Looking at a repository again and again, on a thread of its own."""

import logging
import threading
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

SETTLE_S = 1.0
"""How soon to look again at files that have just changed: long enough for a copy that goes on to show."""


class Poller:
    """Calls a function at intervals, sooner after it has said that more is to come.

    Order of calls: `start` and `stop`, once each; `hurry` from any thread. Owner: the server, or where it has several
    workers their supervisor.
    """

    def __init__(self, look: Callable[[], bool], interval_s: float) -> None:
        """Store the parts.

        Args:
            look: does what there is to do and returns whether that was all for now; what it raises is logged, once
                while it stays the same.
            interval_s: seconds from the end of one look to the next; 0 for none at all.
        """
        self._look = look
        self._interval_s = interval_s
        self._wake = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="widedeep-poller", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        if self._interval_s:
            self._thread.start()

    def hurry(self) -> None:
        """Look now rather than when it is time."""
        self._wake.set()

    def stop(self, at_most_s: float = 0.0) -> None:
        """Begin no further look, and wait for one that is under way for no longer than said."""
        self._is_stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(at_most_s)

    def _run(self) -> None:
        wait_s, told = self._interval_s, ""
        while True:
            self._wake.wait(wait_s)
            self._wake.clear()  # before the question, or the answer to it could be slept over
            if self._is_stopping:
                return
            wait_s = self._interval_s
            try:
                if not self._look():
                    wait_s = min(SETTLE_S, self._interval_s)
                told = ""
            except Exception as error:
                if told != (message := f"{type(error).__name__}: {error}"):
                    told = message
                    _LOG.warning("the repository cannot be looked at; what is served stays: %s", error)
