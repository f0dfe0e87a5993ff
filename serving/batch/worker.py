"""One task from its source ranges to its part: what every engine runs, on any machine.

    reader -> blocks -> chunks -> threads that score -> part and reject file, in the order of the source

Reading and writing happen in the thread that runs the task, while the scoring threads, which all tasks of the worker
share, are at its chunks; a bounded number of chunks is under way. What a task does is decided by the job's spec alone.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Semaphore
from typing import Literal

import pyarrow as pa

from ..contract.errors import Cancelled, InvalidInput, WidedeepError
from ..contract.tensors import listed
from .chunks import Chunk, chunks
from .columns import empty_batch
from .evaluation import Tally, evaluator_of
from .local import LocalScorer
from .rows import Block, Place, Unread
from .scorer import Scorer
from .scoring import BatchScorer, Scored
from .sources import open_reader
from .sources.lines import COMPRESSIONS
from .spec import JobSpec
from .store.output import Output
from .store.parts import part_name, part_writer
from .store.rejects import RejectWriter, read_rejects
from .task import Range, Task, TaskResult

_WAITING_CHUNKS = 2
"""Chunks that wait for a thread, of all tasks together, beside one of each: memory grows with the cores alone."""

OnError = Literal["reject", "fail"]

_READ_CHUNKS = 2
"""Chunks of a block at most, which are cut from it without a copy."""


class Worker:
    """Runs tasks of one job. `run` may be called from several threads at once; `close` last.

    Attributes:
        spec: the job.
    """

    def __init__(
        self,
        spec: JobSpec,
        *,
        n_threads: int,
        on_error: OnError = "reject",
        bundle: str | None = None,
        server: str = "",
        scorer: Scorer | None = None,
    ) -> None:
        """Load the bundle, or connect to the server.

        Args:
            spec: the job.
            n_threads: threads that score.
            on_error: whether a row that cannot be scored goes to the reject file or ends the job.
            bundle: the bundle's folder, where it does not lie at `spec.bundle`.
            server: `host:port` of the server that scores, for jobs that have one.
            scorer: what scores, where this process has it already.

        Raises:
            BundleError: the bundle is damaged or not the job's.
            ConfigurationError: the server serves another one.
        """
        self.spec = spec
        self._own = None
        if scorer is None:
            self._own = scorer = open_scorer(spec, n_threads=n_threads, bundle=bundle, server=server)
        if isinstance(scorer, LocalScorer):
            scorer.open_for(n_threads)
        self._evaluator = evaluator_of(spec, bundle or spec.bundle, scorer)
        self._batches = batch_scorer(spec, scorer)
        self._reader = open_reader(spec.input)
        self._output = Output(spec.output)
        self._columns = columns_read(spec, self._batches)
        self._read_schema = pa.schema([spec.input.schema.field(name) for name in self._columns])
        self._read_rows = _READ_CHUNKS * spec.chunk_rows
        self._on_error = on_error
        self._threads = ThreadPoolExecutor(n_threads, thread_name_prefix="widedeep-score")
        self._room = Semaphore(n_threads + _WAITING_CHUNKS)
        self._stopped = Event()

    def run(self, task: Task, observe: Callable[[int], None] = lambda _: None) -> TaskResult:
        """Write the task's part and reject file and return what became of it; `observe` is told of rows done.

        Failures are returned as `TaskResult.error`; then neither file appears.
        """
        return self._attempt(TaskResult(task.number), self._blocks(task), part_name(task.number), observe)

    def retry(self, before: TaskResult) -> TaskResult:
        """Score the rejected rows of a task once more: those that pass now become one more part.

        Returns:
            What became of the task in all; `before` itself where nothing passed.
        """
        if not before.rejects:
            return before
        name = part_name(before.task, len(before.parts))
        kept = replace(before, n_in=before.n_scored, n_rejected=0, rejects="")
        after = self._attempt(kept, self._rejected(before.rejects), name, lambda _: None)
        return after if after.error or after.n_scored > before.n_scored else before

    def _attempt(
        self, before: TaskResult, items: Iterator[Block | Unread], name: str, observe: Callable[[int], None]
    ) -> TaskResult:
        """Score rows into a part and a reject file of this name; return what was there before and they together."""
        started = time.monotonic()
        counts = _Counts(None if self._evaluator is None else self._evaluator.tally())
        if counts.tally is not None and before.evaluation:
            counts.tally.merge(Tally.from_json(before.evaluation))
        try:
            rejects = RejectWriter(self._output, name, self._read_schema)
            schema = self._batches.schema(self._read_schema)
            with rejects, part_writer(self._output, name, schema, self.spec.output_format) as part:
                for chunk, scored, tally in self._scored(items):
                    part.write(scored.predictions)
                    self._reject(chunk, scored, rejects)
                    counts.add(chunk, scored, tally)
                    observe(chunk.n_rows)
        except (WidedeepError, OSError, pa.ArrowException) as error:
            return TaskResult(before.task, error=str(error) or type(error).__name__)
        return TaskResult(
            before.task,
            n_in=before.n_in + counts.n_in,
            n_scored=before.n_scored + counts.n_scored,
            n_rejected=counts.n_rejected,
            parts=(*before.parts, part.name),
            rejects=rejects.name if counts.n_rejected else "",
            seconds=round(before.seconds + time.monotonic() - started, 6),
            evaluation={} if counts.tally is None else counts.tally.to_json(),
        )

    def stop(self) -> None:
        """Let tasks under way end soon, as failed."""
        self._stopped.set()

    def close(self) -> None:
        """End the threads, and what the worker opened itself."""
        self.stop()
        if self._own is not None:
            self._own.close()
        self._threads.shutdown(cancel_futures=True)

    def _scored(self, items: Iterator[Block | Unread]) -> Iterator[tuple[Chunk, Scored, Tally | None]]:
        """Yield rows in chunks, in their order, each scored.

        One chunk of a task may always be under way, further ones as long as the worker has room for more.
        """
        under_way: deque[tuple[Chunk, Future[tuple[Scored, Tally | None]]]] = deque()

        def first() -> tuple[Chunk, Scored, Tally | None]:
            chunk, future = under_way.popleft()
            if under_way:
                self._room.release()
            return chunk, *future.result()

        try:
            for chunk in chunks(items, self.spec.chunk_rows):
                while under_way and not self._room.acquire(blocking=False):
                    yield first()
                if self._stopped.is_set():
                    raise Cancelled("the job was stopped")
                under_way.append((chunk, self._threads.submit(self._score, chunk)))
            while under_way:
                yield first()
        finally:
            for _, future in under_way:
                future.cancel()
            for _ in range(len(under_way) - 1):
                self._room.release()

    def _blocks(self, task: Task) -> Iterator[Block | Unread]:
        for part in task.ranges:
            yield from self._reader.read(part, self._columns, self._read_rows)

    def _rejected(self, name: str) -> Iterator[Block | Unread]:
        """Yield the rows of a reject file; those that could not be parsed are read from their source once more."""
        for item in read_rejects(self._output, name):
            again = None if isinstance(item, Block) else self._range_of(item.place)
            if again is None:
                yield item
            else:
                yield from self._reader.read(again, self._columns, self._read_rows)

    def _range_of(self, place: Place) -> Range | None:
        """Return the stretch that holds just one row, where the format can be cut there."""
        source = self.spec.input
        if source.format == "images":
            return Range(place.source)
        if place.byte is None or source.multiline or place.source.endswith(tuple(COMPRESSIONS)):
            return None
        return Range(place.source, place.byte, place.byte + 1)

    def _score(self, chunk: Chunk) -> tuple[Scored, Tally | None]:
        batch = empty_batch(self._read_schema) if chunk.batch is None else chunk.batch
        if self._evaluator is None:
            return self._batches.score_rows(batch), None
        evaluator, tally = self._evaluator, self._evaluator.tally()
        return self._batches.score_rows(batch, lambda *seen: evaluator.add_batch(tally, *seen)), tally

    def _reject(self, chunk: Chunk, scored: Scored, rejects: RejectWriter) -> None:
        """Write what could not be scored.

        Raises:
            InvalidInput: there is some, and the job is to end then.
        """
        for unread in chunk.unread:
            self._check(unread.place, unread.reason)
            rejects.add_unread(unread)
        for row in scored.rejected:
            place = chunk.place(row.index)
            self._check(place, row.reason)
            rejects.add(chunk.batch.slice(row.index, 1), place, row.reason)

    def _check(self, place: Place, reason: str) -> None:
        if self._on_error == "fail":
            raise InvalidInput(f"{place}: {reason}")


@dataclass(slots=True)
class _Counts:
    tally: Tally | None
    n_in: int = 0
    n_scored: int = 0
    n_rejected: int = 0

    def add(self, chunk: Chunk, scored: Scored, tally: Tally | None) -> None:
        self.n_in += chunk.n_rows
        self.n_scored += scored.predictions.num_rows
        self.n_rejected += len(chunk.unread) + len(scored.rejected)
        if self.tally is not None and tally is not None:
            self.tally.merge(tally)


def open_scorer(spec: JobSpec, *, n_threads: int, bundle: str | None = None, server: str = "") -> Scorer:
    """Return what scores the job's rows; see `Worker`."""
    if spec.server:
        from .remote import RemoteScorer

        return RemoteScorer.connect(server, spec.name, spec.version, digest=spec.digest, connections=min(4, n_threads))
    return LocalScorer.load(
        Path(bundle or spec.bundle), member_rows=spec.member_rows, providers=spec.providers, digest=spec.digest
    )


def batch_scorer(spec: JobSpec, scorer: Scorer) -> BatchScorer:
    """Return the job's way from a record batch to another."""
    return BatchScorer(
        scorer,
        outputs=spec.outputs,
        keep=spec.keep,
        prefix=spec.prefix,
        bundle_columns=spec.bundle_columns,
        image_scale=spec.image_scale,
        chunk_rows=spec.chunk_rows,
        observed=[spec.name for spec in scorer.outputs if spec.name != "label"] if spec.label else (),
    )


def columns_read(spec: JobSpec, batches: BatchScorer) -> list[str]:
    """Return the columns that the job reads.

    Raises:
        InvalidInput: one is not in the input.
    """
    names = spec.input.schema.names
    columns = batches.columns(names)
    for name in (spec.label, *spec.slices):
        if name and name not in names:
            raise InvalidInput(f"there is no column {name!r} to evaluate by; there are {listed(names)}")
        if name and name not in columns:
            columns.append(name)
    return columns
