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

import grpc

from ..contract.errors import NotReady, Overloaded
from ..protocol import messages as m
from .gate import Gate
from .servicer import Pending
from .tally import SharedCount, Tally
from .transport import abort, parsed, status_and_message, time_left_s

_LOG = logging.getLogger(__name__)

_WINDOW = 256
"""Requests of one stream that may wait for their answers; the stream is not read further until one is answered."""

Infer = Callable[[m.ModelInferRequest, float | None], Pending]
"""Queues a request's rows, given the seconds that its caller will wait, or raises."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that got no further; `id` is its own, where it was legible."""

    id: str
    error: Exception


class Streams:
    """The open streams of a server. `answer` is called once a stream, from any thread; `end` once, last."""

    def __init__(self, infer: Infer, gate: Gate, max_streams: int, count: SharedCount | None = None) -> None:
        """Store the parts.

        Args:
            infer: queues one request.
            gate: the way in for new streams.
            max_streams: streams open at once.
            count: of the open streams, where several processes share the limit.
        """
        self._count = count or Tally()
        self._infer = infer
        self._gate = gate
        self._max_streams = max_streams
        self._lock = threading.Lock()
        self._open: set[_Stream] = set()
        self._ended = False

    def answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[m.ModelStreamInferResponse]:
        """Answer the requests of one stream in their order."""
        stream = _Stream(self._infer, requests, context)
        try:
            self._gate.enter()
        except NotReady as error:
            abort(context, error)
        with self._lock:
            if self._ended:
                abort(context, NotReady("the server is draining"))
            if len(self._open) + self._count.elsewhere() >= self._max_streams:
                abort(context, Overloaded(f"{self._max_streams} streams are open, the most this server allows"))
            self._open.add(stream)
            self._count.own = len(self._open)
        try:
            # One callback a stream, not one a request: gRPC keeps them until the stream ends.
            context.add_callback(stream.abandon)
            threading.Thread(target=stream.read, name="widedeep-stream-reader", daemon=True).start()
            while (item := stream.next()) is not None:
                yield _response(item)
            if stream.is_cut_off:
                abort(context, NotReady("the server is draining"))
        finally:
            with self._lock:
                self._open.discard(stream)
                self._count.own = len(self._open)
            stream.abandon()

    def end(self) -> None:
        """Read no stream further and end each once what was read from it is answered."""
        with self._lock:
            self._ended = True
            streams = list(self._open)
        for stream in streams:
            stream.drain()


class _Stream:
    """One stream between the thread that reads it and the one that answers it."""

    def __init__(self, infer: Infer, requests: Iterator[bytes], context: grpc.ServicerContext) -> None:
        self._infer = infer
        self._requests = requests
        self._context = context
        self._changed = threading.Condition()
        self._window: deque[Pending | Refused] = deque()
        self._answering: Pending | Refused | None = None
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

    def next(self) -> Pending | Refused | None:
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
            if isinstance(item, Pending):
                item.cancel()

    def _take_up(self) -> bool:
        """Wait for room in the window; return whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._window) < _WINDOW or self._is_draining)
            self._at_hand = not self._is_draining
            return self._at_hand

    def _queued(self, data: bytes) -> Pending | Refused:
        request_id = ""
        try:
            request = parsed(m.ModelInferRequest, data)
            request_id = request.id
            return self._infer(request, time_left_s(self._context))
        except Exception as error:
            return Refused(request_id, error)


def _response(item: Pending | Refused) -> m.ModelStreamInferResponse:
    request_id = item.id if isinstance(item, Refused) else item.request_id
    try:
        if isinstance(item, Refused):
            raise item.error
        return m.ModelStreamInferResponse(infer_response=item.response())
    except Exception as error:
        _, message = status_and_message(error)
        return m.ModelStreamInferResponse(error_message=message, infer_response=m.ModelInferResponse(id=request_id))
