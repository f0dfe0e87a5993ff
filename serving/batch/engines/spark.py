"""Spark as an engine of jobs, and as the place of users' own: Python workers that each hold the bundle, loaded once.

    tasks ──> RDD of small texts, one a partition ──> executors, a `Worker` each ──> accumulator ──> driver

A Spark task's accumulator reaches the driver as that task ends: results are on record then, and not only when the whole
stage is done. Spark runs the tasks of dead executors and Python processes again. The package `widedeep` must be
installed on every node; the bundle travels by itself.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from pyspark import InheritableThread, SparkContext
from pyspark.accumulators import AccumulatorParam

from ...contract.errors import ExecutionError
from ..spec import JobSpec
from ..task import Task, TaskResult
from .options import EngineOptions
from .process import ProcessWorker, RemoteJob, results_of
from .shipping import BundleAddress
from .spark_context import SentBundle, kept, opened_context, reason_of
from .spark_frames import score

__all__ = ["run", "score"]


def run(
    spec: JobSpec,
    tasks: Iterator[Task],
    options: EngineOptions,
    observe: Callable[[int], None],  # noqa: ARG001  # Spark tells nothing of tasks under way
) -> Iterator[TaskResult]:
    """Run tasks on Spark and yield their results as they end; closing the iterator stops those under way.

    Uses the Spark that this process has, with its own settings; else starts one, on the master that `options.address`
    or Spark's configuration names or on this machine, and stops it at the end.

    Args:
        spec: the job.
        tasks: taken from some thousands at a time.
        options: how many tasks at once and the cores of each, for a Spark that is started here.
        observe: not called.

    Raises:
        ConfigurationError: Java is missing, or Spark does not start.
        ExecutionError: Spark gave up: a task killed its process again and again, or no executor is left.
    """
    job = RemoteJob.of(spec, options)
    with opened_context(options) as context:

        def run_wave(pending: Iterable[str], sent: SentBundle | None) -> Iterator[str]:
            return _results(context, job, list(pending), sent)

        yield from results_of(tasks, run_wave, lambda: SentBundle.add(context, BundleAddress.of(spec.bundle)))


class _RunTasks:
    """What runs in a Python worker for each partition: tasks of a job, one at a time."""

    def __init__(self, job: RemoteJob, sent: SentBundle | None, results: Any) -> None:
        self._job, self._sent, self._results = job, sent, results

    def __call__(self, tasks: Iterable[str]) -> None:
        worker = kept((self._job.key, self._sent is not None), self._make)
        for task in tasks:
            self._results.add([worker.run(task)])

    def _make(self) -> ProcessWorker:
        return ProcessWorker(self._job, None if self._sent is None else self._sent.write)


class _Told(AccumulatorParam[list[str]]):
    """Lists of results, gathered by a task of Spark's and put into a queue at the driver."""

    def __init__(self, queue: SimpleQueue[Any] | None = None) -> None:
        self._queue = queue

    def __reduce__(self) -> tuple[Any, ...]:
        return _Told, ()

    def zero(self, value: list[str]) -> list[str]:  # noqa: ARG002  # Spark's protocol
        return []

    def addInPlace(self, value1: list[str], value2: list[str]) -> list[str]:  # noqa: N802  # Spark's name
        if self._queue is None:
            return value1 + value2
        for result in value2:
            self._queue.put(result)
        return value1


def _results(context: SparkContext, job: RemoteJob, tasks: list[str], sent: SentBundle | None) -> Iterator[str]:
    """Yield results as they end; closing the iterator cancels what is left."""
    queue: SimpleQueue[str | BaseException | None] = SimpleQueue()
    run_tasks = _RunTasks(job, sent, context.accumulator([], _Told(queue)))
    group = f"widedeep-{uuid4().hex}"

    def run_stage() -> None:
        try:
            context.setJobGroup(group, "widedeep score", interruptOnCancel=True)
            context.parallelize(tasks, len(tasks)).foreachPartition(run_tasks)
        except Exception as error:  # raised where the results are awaited
            queue.put(error)
        else:
            queue.put(None)

    stage = InheritableThread(target=run_stage, name="widedeep-spark", daemon=True)
    stage.start()
    try:
        while (told := queue.get()) is not None:
            if isinstance(told, BaseException):
                raise ExecutionError(f"Spark gave up: {reason_of(told)}") from told
            yield told
    finally:
        if stage.is_alive():
            context.cancelJobGroup(group)
        stage.join()
