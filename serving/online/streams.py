"""ModelStreamInfer: any number of requests on one call, answered in their order.

A thread of its own reads a stream's requests and queues their rows, so that requests of one stream are batched
together; the thread of the call answers them. A refused request becomes an error message and the stream goes on.
When the server drains, a stream ends with UNAVAILABLE once what was read from it is answered.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from ..contract.errors import NotReady, Overloaded
from ..protocol import messages as m
from .call import Call
from .call_log import CallLog
from .gate import Gate
from .servicer import Pending
from .tally import SharedCount, Tally
from .transport import parsed, time_left_s

if TYPE_CHECKING:
    from .tracing import Scope, Tracing

_LOG = logging.getLogger(__name__)

_WINDOW = 256
"""Requests of one stream that may wait for their answers; the stream is not read further until one is answered."""

Infer = Callable[[m.ModelInferRequest, float | None, Call], Pending]
"""Queues a request's rows, given the seconds that its caller will wait and what it came with, or raises."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A request whose rows are queued."""

    call: Call
    pending: Pending

    @property
    def request_id(self) -> str:
        """The id that the request gave."""
        return self.pending.request_id


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that got no further; it is None where it was illegible."""

    call: Call
    error: Exception
    request: m.ModelInferRequest | None

    @property
    def request_id(self) -> str:
        """The id that the request gave, where it was legible."""
        return "" if self.request is None else self.request.id


Taken = Queued | Refused


class Streams:
    """The open streams of a server. `answer` is called once a stream, from any thread; `end` once, last."""

    def __init__(
        self,
        infer: Infer,
        gate: Gate,
        max_streams: int,
        count: SharedCount | None = None,
        *,
        log: CallLog | None = None,
        tracing: "Tracing | None" = None,
    ) -> None:
        """Store the parts.

        Args:
            infer: queues one request.
            gate: the way in for new streams.
            max_streams: streams open at once.
            count: of the open streams, where several processes share the limit.
            log: of the calls.
            tracing: makes spans of the stages of requests.
        """
        self._log = log or CallLog()
        self._tracing = tracing
        self._count = count or Tally()
        self._infer = infer
        self._gate = gate
        self._max_streams = max_streams
        self._lock = threading.Lock()
        self._open: set[_Stream] = set()
        self._ended = False

    def answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[m.ModelStreamInferResponse]:
        """Answer the requests of one stream in their order."""
        call = Call("ModelStreamInfer", context.invocation_metadata())
        scope = None if self._tracing is None else self._tracing.scope()
        stream = _Stream(self._infer, requests, context, call, scope)
        try:
            self._gate.enter()
            self._enter(stream)
        except (NotReady, Overloaded) as error:
            self._log.abort(context, call, error)
        context.set_trailing_metadata(call.trailer)
        try:
            # One callback a stream, not one a request: gRPC keeps them until the stream ends.
            context.add_callback(stream.abandon)
            threading.Thread(target=stream.read, name="widedeep-stream-reader", daemon=True).start()
            while (item := stream.next()) is not None:
                yield self._response(item, scope)
            if stream.is_cut_off:
                self._log.abort(context, call, NotReady("the server is draining"))
        finally:
            with self._lock:
                self._open.discard(stream)
                self._count.own = len(self._open)
            stream.abandon()

    def _enter(self, stream: "_Stream") -> None:
        """Count a stream as open.

        Raises:
            NotReady: the server has ended all of them.
            Overloaded: it is one too many.
        """
        with self._lock:
            if self._ended:
                raise NotReady("the server is draining")
            if len(self._open) + self._count.elsewhere() >= self._max_streams:
                raise Overloaded(f"{self._max_streams} streams are open, the most this server allows")
            self._open.add(stream)
            self._count.own = len(self._open)

    def _response(self, item: "Taken", scope: "Scope | None") -> m.ModelStreamInferResponse:
        """Return the answer of a request, or what became of it in its place."""
        call = item.call
        about = item.request if isinstance(item, Refused) else item.pending
        try:
            if isinstance(item, Refused):
                raise item.error
            response = item.pending.response()
            if self._log.logs_all:
                self._log.answered(call, item.pending)
            return m.ModelStreamInferResponse(infer_response=response)
        except Exception as error:
            _, message = self._log.failed(call, error, about)
            return m.ModelStreamInferResponse(
                error_message=message, infer_response=m.ModelInferResponse(id=item.request_id)
            )
        finally:
            if scope is not None:
                scope.end(call, about, name="request")

    def end(self) -> None:
        """Read no stream further and end each once what was read from it is answered."""
        with self._lock:
            self._ended = True
            streams = list(self._open)
        for stream in streams:
            stream.drain()


class _Stream:
    """One stream between the thread that reads it and the one that answers it."""

    def __init__(
        self,
        infer: Infer,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        call: Call,
        scope: "Scope | None",
    ) -> None:
        self._call = call
        self._scope = scope
        self._infer = infer
        self._requests = requests
        self._context = context
        self._changed = threading.Condition()
        self._window: deque[Taken] = deque()
        self._answering: Taken | None = None
        self._is_reading = True
        self._is_complete = False
        self._at_hand = False
        self._is_draining = False
        self._is_abandoned = False

    @property
    def is_cut_off(self) -> bool:
        """Whether the caller may have sent more than was read."""
        return self._is_draining and not self._is_complete

    def read(self) -> None:
        """Queue requests as they come, until the stream's end or until nobody answers any more."""
        try:
            for data in self._requests:
                if not self._take_up():
                    break
                item = self._queued(data)
                with self._changed:
                    self._window.append(item)
                    self._at_hand = False
                    self._changed.notify_all()
                if self._is_abandoned:
                    self.abandon()
            else:
                self._is_complete = True
        except Exception as error:  # gRPC raises a bare exception when the stream breaks
            _LOG.debug("stream ended: %s", error)
        with self._changed:
            self._is_reading = False
            self._changed.notify_all()

    def next(self) -> Taken | None:
        """Wait for the next request to answer; None at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._window or (not self._at_hand and (self._is_draining or not self._is_reading))
            )
            self._answering = self._window.popleft() if self._window else None
            self._changed.notify_all()
            return self._answering

    def drain(self) -> None:
        """Read no further."""
        with self._changed:
            self._is_draining = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Drop what has not been answered: the caller has gone."""
        with self._changed:
            self._is_draining = self._is_abandoned = True
            left = [self._answering, *self._window]
            self._window.clear()
            self._changed.notify_all()
        for item in left:
            if isinstance(item, Queued):
                item.pending.cancel()

    def _take_up(self) -> bool:
        """Wait for room in the window; return whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._window) < _WINDOW or self._is_draining)
            self._at_hand = not self._is_draining
            return self._at_hand

    def _queued(self, data: bytes) -> Taken:
        request = None
        call = Call(self._call.method, self._call.metadata, self._call.id)
        try:
            request = parsed(m.ModelInferRequest, data)
            call.identify(request.id)
            if self._scope is not None:
                self._scope.begin(call)
            return Queued(call, self._infer(request, time_left_s(self._context), call))
        except Exception as error:
            return Refused(call, error, request)
