"""Batch jobs and file systems for tests of their output folders."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from widedeep.serving.batch.spec import InputFile, InputSpec, JobSpec
from widedeep.serving.batch.store.output import Output
from widedeep.serving.batch.store.parts import part_name, part_writer
from widedeep.serving.batch.task import Range, Task, TaskResult

SCHEMA = pa.schema([("x", pa.int64())])


class Bucket(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files in memory under the scheme of an object store."""

    protocol = "oss"
    store: dict[str, Any] = {}  # noqa: RUF012  # as its parent's
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.removeprefix("oss://"))


class Shared(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """This machine's files under a scheme that is not known to be local, as a network's file system."""

    protocol = "shared"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(LocalFileSystem._strip_protocol(path.removeprefix("shared://")))


fsspec.register_implementation("oss", Bucket, clobber=True)
fsspec.register_implementation("shared", Shared, clobber=True)


def remote_url(scheme: str = "memory") -> str:
    """Return the URL of a new folder in memory: `memory` moves files, `oss` puts them."""
    return f"{scheme}://{uuid4().hex}/out"


def job_spec(output: str, **changes: Any) -> JobSpec:
    """Return a job of no real bundle."""
    spec = JobSpec(
        bundle="/bundles/digits/1",
        name="digits",
        version="1",
        digest="a" * 64,
        input=InputSpec("/data", "parquet", SCHEMA),
        input_digest="b" * 64,
        output=output,
        outputs=("label",),
        member_rows={"net": 32},
    )
    return replace(spec, **changes)


def input_files(n: int = 2) -> list[InputFile]:
    """Return `n` files of an input."""
    return [InputFile(f"file-{i}.parquet", 100 + i, 1_000 + i) for i in range(n)]


def job_tasks(n: int) -> list[Task]:
    """Return `n` tasks."""
    return [Task(i, (Range("file-0.parquet", i, i + 1),), 10) for i in range(n)]


def do_task(output: Output, task: int, n_scored: int = 3, n_rejected: int = 0) -> TaskResult:
    """Write a task's part, of `n_scored` rows, and return what became of it."""
    with part_writer(output, part_name(task), SCHEMA, "parquet") as part:
        part.write(pa.record_batch([pa.array(range(n_scored), pa.int64())], SCHEMA))
    return TaskResult(task, n_scored + n_rejected, n_scored, n_rejected, (part.name,))
