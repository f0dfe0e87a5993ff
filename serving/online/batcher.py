"""Dynamic batching of one servable: requests wait in one queue, one thread executes what waits.

An idle batcher starts the first request at once; batches form from what arrives while it is busy, or within the
policy's delay. Rows of a batch are executed together and each request gets its own back.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from ..contract.errors import DeadlineExceeded, InvalidInput, NotReady, Overloaded
from ..contract.tensors import Array
from ..engine.ensemble import Ensemble
from .policy import BatchPolicy
from .statistics import BatchRecord, Statistics

Outputs = dict[str, Array]

_LOG = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Request:
    """Checked rows that wait for their answer.

    Attributes:
        inputs: input name -> `(n_rows, ...)`.
        outputs: names to answer.
        deadline_s: time on the batcher's clock after which nobody waits any more; None means never.
        future: resolves to output name -> `(n_rows, ...)`; cancelling it drops the rows not yet executed.
        arrived_s: time on the batcher's clock, set by `submit`.
        taken: rows that have gone into a batch, set by the batcher.
        parts: answers of the batches before the last, set by the batcher.
    """

    inputs: Mapping[str, Array]
    n_rows: int
    outputs: Sequence[str]
    deadline_s: float | None = None
    future: Future[Outputs] = field(default_factory=Future)
    arrived_s: float = 0.0
    taken: int = 0
    parts: list[Outputs] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `start` to `stop` of a request, as part of a batch."""

    request: Request
    start: int
    stop: int

    def inputs(self) -> Mapping[str, Array]:
        """Return the rows' inputs, as views."""
        if self.stop - self.start == self.request.n_rows:
            return self.request.inputs
        return {name: array[self.start : self.stop] for name, array in self.request.inputs.items()}


