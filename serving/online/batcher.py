"""Dynamic batching of one servable: requests wait in one queue, from which the workers of the pool cut batches.

A request that finds a core idle is started at once; batches form from what waits while the cores are busy, or within
the policy's delay. Requests are taken by urgency: by their deadlines, and by arrival where there is none or a distant
one. Rows of a batch are executed together and each request gets its own back.
"""

import heapq
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

from ..contract.errors import DeadlineExceeded, InvalidInput, NotReady, Overloaded
from ..engine.batch import Outputs
from ..engine.ensemble import Ensemble
from ..engine.plan import HAND_OFF_S
from ..engine.pool import Job, Pool
from .alarm import Alarm
from .execution import Execution, Piece, joined, split
from .policy import BatchPolicy, urgency_s
from .request import Request
from .statistics import Statistics
from .tally import SharedCount, Tally

_LOG = logging.getLogger(__name__)


class Batcher:
    """One queue in front of an ensemble. `submit` may be called from any thread.

    Order of calls: any number of `submit`, then `close`. Owner: the servable.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        pool: Pool,
        policy: BatchPolicy,
        statistics: Statistics,
        *,
        waiting: SharedCount | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts.

        Args:
            ensemble: executes batches.
            pool: whose workers cut and execute them.
            policy: limits and batch sizes.
            statistics: told of every batch.
            waiting: the count of rows that wait, where several processes share the limit.
            clock: seconds, monotonic.
        """
        self._ensemble = ensemble
        self._pool = pool
        self._policy = policy
        self._statistics = statistics
        self._shared = waiting or Tally()
        self._clock = clock
        self._lock = threading.Lock()
        self._emptied = threading.Condition(self._lock)
        self._queue: list[tuple[float, int, Request]] = []
        self._order = count()
        self._waiting_rows = 0
        self._n_gone = 0
        self._coming = 0
        self._n_batches = 0
        self._n_short = 0
        self._closed = False
        self._alarm = Alarm(self._call_workers)

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be executed."""
        return self._waiting_rows

    def submit(self, request: Request) -> None:
        """Put a request into the queue, where it gets its answer.

        Raises:
            Overloaded: too many rows wait.
            NotReady: the batcher is closed.
        """
        with self._lock:
            if self._closed:
                raise NotReady("the model is being unloaded")
            # Told before it is asked: of two processes that ask at once, one at least sees the other's rows.
            self._wait(request.n_rows)
            waiting = self._waiting_rows - request.n_rows + self._shared.elsewhere()
            if not self._policy.admits(waiting, request.n_rows):
                self._wait(-request.n_rows)
                raise Overloaded(
                    f"the queue is full: {waiting} rows wait, {request.n_rows} more would exceed "
                    f"{self._policy.max_queue_rows}"
                )
            request.arrived_s = self._clock()
            request.is_waiting = True
            self._push(request, request.arrived_s)
        request.on_end(partial(self._withdraw, request))
        self._call_workers()

    def close(self) -> None:
        """Refuse new requests and return when those that wait are answered."""
        with self._lock:
            self._closed = True
        self._alarm.close()
        self._call_workers()
        with self._emptied:
            self._emptied.wait_for(lambda: not self._waiting_rows and not self._coming and not self._n_batches)

    def _call_workers(self, *, step_back: bool = False) -> None:
        """Let one more worker cut a batch, if that is called for; with `step_back` behind who else comes meanwhile."""
        with self._lock:
            seconds = self._next_job_s()
        if seconds is not None:
            self._pool.submit(self._step_back if step_back else self._cut_and_execute, seconds)

    def _step_back(self) -> Job:
        """Return the job proper, which the pool puts behind the jobs that wait: this model has just had its turn."""
        return self._cut_and_execute

    def _next_job_s(self) -> float | None:
        """Count one more worker as coming and return how long its batch will take; None if none is called for."""
        if not self._waiting_rows:
            return None
        if self._policy.max_delay_s and not self._closed and (wait_s := self._wait_s()) > 0:
            self._alarm.set(wait_s)
            return None
        rows = min(self._waiting_rows, self._policy.max_batch_rows)
        seconds = self._ensemble.seconds(rows)
        if not self._policy.wants_worker(self._coming + self._n_short, self._pool.idle, seconds):
            return None
        self._coming += 1
        return seconds

    def _wait_s(self) -> float:
        if self._waiting_rows >= self._policy.max_batch_rows:
            return 0.0
        oldest_s = min(request.arrived_s for _, _, request in self._queue if request.is_waiting)
        return self._policy.wait_s(self._waiting_rows, oldest_s, self._clock())

    def _cut_and_execute(self) -> Job | None:
        """Execute a batch on this thread, which has a slot of the pool; return the same again if more is at hand.

        What is left in the queue meanwhile goes to the next core that is free, whoever has used it, unless the batch is
        so short that this thread is back sooner.
        """
        with self._lock:
            batch, late = self._cut()
            self._coming -= 1
            n_rows = sum(piece.stop - piece.start for piece in batch)
            is_short = bool(batch) and self._ensemble.seconds(n_rows) < HAND_OFF_S
            self._n_short += is_short
            self._n_batches += bool(batch)
        self._call_workers(step_back=True)
        for request in late:
            request.end(DeadlineExceeded("the deadline passed while the request waited"))
        if batch:
            self._run(batch, self._ended)
        with self._lock:
            self._n_short -= is_short  # though a last run of it may still go on elsewhere: this thread is back
            seconds = self._next_job_s()
            self._tell_if_empty()
        return None if seconds is None else self._cut_and_execute

    def _ended(self) -> None:
        """Count a batch as over."""
        with self._lock:
            self._n_batches -= 1
            self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._closed and not (self._waiting_rows or self._coming or self._n_batches):
            self._emptied.notify_all()

    def _cut(self) -> tuple[list[Piece], list[Request]]:
        """Cut a batch off the front of the queue; return it and the requests whose deadline has passed."""
        batch: list[Piece] = []
        late: list[Request] = []
        n_rows = 0
        room = self._policy.room(self._waiting_rows, self._coming, self._ensemble.efficient_rows)
        now = self._clock()
        while self._queue:
            request = self._queue[0][2]
            if not request.is_waiting:
                heapq.heappop(self._queue)
                self._n_gone -= 1
                continue
            taken = self._policy.rows_to_take(request.n_rows, request.taken, room, n_rows)
            if taken == 0:
                break
            if request.deadline_s is not None and request.deadline_s <= now:
                self._drop(request)
                late.append(request)
                continue
            heapq.heappop(self._queue)
            batch.append(Piece(request, request.taken, request.taken + taken))
            request.taken += taken
            n_rows += taken
            self._wait(-taken)
            request.is_waiting = request.taken < request.n_rows
            if request.is_waiting:  # behind those that came meanwhile, so that it holds nobody up
                self._push(request, now)
                break
        return batch, late

    def _wait(self, n_rows: int) -> None:
        """Count rows that begin to wait, or if negative that cease to."""
        self._waiting_rows += n_rows
        self._shared.own = self._waiting_rows

    def _push(self, request: Request, now_s: float) -> None:
        heapq.heappush(self._queue, (urgency_s(now_s, request.deadline_s), next(self._order), request))

    def _run(self, batch: Sequence[Piece], ended: Callable[[], None]) -> None:
        """Execute and answer a batch; `ended` is called once all of it is over."""
        try:
            execution = Execution(batch, self._clock)
        except Exception as error:  # no memory for the merged rows
            self._give_up(batch, error, ended)
            return
        self._ensemble.start(
            execution.inputs,
            execution.n_rows,
            execution.outputs,
            partial(self._finish, execution, ended),
            execution.observe,
            first_row=batch[0].start,
        )

    def _finish(self, execution: "Execution", ended: Callable[[], None], answer: Outputs | Exception) -> None:
        """Count and answer a batch."""
        batch = execution.batch
        if isinstance(answer, Exception):
            self._give_up(batch, answer, ended)
            return
        executed = self._clock()
        try:
            parts = split(answer, batch)
            self._statistics.record_batch(execution.record(executed), time.time_ns() // 1_000_000)
        except Exception as error:  # without an answer its callers would wait for ever
            self._give_up(batch, error, ended)
            return
        for piece, part in zip(batch, parts, strict=True):
            self._answer(piece, part)
        ended()

    def _give_up(self, batch: Sequence[Piece], error: Exception, ended: Callable[[], None]) -> None:
        """Fail the only request of a batch that failed; of several each gets its own try and fails no other."""
        if len(batch) == 1:
            request = batch[0].request
            if not isinstance(error, InvalidInput):  # the client is told, and nobody here can mend it
                fields = {} if request.call is None else {"request_id": request.call.id}
                _LOG.error("a request of %d rows failed", request.n_rows, exc_info=error, extra=fields)
            with self._lock:
                self._drop(request)
            request.end(error)
            ended()
            return
        left = count(len(batch) - 1, -1)
        for piece in batch:
            self._run([piece], lambda: None if next(left) else ended())

    def _answer(self, piece: Piece, part: Outputs) -> None:
        """Keep the outputs of a piece; those of a request's last rows complete its answer."""
        request = piece.request
        answer: Outputs | Exception = part
        if piece.stop - piece.start < request.n_rows:
            with self._lock:
                request.parts[piece.start] = part
                request.answered += piece.stop - piece.start
                if request.answered < request.n_rows:
                    return
            try:
                answer = joined([request.parts[start] for start in sorted(request.parts)])
            except Exception as error:
                answer = error
        request.end(answer)

    def _withdraw(self, request: Request) -> None:
        """Take a request that has ended off the queue at once, so that its rows keep no other out."""
        if not request.is_waiting:
            return
        with self._lock:
            self._drop(request)
            self._tell_if_empty()

    def _drop(self, request: Request) -> None:
        """Count a request as gone, if it waits; it leaves the queue when its turn comes, or when most of it is gone."""
        if not request.is_waiting:
            return
        request.is_waiting = False
        self._wait(request.taken - request.n_rows)
        self._n_gone += 1
        if 2 * self._n_gone > len(self._queue):
            self._queue = [entry for entry in self._queue if entry[2].is_waiting]
            heapq.heapify(self._queue)
            self._n_gone = 0
