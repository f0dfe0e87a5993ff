"""One job on its output folder, from its beginning, or from where it was cut off, to its manifest.

    open      lock, and see what is there
    begin     write what the job is; or make sure that what is there is this very job
    tasks     those to be done ──> engine ──> record, each as it ends
    finish    check that every part is there, remove what is on nobody's record, write the manifest

A retry of rejected rows goes from `results` by `reopen` and `record` to `finish` once more.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Self

from ...contract.errors import ConfigurationError
from ..spec import InputFile, JobSpec
from ..task import Task, TaskResult
from .changes import describe_changes
from .journal import (
    MANIFEST,
    MANIFEST_FORMAT,
    Segments,
    created_by,
    read_inputs,
    read_job,
    read_tasks,
    write_job,
    write_manifest,
)
from .lock import DEFAULT_TIMES, LeaseTimes, Lock, take_lock
from .output import Output
from .ownership import PART, check_output
from .record import Record, Totals
from .recorder import Recorder
from .rejects import REJECTS

__all__ = ["Store", "Totals"]


class Store:
    """The output folder of a job while its driver runs; made by `open`.

    Calls come in the order of the module's drawing, from one thread; `close` last.

    Attributes:
        output: the folder.
        spec: the job that is there; None before the first `begin`.
    """

    def __init__(self, output: Output, lock: Lock, clock: Callable[[], float]) -> None:
        """See `open`."""
        self.output = output
        self.spec: JobSpec | None = None
        self._lock = lock
        self._segments = Segments(output)
        self._record = Record(0)
        self._n_recorded = 0
        self._is_complete = False
        if found := read_job(output):
            self.spec, n_tasks = found
            self._take_up(n_tasks)
        self._recorder = Recorder(self._append, clock)

    @classmethod
    def open(
        cls,
        url: str,
        *,
        input_url: str = "",
        clock: Callable[[], float] = time.monotonic,
        lease: LeaseTimes = DEFAULT_TIMES,
    ) -> Self:
        """Lock an output folder and read what is on record there; the folder is made if there is none.

        Args:
            url: the folder, a local path or a URL.
            input_url: the job's input, in which the output must not lie; "" where there is none.
            clock: seconds from any start: how often results are written.
            lease: of the lock of a folder that is not local.

        Raises:
            ConfigurationError: it may not be written to, another job runs on it, or its record is damaged.
            OSError: it cannot be read or written.
        """
        output = Output(url)
        check_output(output, input_url)
        output.make()
        lock = take_lock(output, lease)
        try:
            output.empty_tmp()
            return cls(output, lock, clock)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is not on record yet and give the lock back; more than once does nothing.

        Raises:
            OSError, ConfigurationError: of `flush`; the lock is given back all the same.
        """
        try:
            self._recorder.close()
        finally:
            self._lock.release()

    @property
    def n_tasks(self) -> int:
        """How many tasks the job has."""
        return self._record.n_tasks

    @property
    def totals(self) -> Totals:
        """What is done so far."""
        return self._record.totals

    @property
    def is_complete(self) -> bool:
        """Whether the job is finished: nothing is to be done."""
        return self._is_complete

    def begin(self, spec: JobSpec, files: Sequence[InputFile], tasks: Callable[[], Iterable[Task]]) -> bool:
        """Begin a job, or take up the one that is there if it is the same; return whether it is new.

        Args:
            spec: the job.
            files: the input's, in their order.
            tasks: returns the tasks, numbered from 0; called for a new job only, and written as they come.

        Raises:
            ConfigurationError: another job began this output; names every difference.
        """
        if self.spec is None:
            self._lock.check()
            self.spec, n_tasks = spec, write_job(self.output, spec, files, tasks())
            self._record = Record(n_tasks)
            return True
        if changes := describe_changes(self.spec, spec, read_inputs(self.output), files):
            raise ConfigurationError(
                f"{self.output}: this output was begun by another job; do as it did, or give a new output:\n  "
                + "\n  ".join(changes)
            )
        self.spec = spec
        return False

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks that are not on record, in the order of their numbers."""
        return (task for task in read_tasks(self.output) if not self._record.is_done(task.number))

    def results(self) -> Iterator[TaskResult]:
        """Yield the latest result of each task that is done, in the order in which they were recorded."""
        self.flush()
        for place, result in enumerate(self._segments.read()):
            if self._record.is_latest(result.task, place):
                yield result

    def record(self, result: TaskResult) -> None:
        """Record what became of a task, in place of an earlier result of it.

        Raises:
            ValueError: it failed, its rows do not add up, or it is not this job's.
            ConfigurationError: the lock is lost.
            OSError: it cannot be written.
        """
        self._record.add(result, self._n_recorded)
        self._n_recorded += 1
        self._recorder.add(result)

    def flush(self) -> None:
        """Put on record what waits for it.

        Raises:
            ConfigurationError: the lock is lost.
            OSError: it cannot be written.
        """
        self._recorder.flush()

    def reopen(self) -> None:
        """Make a complete job one that is under way, for results that replace those it has."""
        self._lock.check()
        self.output.remove(MANIFEST)
        self._is_complete = False

    def finish(self, extra: Mapping[str, Any]) -> None:
        """Write the manifest: the job is complete. Part and reject files on nobody's record are removed.

        Args:
            extra: further keys of the manifest, such as the evaluation.

        Raises:
            ConfigurationError: a part is not there, or the lock is lost.
            ValueError: a task is not done.
            OSError: the manifest cannot be written.
        """
        if self.spec is None or self.totals.tasks < self.n_tasks:
            raise ValueError(f"{self.totals.tasks} of {self.n_tasks} tasks are done; a job is finished when all are")
        latest = {result.task: replace(result, evaluation={}) for result in self.results()}  # which may be large
        self._keep_only(latest.values())
        self._lock.check()
        head = {"format": MANIFEST_FORMAT, "output": self.output.url, **_summary(self.spec, self.totals), **extra}
        tasks = (_entry(task, latest[task.number]) for task in read_tasks(self.output))
        write_manifest(self.output, head, tasks)
        self._is_complete = True

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of a complete job."""
        return dict(json.loads(self.output.read(MANIFEST)))

    def _take_up(self, n_tasks: int) -> None:
        """Read what is done; a task whose part is gone is done again."""
        self._record = Record(n_tasks)
        there = set(self.output.names())
        for result in self._segments.read():
            if there.issuperset(result.parts):
                self._record.add(result, self._n_recorded)
            self._n_recorded += 1
        self._is_complete = MANIFEST in there and self.totals.tasks == n_tasks

    def _append(self, results: Sequence[TaskResult]) -> None:
        self._lock.check()
        self._segments.append(results)

    def _keep_only(self, results: Iterable[TaskResult]) -> None:
        """Make sure that the parts of these results are there, and remove others: of a retry that was cut off."""
        results = list(results)
        for folder, expected in (
            ("", {name for result in results for name in result.parts}),
            (REJECTS, {result.rejects for result in results if result.rejects}),
        ):
            there = {name for name in self.output.names(folder) if folder or PART.fullmatch(name)}
            if missing := expected - there:
                raise ConfigurationError(
                    f"{self.output.place(min(missing))}: on record but not there any more; run the same command again"
                )
            for name in there - expected:
                self.output.remove(f"{folder}/{name}" if folder else name)


def _summary(spec: JobSpec, totals: Totals) -> dict[str, Any]:
    return {
        "bundle": {"name": spec.name, "version": spec.version, "digest": spec.digest},
        **asdict(totals),
        "created_by": created_by(),
        "job": spec.to_json(),
    }


def _entry(task: Task, result: TaskResult) -> dict[str, Any]:
    return {
        "task": task.number,
        "ranges": task.to_json()["ranges"],
        "parts": list(result.parts),
        "rejects": result.rejects,
        "n_in": result.n_in,
        "n_scored": result.n_scored,
        "n_rejected": result.n_rejected,
        "seconds": result.seconds,
    }
