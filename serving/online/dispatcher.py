"""From events to the servicer and back: one thread takes all ModelInfer calls of the native front end.

    call      -> admitted, in the order of their arrival -> parsed -> queued -> answered by the thread that ends it
    cancelled -> its rows are dropped      (its caller went away or its deadline passed; the library has ended the call)

The thread waits for nothing but events, so no call waits for another's answer, and every refusal is immediate. Batches
too short to be worth waking a worker for it executes itself, once all calls at hand are queued. A second such
thread was not worth its order of events (measured with an empty handler and 16 callers: 30 against 35 us of CPU a call,
but no more calls a second).
"""

import heapq
import math
import threading
import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from ..contract.errors import NotReady, Overloaded, TooLarge
from ..engine.plan import HAND_OFF_S
from ..engine.pool import Pool
from ..protocol import messages as m
from ..protocol.codec import FOREVER_S
from .access import Access
from .call import Call
from .call_log import CallLog
from .servicer import Pending
from .streams import Infer
from .tally import SharedCount
from .transport import parsed

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

_ALL = 1 << 16
"""Events taken at once at most: all that there are, so that what is too much is refused at once."""
_BATCH = 64
"""Calls begun before the next look at events."""
_CALL = 0
"""Kind of the event of a new call; the only other kind is its cancellation."""
_NO_DETAILS: tuple[tuple[()], str, None] = ((), "", None)
_SLACK = 64
"""Timeouts kept at least before those of calls that have been answered are thrown out."""


