"""A batch job from what the user wishes to its manifest.

Plans it, or takes up one that was cut off, and records what the engine's workers do.

    wishes -> spec and tasks -> engine (local, Ray, Spark) -> results -> store

The driver holds the output's lock and is the only one to write the record; workers write parts and reject files.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from threading import Lock
from typing import Any, Self

from ..contract.errors import ConfigurationError, ExecutionError, InvalidInput
from .engines import EngineName, engine_named
from .engines.local import worker_here
from .engines.options import EngineOptions
from .evaluation import Tally
from .planning import Plan, Wishes, make_plan
from .progress import Progress, Silent, State
from .sources import digest, list_again
from .store.changes import describe_files
from .store.record import Totals
from .store.store import Store
from .task import Task, TaskResult

_USUAL = EngineOptions()


@dataclass(frozen=True, slots=True)
class MaxRejects:
    """How many rows may be rejected: a number, a share of all, or any number.

    Attributes:
        rows: at most so many.
        share: at most this share of the rows read, from 0 to 1.
    """

    rows: int | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str | None) -> Self:
        """Read `N`, `N%` or nothing.

        Raises:
            ConfigurationError: it is neither.
        """
        if text is None:
            return cls()
        try:
            if text.endswith("%"):
                if 0 <= (share := float(text[:-1]) / 100) <= 1:
                    return cls(share=share)
            elif (rows := int(text)) >= 0:
                return cls(rows=rows)
        except ValueError:
            pass
        raise ConfigurationError(f"--max-rejects {text}: expected a whole number such as 100, or a share such as 0.1%")

    def check(self, totals: Totals, done: float) -> None:
        """Refuse too many rejected rows.

        Args:
            totals: so far.
            done: share of the input that they are of. Before the end a share is exceeded only if it would be though all
                other rows passed, and twice as many as it seems now.

        Raises:
            InvalidInput: there are more than allowed.
        """
        n, of = totals.n_rejected, totals.n_in
        if self.rows is not None and n > self.rows:
            raise InvalidInput(f"{n:,} rows of {of:,} are rejected; --max-rejects allows {self.rows:,}")
        if self.share is not None and n > self.share * of * (1 if done >= 1 else 2 / max(done, 1e-9)):
            raise InvalidInput(f"{n:,} rows of {of:,} are rejected; --max-rejects allows {self.share * 100:.6g}%")


_ANY_NUMBER = MaxRejects()


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a job. `n_in == n_scored + n_rejected`.

    Attributes:
        output: the folder.
        bundle: name, version and digest of what scored.
        n_in: rows of the input.
        n_scored: rows in the parts.
        n_rejected: rows in the reject files.
        n_parts: tasks that are done.
        n_parts_now: of these, done by this run; the others were done before.
        n_rows_now: rows in their input.
        seconds: time of this run.
        evaluation: what `--evaluate` found, empty without.
    """

    output: str
    bundle: Mapping[str, str]
    n_in: int
    n_scored: int
    n_rejected: int
    n_parts: int
    n_parts_now: int
    n_rows_now: int
    seconds: float
    evaluation: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def run(
    wishes: Wishes,
    *,
    max_rejects: MaxRejects = _ANY_NUMBER,
    retry_rejects: bool = False,
    engine: EngineName = "local",
    options: EngineOptions = _USUAL,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Do a job, or what is left of it, and return what became of it; where it is complete, nothing is done.

    Args:
        wishes: what is to be done.
        max_rejects: how many rows may be rejected.
        retry_rejects: score rejected rows once more at the end.
        engine: where tasks run.
        options: of the engine; server and scorer are set here.
        progress: shows how far the job is.
        clock: seconds, monotonic.

    Raises:
        ConfigurationError: another job is at work on the output; or it was begun by another one: another bundle, other
            options, an input that has changed since.
        InvalidInput: the input does not fit the bundle, or too many rows are rejected.
        ExecutionError: a task failed. What is done is on record, and the same call goes on from there.
        WidedeepError: the bundle is damaged, the server cannot be reached.
        OSError: a file cannot be read or written.
    """
    started = clock()
    with (
        Store.open(wishes.output, input_url=wishes.input) as store,
        closing(make_plan(wishes, store.spec)) as plan,
    ):
        options = replace(options, server=wishes.server, scorer=plan.scorer)
        store.begin(plan.spec, plan.files, plan.tasks)
        before = store.totals
        if not store.is_complete:
            with progress or Silent() as shown:
                meter = _Meter(shown, clock, sum(file.size for file in plan.files), store)
                results = engine_named(engine)(plan.spec, meter.noted(store.tasks()), options, meter.observe)
                _record(store, results, meter, max_rejects)
            max_rejects.check(store.totals, done=1.0)
            _check_input(plan)
            store.finish(_evaluation(plan, store))
        if retry_rejects:
            _retry(plan, store, options)
        return _summary(plan, store, before, clock() - started)


def _record(store: Store, results: Iterator[TaskResult], meter: "_Meter", max_rejects: MaxRejects) -> None:
    """Put results on record as they come.

    Raises:
        ExecutionError: a task failed; the others stop.
        InvalidInput: too many rows are rejected.
    """
    with closing(results):  # type: ignore[type-var]  # engines are generators
        for result in results:
            if result.error:
                raise ExecutionError(f"{result.error} (what is done is on record; the same command goes on from there)")
            store.record(result)
            meter.ended(result)
            max_rejects.check(store.totals, meter.done)


def _check_input(plan: Plan) -> None:
    """Make sure that the input is what it was when it was listed: parts of two states of it are no output.

    Raises:
        InvalidInput: it is not; the job is not complete then.
    """
    now = list_again(plan.spec.input)
    if digest(now) != plan.spec.input_digest:
        raise InvalidInput(
            "the input changed while it was read, so the parts are of no one state of it; write to a new output:\n  "
            + "\n  ".join(describe_files(plan.files, now))
        )


def _retry(plan: Plan, store: Store, options: EngineOptions) -> None:
    """Score rejected rows once more, here: they are few."""
    rejected = [result for result in store.results() if result.rejects]
    if not rejected:
        return
    store.reopen()
    worker = worker_here(plan.spec, options)
    try:
        for result in rejected:
            again = worker.retry(result)
            if again.error:
                raise ExecutionError(again.error)
            store.record(again)
    finally:
        worker.close()
    store.finish(_evaluation(plan, store))


def _evaluation(plan: Plan, store: Store) -> dict[str, Any]:
    """Return what the manifest says of the evaluation."""
    if plan.evaluator is None:
        return {}
    tally = plan.evaluator.tally()
    for result in store.results():
        tally.merge(Tally.from_json(result.evaluation))
    return {"evaluation": plan.evaluator.report(tally)}


def _summary(plan: Plan, store: Store, before: Totals, seconds: float) -> Summary:
    spec, totals = plan.spec, store.totals
    return Summary(
        output=store.output.url,
        bundle={"name": spec.name, "version": spec.version, "digest": spec.digest},
        n_in=totals.n_in,
        n_scored=totals.n_scored,
        n_rejected=totals.n_rejected,
        n_parts=totals.tasks,
        n_parts_now=totals.tasks - before.tasks,
        n_rows_now=totals.n_in - before.n_in,
        seconds=round(seconds, 3),
        evaluation=store.manifest().get("evaluation", {}),
    )


class _Meter:
    """Counts what is done and shows it. `observe` may be called from any thread, the others from the driver's."""

    def __init__(self, shown: Progress, clock: Callable[[], float], total_bytes: int, store: Store) -> None:
        self._shown, self._clock = shown, clock
        self._started = clock()
        self._total_bytes = max(total_bytes, 1)
        left = sum(task.n_bytes for task in store.tasks())
        self._earlier_bytes = self._n_bytes = max(0, self._total_bytes - left)
        self._under_way: dict[int, int] = {}
        self._n_rejected = 0
        self._n_rows = 0
        self._n_rows_ended = 0
        self._lock = Lock()

    @property
    def done(self) -> float:
        """Share of the input that is done, below 1 before the end."""
        return min(self._n_bytes / self._total_bytes, 1 - 1e-9)

    def noted(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """Yield tasks and remember their sizes while they are under way."""
        for task in tasks:
            self._under_way[task.number] = task.n_bytes
            yield task

    def observe(self, n_rows: int) -> None:
        """Count rows of tasks under way."""
        with self._lock:
            self._n_rows += n_rows
        self._show()

    def ended(self, result: TaskResult) -> None:
        """Count a task that has ended."""
        self._n_bytes += self._under_way.pop(result.task, 0)
        self._n_rejected += result.n_rejected
        self._n_rows_ended += result.n_in
        self._show()

    def _show(self) -> None:
        self._shown.show(
            State(
                n_rows=max(self._n_rows, self._n_rows_ended),
                n_rejected=self._n_rejected,
                n_bytes=self._n_bytes,
                total_bytes=self._total_bytes,
                seconds=self._clock() - self._started,
                earlier_bytes=self._earlier_bytes,
            )
        )
