"""The files in which a job's record is kept, each written once and whole.

_job.json            the spec, how many tasks it has, and what wrote it; written last, so its tasks are all there
_tasks.jsonl         a task a line, in the order of their numbers
_inputs.jsonl        a file of the input a line
_done/<n>-<by>.jsonl a segment of results, a result a line; `by` tells drivers apart, so none writes over another's
_manifest.json       at the end; its presence means that the job is complete
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar
from uuid import uuid4

from ...contract.errors import ConfigurationError
from ..spec import FORMAT, InputFile, JobSpec
from ..task import Task, TaskResult
from .output import Output

JOB, TASKS, INPUTS, DONE, MANIFEST = "_job.json", "_tasks.jsonl", "_inputs.jsonl", "_done", "_manifest.json"
MANIFEST_FORMAT = 1
_SEGMENT = re.compile(r"\d{6,}-[0-9a-f]{8}\.jsonl")

T = TypeVar("T")


def write_job(output: Output, spec: JobSpec, files: Iterable[InputFile], tasks: Iterable[Task]) -> int:
    """Write what a job is and return how many tasks it has; both lists are written as they come.

    Raises:
        ValueError: the tasks are not numbered from 0.
    """
    _write_lines(output, INPUTS, ([file.path, file.size, file.mtime_ns] for file in files))
    n_tasks = _write_lines(output, TASKS, (task.to_json() for task in _numbered(tasks)))
    job = {**spec.to_json(), "tasks": n_tasks, "created_by": created_by()}
    output.write(JOB, json.dumps(job, ensure_ascii=False, indent=1).encode())
    return n_tasks


def read_job(output: Output) -> tuple[JobSpec, int] | None:
    """Return the job of an output folder and how many tasks it has, None where there is none.

    Raises:
        ConfigurationError: it is damaged, or of another format.
    """
    try:
        text = output.read(JOB)
    except FileNotFoundError:
        return None
    try:
        job = json.loads(text)
        if job["format"] != FORMAT:
            raise ConfigurationError(
                f"{output.place(JOB)}: expected format {FORMAT}, got {job['format']!r}, of another release of widedeep"
            )
        return JobSpec.from_json(job), int(job["tasks"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(output, JOB, error) from error


def read_tasks(output: Output) -> Iterator[Task]:
    """Yield a job's tasks in the order of their numbers."""
    return _read_lines(output, TASKS, Task.from_json)


def read_inputs(output: Output) -> Iterator[InputFile]:
    """Yield the files of a job's input as they were when it began."""
    return _read_lines(output, INPUTS, lambda row: InputFile(*row))


def write_manifest(output: Output, head: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> None:
    """Write the manifest: `head`, then under `results` an entry a task, each on a line of its own."""
    with output.create(MANIFEST) as sink:
        sink.write(json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}").encode())
        sink.write(b',\n "results": [')
        for number, task in enumerate(tasks):
            sink.write((",\n  " if number else "\n  ").encode() + json.dumps(task, ensure_ascii=False).encode())
        sink.write(b"\n ]\n}\n")


def created_by() -> dict[str, str]:
    """Return the versions of what writes the files, of those that are installed."""
    versions = {}
    for name in ("widedeep", "pyarrow", "onnxruntime", "onnxruntime-gpu"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


class Segments:
    """The results on record, in the order in which they were recorded. Used by one thread, the driver's."""

    def __init__(self, output: Output) -> None:
        """List what there is."""
        self._output = output
        self._names = sorted(filter(_SEGMENT.fullmatch, output.names(DONE)), key=_number)
        self._next = 1 + _number(self._names[-1]) if self._names else 0
        self._writer = uuid4().hex[:8]

    def append(self, results: Iterable[TaskResult]) -> None:
        """Write results as a segment of their own."""
        name = f"{self._next:06d}-{self._writer}.jsonl"
        _write_lines(self._output, f"{DONE}/{name}", (result.to_json() for result in results))
        self._names.append(name)
        self._next += 1

    def read(self) -> Iterator[TaskResult]:
        """Yield all results; also those that a later one of the same task replaces.

        Raises:
            ConfigurationError: a segment is damaged.
        """
        for name in self._names:
            yield from _read_lines(self._output, f"{DONE}/{name}", TaskResult.from_json)


def _number(segment: str) -> int:
    return int(segment.partition("-")[0])


def _numbered(tasks: Iterable[Task]) -> Iterator[Task]:
    for number, task in enumerate(tasks):
        if task.number != number:
            raise ValueError(f"expected the task of number {number}, got {task.number}")
        yield task


def _write_lines(output: Output, name: str, values: Iterable[Any]) -> int:
    n_lines = 0
    with output.create(name) as sink:
        for value in values:
            sink.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            n_lines += 1
    return n_lines


def _read_lines(output: Output, name: str, read: Callable[[Any], T]) -> Iterator[T]:
    for number, line in enumerate(output.lines(name), 1):
        try:
            value = read(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(output, f"{name}, line {number}", error) from error
        yield value


def _damaged(output: Output, what: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"{output.place(what)}: damaged, so what is done of the job cannot be told; write to a new output ({error})"
    )
