"""A job's worker in a process of a cluster, made there at its first task; tasks and results travel as text.

What keeps the worker from starting - a damaged bundle, a server that cannot be reached - is the result of each task, so
that the driver hears of it as of any failure. A machine that lacks the bundle says so, and the task is run again once
the bundle was sent.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar
from uuid import uuid4

from ...contract.errors import ExecutionError, WidedeepError
from ..spec import JobSpec
from ..task import Task, TaskResult
from ..worker import Worker
from .options import EngineOptions
from .shipping import BundleAddress, BundleMissing, Fetch, bundle_here

Sent = TypeVar("Sent")

WAVE_TASKS = 10_000
"""Tasks that a cluster knows of at once: a job may have a million, and each costs the cluster's driver memory."""

MISSING = "bundle_missing"
"""Key of what stands for the result of a task whose machine lacks the bundle."""


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job as it travels to its workers.

    Attributes:
        key: tells the runs of jobs apart.
        spec: `JobSpec.to_json` as text.
        arguments: of `Worker`, beside the job.
    """

    key: str
    spec: str
    arguments: Mapping[str, Any]

    @classmethod
    def of(cls, spec: JobSpec, options: EngineOptions) -> Self:
        """Return the job."""
        return cls(uuid4().hex, json.dumps(spec.to_json()), options.worker_arguments())


class ProcessWorker:
    """Runs tasks of one job in this process, one at a time; `close` last."""

    def __init__(self, job: RemoteJob, fetch: Fetch | None) -> None:
        """Store the job; the first task starts the worker.

        Args:
            job: the job.
            fetch: gets the bundle to a machine that lacks it; None as long as the driver has not sent it.
        """
        self.job = job
        self._fetch = fetch
        self._worker: Worker | None = None

    def run(self, task: str) -> str:
        """Run a task and return its result, both as JSON."""
        number = json.loads(task)["task"]
        try:
            self._worker = self._worker or self._started()
        except BundleMissing:
            return json.dumps({MISSING: number})
        except (WidedeepError, OSError) as error:
            return json.dumps(TaskResult(number, error=f"{type(error).__name__}: {error}").to_json())
        return json.dumps(self._worker.run(Task.from_json(json.loads(task))).to_json())

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()

    def _started(self) -> Worker:
        spec = JobSpec.from_json(json.loads(self.job.spec))
        address = BundleAddress(spec.bundle, spec.version, spec.digest)
        bundle = None if spec.server else bundle_here(address, self._fetch)
        return Worker(spec, bundle=bundle, **self.job.arguments)


class Pending:
    """Tasks that a cluster was given and whose results it owes. Used from one thread.

    Attributes:
        is_bundle_missing: whether a machine lacked the bundle.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = {task.number: json.dumps(task.to_json()) for task in tasks}
        self.is_bundle_missing = False

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, result: str) -> TaskResult | None:
        """Return the result of a task, None if it is to be run again, or came before."""
        told = json.loads(result)
        if MISSING in told:
            self.is_bundle_missing = True
            return None
        taken = TaskResult.from_json(told)
        return None if self._tasks.pop(taken.task, None) is None else taken


def results_of(
    tasks: Iterator[Task],
    run: Callable[[Iterable[str], Sent | None], Iterator[str]],
    send: Callable[[], Sent],
) -> Iterator[TaskResult]:
    """Yield the results of all tasks, which a cluster is given some thousands at a time.

    Args:
        tasks: taken from as they are needed.
        run: runs tasks and yields their results as they end, given the bundle if it was sent; closing it stops them.
        send: makes the bundle available to machines that lack it; called once at most, when one does.

    Raises:
        ExecutionError: the cluster ended without all results.
    """
    sent: Sent | None = None
    while wave := list(islice(tasks, WAVE_TASKS)):
        pending = Pending(wave)
        while pending:
            with closing(run(pending, sent)) as results:  # type: ignore[type-var]  # generators
                for told in results:
                    if (result := pending.take(told)) is not None:
                        yield result
            if not pending:
                break
            if sent is not None or not pending.is_bundle_missing:
                raise ExecutionError(f"the cluster ended without the results of {len(pending)} tasks")
            sent = send()