class Dispatcher:
    """Answers the calls that a front end takes. Owner: the native front end.

    Order of calls: `run` once, on a thread of its own, until the front end is closed; beside it `hold`, `release` and
    `cancel`, once each.
    """

    def __init__(
        self,
        front: "NativeGrpcFront",
        infer: Infer,
        pool: Pool,
        *,
        max_calls: int,
        max_message_bytes: int,
        count: SharedCount | None = None,
        access: Access | None = None,
        log: CallLog | None = None,
    ) -> None:
        """Store the parts.

        Args:
            front: gives the calls, with their details, and takes the answers.
            infer: queues one request.
            pool: what executes batches.
            max_calls: calls under way at once; those above it are refused.
            max_message_bytes: size of one message at most, either way.
            count: of the calls under way, where several processes share the limit.
            access: who may call, where not everybody may.
            log: of the calls.
        """
        self._access = access
        self._log = log or CallLog()
        self._count = count
        self._front = front
        self._infer = infer
        self._pool = pool
        self._max_calls = max_calls
        self._max_message_bytes = max_message_bytes
        self._waiting: dict[int, tuple[Call, bytes, float | None]] = {}
        self._open: dict[int, Pending] = {}
        self._timeouts: list[tuple[float, int]] = []
        self._draining = False
        self._holding = False
        self._held: dict[int, Call] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        """Take calls until the front end is closed."""
        while (events := self._front.recv_batch_details(_ALL, self._wait_ms())) is not None:
            now_s = time.monotonic()
            for kind, call_id, _, data, _, details in events:
                if kind == _CALL and data is not None:
                    metadata, _, left_s = details or _NO_DETAILS
                    call = Call("ModelInfer", metadata)
                    self._admit(call_id, call, data, None if left_s is None or left_s > FOREVER_S else now_s + left_s)
                else:
                    self._drop(call_id)
            with self._pool.collect(HAND_OFF_S):
                for call_id in list(islice(self._waiting, _BATCH)):
                    self._begin(call_id, *self._waiting[call_id])
                    del self._waiting[call_id]  # not before it is open, or it would seem answered in between
            if self._timeouts:
                self._expire()
            self._share()

    def hold(self) -> None:
        """Let new calls wait from now on, without looking at them."""
        self._holding = self._draining = True

    def release(self) -> None:
        """Refuse those that wait, and all that are still to come."""
        with self._lock:
            self._draining, self._holding = True, False
            held, self._held = self._held, {}
        for call_id, call in held.items():
            self._turn_back(call_id, call)

    def cancel(self) -> None:
        """Drop the rows of all calls that are not answered."""
        for pending in list(self._open.values()):
            pending.cancel()

    @property
    def is_answered(self) -> bool:
        """Whether all calls accepted have been given their answer."""
        return not self._waiting and not self._open

    @property
    def is_empty(self) -> bool:
        """Whether, but for calls that are held, none is under way: taken by nobody, waiting, or not quite sent."""
        return self.is_answered and self.under_way <= len(self._held)

    @property
    def under_way(self) -> int:
        """Calls that have come in and are not ended, be they taken yet or not."""
        methods = (self._front.metrics() or {"methods": {}})["methods"].values()
        return sum(
            method["started"] - sum(status["count"] for status in method["status"].values()) for method in methods
        )

    def _admit(self, call_id: int, call: Call, data: bytes, deadline_s: float | None) -> None:
        """Let a call wait for its turn, hold it back, or refuse it."""
        if self._draining:
            self._turn_back(call_id, call)
        elif self._access is not None and (refusal := self._access.refusal(call.metadata)) is not None:
            self._fail(call_id, call, refusal)
        elif len(self._waiting) + len(self._open) + self._elsewhere() >= self._max_calls:
            self._fail(call_id, call, Overloaded(f"{self._max_calls} calls are under way, the most this server allows"))
        elif len(data) > self._max_message_bytes:
            self._fail(call_id, call, _too_large("Received", len(data), self._max_message_bytes))
        else:
            self._waiting[call_id] = (call, data, deadline_s)
            self._share()

    def _begin(self, call_id: int, call: Call, data: bytes, deadline_s: float | None) -> None:
        """Queue the rows of a call, or refuse it."""
        request = None
        try:
            request = parsed(m.ModelInferRequest, data)
            call.identify(request.id)
            pending = self._infer(request, None if deadline_s is None else deadline_s - time.monotonic(), call)
        except Exception as error:
            self._fail(call_id, call, error, request)
            return
        self._open[call_id] = pending
        if pending.deadline_s is not None and (deadline_s is None or pending.deadline_s < deadline_s):
            # The request sets a time of its own, of which the library does not know.
            heapq.heappush(self._timeouts, (pending.deadline_s, call_id))
        pending.on_done(partial(self._answer, call_id, call, pending))

    def _answer(self, call_id: int, call: Call, pending: Pending) -> None:
        """Send the answer of a request that has ended; nobody hears it if the call has ended before."""
        try:
            data = pending.response().SerializeToString()
            if len(data) > self._max_message_bytes:
                raise _too_large("Sent", len(data), self._max_message_bytes)
            self._front.respond(call_id, data, None, call.trailer)
            if self._log.logs_all:
                self._log.answered(call, pending)
        except Exception as error:
            self._fail(call_id, call, error, pending)
        finally:
            self._open.pop(call_id, None)
            self._share()

    def _elsewhere(self) -> int:
        """Return how many calls are under way in other processes that share the limit."""
        return 0 if self._count is None else self._count.elsewhere()

    def _share(self) -> None:
        """Tell those processes how many are under way here."""
        if self._count is not None:
            with self._lock:  # so that the last to tell tells the last
                self._count.own = len(self._waiting) + len(self._open)

    def _fail(
        self, call_id: int, call: Call, error: Exception, about: Pending | m.ModelInferRequest | None = None
    ) -> None:
        code, message = self._log.failed(call, error, about)
        self._front.fail(call_id, code.value[0], message, call.trailer)

    def _drop(self, call_id: int) -> None:
        """Let go of a call that has ended without its answer."""
        if pending := self._open.get(call_id):
            pending.cancel()
        elif self._waiting.pop(call_id, None) is None and self._draining:
            with self._lock:
                self._held.pop(call_id, None)

    def _turn_back(self, call_id: int, call: Call) -> None:
        with self._lock:
            if self._holding:
                self._held[call_id] = call
                return
        self._fail(call_id, call, NotReady("the server is draining"))

    def _expire(self) -> None:
        """Answer the calls whose request's own time is over."""
        now_s = time.monotonic()
        while self._timeouts and self._timeouts[0][0] <= now_s:
            call_id = heapq.heappop(self._timeouts)[1]
            if pending := self._open.get(call_id):
                pending.expire()
        if len(self._timeouts) > _SLACK + 2 * len(self._open):
            self._timeouts = [timeout for timeout in self._timeouts if timeout[1] in self._open]
            heapq.heapify(self._timeouts)

    def _wait_ms(self) -> int | None:
        """Return how long to wait for events: until the next timeout, if there is one; not while calls wait."""
        if self._waiting:
            return 0
        if not self._timeouts:
            return None
        return max(0, math.ceil(1000 * min(self._timeouts[0][0] - time.monotonic(), FOREVER_S)))


def _too_large(what: str, n_bytes: int, limit: int) -> TooLarge:
    """Return an error in the words of grpcio, since callers look for them."""
    return TooLarge(f"SERVER: {what} message larger than max ({n_bytes} vs. {limit})")
