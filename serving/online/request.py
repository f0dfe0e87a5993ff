"""A request on its way: checked rows, and the place where their answer will be.

What `concurrent.futures.Future` does, for a third of its price: each of its steps takes a condition variable, and a
call of a small model takes ten of them.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from ..contract.errors import Cancelled
from ..contract.tensors import Array
from ..engine.batch import Outputs
from .call import Call

_LOG = logging.getLogger(__name__)


class Request:
    """Checked rows that wait for their answer. It ends once: answered, failed or cancelled.

    `end`, `cancel`, `on_end` and `result` may be called from any thread; the attributes that the batcher sets are for
    it alone.

    Attributes:
        inputs: input name -> `(n_rows, ...)`.
        n_rows: number of rows.
        outputs: names to answer.
        call: what it came with; None for rows that no call brought.
        deadline_s: time on the batcher's clock after which nobody waits any more; None means never.
        is_ended: whether there is an answer, or an error in its place.
        arrived_s: time on the batcher's clock, set by `submit`.
        taken: rows that have gone into a batch, set by the batcher.
        answered: rows whose outputs are in `parts`, set by the batcher.
        parts: first row -> outputs of the rows from there, for requests that need several batches.
        is_waiting: whether it has rows in the queue, set by the batcher.
    """

    __slots__ = (
        "_answer",
        "_callbacks",
        "_lock",
        "_waiter",
        "answered",
        "arrived_s",
        "call",
        "deadline_s",
        "inputs",
        "is_ended",
        "is_waiting",
        "n_rows",
        "outputs",
        "parts",
        "taken",
    )

    def __init__(
        self,
        inputs: Mapping[str, Array],
        n_rows: int,
        outputs: Sequence[str],
        deadline_s: float | None = None,
        call: Call | None = None,
    ) -> None:
        """Store what is asked."""
        self.call = call
        self.inputs = inputs
        self.n_rows = n_rows
        self.outputs = outputs
        self.deadline_s = deadline_s
        self.is_ended = False
        self.arrived_s = 0.0
        self.taken = 0
        self.answered = 0
        self.parts: dict[int, Outputs] = {}
        self.is_waiting = False
        self._answer: Outputs | Exception | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._waiter: threading.Lock | None = None

    def end(self, answer: Outputs | Exception) -> bool:
        """Give the answer, or what went wrong; return whether it is the first."""
        with self._lock:
            if self.is_ended:
                return False
            self._answer = answer
            self.is_ended = True
            waiter, callbacks = self._waiter, self._callbacks
            self._callbacks = []  # they lead back here: without them nothing outlives its last user
        if waiter is not None:
            waiter.release()
        for callback in callbacks:
            try:
                callback()
            except Exception:  # the others are to be told, and the batcher goes on
                _LOG.exception("a callback of a request failed")
        return True

    def cancel(self) -> bool:
        """Tell that nobody waits any more; return whether that came before the answer."""
        return self.end(Cancelled("the caller cancelled the request"))

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the request has ended, from the thread that ended it, or at once."""
        with self._lock:
            if not self.is_ended:
                self._callbacks.append(callback)
                return
        callback()

    def result(self, timeout_s: float | None = None) -> Outputs:
        """Wait for the answer, output name -> `(n_rows, ...)`; only one thread at a time may.

        Raises:
            TimeoutError: there is none after `timeout_s` seconds.
            WidedeepError: the rows could not be executed, or `Cancelled`.
        """
        if not self.is_ended and not self._wait(timeout_s):
            raise TimeoutError
        if isinstance(self._answer, Exception):
            raise self._answer
        assert self._answer is not None  # noqa: S101 - it has ended
        return self._answer

    def _wait(self, timeout_s: float | None) -> bool:
        """Wait for the end; return whether it came in time."""
        waiter = threading.Lock()
        waiter.acquire()
        with self._lock:
            if self.is_ended:
                return True
            self._waiter = waiter
        return waiter.acquire(timeout=-1 if timeout_s is None else timeout_s)