class Batcher:
    """One queue and one thread in front of an ensemble. `submit` may be called from any thread.

    Order of calls: `start`, any number of `submit`, `close`. Owner: the servable.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        policy: BatchPolicy,
        statistics: Statistics,
        *,
        name: str = "model",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts; `start` starts the thread."""
        self._ensemble = ensemble
        self._policy = policy
        self._statistics = statistics
        self._clock = clock
        self._queue: deque[Request] = deque()
        self._waiting_rows = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name=f"widedeep-batcher-{name}", daemon=True)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be executed."""
        return self._waiting_rows

    def start(self) -> None:
        """Start executing."""
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Put a request into the queue; its future gets the answer.

        Raises:
            Overloaded: too many rows wait.
            NotReady: the batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("the model is being unloaded")
            if not self._policy.admits(self._waiting_rows, request.n_rows):
                raise Overloaded(
                    f"the queue is full: {self._waiting_rows} rows wait, {request.n_rows} more would exceed "
                    f"{self._policy.max_queue_rows}"
                )
            request.arrived_s = self._clock()
            self._queue.append(request)
            self._waiting_rows += request.n_rows
            self._changed.notify()
        request.future.add_done_callback(lambda future: self._withdraw(request) if future.cancelled() else None)

    def close(self) -> None:
        """Refuse new requests, answer those that wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def _serve(self) -> None:
        while batch := self._take():
            self._run(batch)

    def _run(self, batch: Sequence[Piece]) -> None:
        """Execute and answer a batch; if it fails, each request gets its own try, so that none fails another's."""
        try:
            parts = self._execute(batch)
        except Exception as error:
            if len(batch) == 1:
                self._fail(batch[0].request, error)
                return
            for piece in batch:
                self._run([piece])
            return
        for piece, part in zip(batch, parts, strict=True):
            try:
                _answer(piece, part)
            except Exception as error:
                self._fail(piece.request, error)

    def _take(self) -> list[Piece]:
        """Wait for the next batch. Empty once closed and drained."""
        with self._changed:
            while True:
                if not self._queue:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                wait_s = self._policy.wait_s(self._waiting_rows, self._queue[0].arrived_s, self._clock())
                if wait_s > 0 and not self._closed:
                    self._changed.wait(wait_s)
                elif batch := self._cut():
                    return batch

    def _cut(self) -> list[Piece]:
        """Cut a batch off the front of the queue; what nobody waits for any more is dropped on the way."""
        batch: list[Piece] = []
        room = self._policy.max_batch_rows
        now = self._clock()
        while self._queue and room:
            request = self._queue[0]
            n_rows = self._policy.rows_to_take(request.n_rows, request.taken, room)
            if n_rows == 0:
                break
            if not _is_wanted(request, now):
                self._drop(request)
                continue
            batch.append(Piece(request, request.taken, request.taken + n_rows))
            request.taken += n_rows
            room -= n_rows
            self._waiting_rows -= n_rows
            if request.taken == request.n_rows:
                self._queue.popleft()
        return batch

    def _execute(self, batch: Sequence[Piece]) -> list[Outputs]:
        """Return each piece's outputs, after counting the batch."""
        started = self._clock()
        inputs = _merged(batch)
        names = list(dict.fromkeys(name for piece in batch for name in piece.request.outputs))
        n_rows = sum(piece.stop - piece.start for piece in batch)
        runs: list[tuple[int, int, float]] = []
        merged = self._clock()
        outputs = self._ensemble.execute(inputs, n_rows, names, observe=lambda *run: runs.append(run))
        executed = self._clock()
        parts = _split(outputs, batch)
        record = BatchRecord(
            n_rows=n_rows,
            waited_s=[started - piece.request.arrived_s for piece in batch if piece.start == 0],
            input_s=merged - started,
            infer_s=executed - merged,
            output_s=self._clock() - executed,
            members=runs,
        )
        self._statistics.record_batch(record, time.time_ns() // 1_000_000)
        return parts

    def _fail(self, request: Request, error: Exception) -> None:
        if not isinstance(error, InvalidInput):  # the client is told, and nobody here can mend it
            _LOG.error("a request of %d rows failed", request.n_rows, exc_info=error)
        with self._changed:
            self._drop(request)
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(error)

    def _withdraw(self, request: Request) -> None:
        """Take a cancelled request off the queue at once, so that its rows keep no other out."""
        with self._changed:
            self._drop(request)
            self._changed.notify()

    def _drop(self, request: Request) -> None:
        """Take a request off the queue, if it is still there."""
        try:
            self._queue.remove(request)
        except ValueError:
            return
        self._waiting_rows -= request.n_rows - request.taken


def _is_wanted(request: Request, now_s: float) -> bool:
    """Return whether somebody still waits; a request whose deadline has passed is told so."""
    if request.deadline_s is not None and request.deadline_s <= now_s:
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(DeadlineExceeded("the deadline passed while the request waited"))
        return False
    return not request.future.cancelled()


def _merged(batch: Sequence[Piece]) -> Mapping[str, Array]:
    """Return the inputs of a batch; those of one whole request are passed on without a copy."""
    if len(batch) == 1:
        return batch[0].inputs()
    parts = [piece.inputs() for piece in batch]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _split(outputs: Outputs, batch: Sequence[Piece]) -> list[Outputs]:
    """Return each piece's rows of the outputs that its request asked for, as views."""
    parts: list[Outputs] = []
    start = 0
    for piece in batch:
        stop = start + piece.stop - piece.start
        parts.append({name: outputs[name][start:stop] for name in piece.request.outputs})
        start = stop
    return parts


def _answer(piece: Piece, part: Outputs) -> None:
    """Keep the outputs of a piece; those of a request's last piece complete its answer."""
    request = piece.request
    request.parts.append(part)
    if piece.stop == request.n_rows:
        answer = _joined(request.parts)
        if request.future.set_running_or_notify_cancel():
            request.future.set_result(answer)


def _joined(parts: Sequence[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
