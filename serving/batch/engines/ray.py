"""Ray Data as an engine of jobs, and as the place of users' own: actors that each hold the bundle, loaded once.

    tasks ──> data set of small texts ──> pool of actors, one `Worker` each ──> results, as they end ──> driver

Ray streams, scales the pool with the work, starts dead actors anew and runs their tasks again. The package `widedeep`
must be installed on every node; the bundle travels by itself.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import ray
import ray.data

from ...contract.errors import ExecutionError
from ...engine.pool import available_cores
from ..spec import JobSpec
from ..task import Task, TaskResult
from .frames import FrameOptions, FrameScorer, OnRowError
from .options import EngineOptions
from .process import ProcessWorker, RemoteJob, results_of
from .shipping import BLOCK_BYTES, BundleAddress, bundle_here


def run(
    spec: JobSpec,
    tasks: Iterator[Task],
    options: EngineOptions,
    observe: Callable[[int], None],  # noqa: ARG001  # Ray tells nothing of tasks under way
) -> Iterator[TaskResult]:
    """Run tasks on Ray and yield their results as they end; closing the iterator stops those under way.

    Uses the Ray that this process is connected to; else connects to `options.address` or `RAY_ADDRESS`, or starts one
    on this machine, and leaves it at the end.

    Args:
        spec: the job.
        tasks: taken from some thousands at a time.
        options: how many actors, and the CPUs of each.
        observe: not called.

    Raises:
        ExecutionError: no Ray could be connected to or started, or it gave up: a task killed its actor again and again,
            or no node is left.
    """
    job = RemoteJob.of(spec, options)

    def run_wave(pending: Iterable[str], sent: SentBundle | None) -> Iterator[str]:
        return _results(job, list(pending), sent, options)

    with _connected(options):
        yield from results_of(tasks, run_wave, lambda: SentBundle.put(spec.bundle))


class RayScorer:
    """Scores the blocks of a data set: a callable class for `Dataset.map_batches`.

        predictions = dataset.map_batches(
            RayScorer,
            fn_constructor_kwargs={"bundle": "models/mine/1", "keep": ["id"]},
            batch_format="pyarrow",
            concurrency=(1, 8),
        )

    The bundle's folder must be seen by every node; else send it: `"bundle": SentBundle.put("models/mine/1")`. Tensors
    as Ray makes them of NumPy arrays are bound like any other. Each actor scores on one thread: give it one CPU.
    """

    def __init__(
        self,
        bundle: "str | Path | SentBundle",
        outputs: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        *,
        prefix: str = "",
        bundle_columns: bool = False,
        image_scale: float | None = None,
        on_error: OnRowError = "fail",
    ) -> None:
        """Load the bundle.

        Args:
            bundle: its folder, or what `SentBundle.put` returned.
            outputs: of the bundle's to answer; None for its own choice.
            keep: columns of the data set to answer, too.
            prefix: begins the name of every column of the bundle's.
            bundle_columns: whether every row carries the bundle's name, version and digest.
            image_scale: what pixels of images are divided by; None as the bundle says.
            on_error: "fail", or "null" for nulls, and the reason in a column `error`.

        Raises:
            BundleError: it is not there, or damaged.
            InvalidInput: it has no such output.
        """
        options = FrameOptions(outputs, keep, prefix, bundle_columns, image_scale, on_error)
        self._scorer = FrameScorer.load(bundle.here() if isinstance(bundle, SentBundle) else str(bundle), options)

    def __call__(self, table: Any) -> Any:
        """Return the predictions of a `pyarrow.Table`, in its order.

        Raises:
            InvalidInput: a column is missing, or a row does not fit.
            ExecutionError: a member failed.
        """
        batches = table.to_batches() or [_without_rows(table)]
        return pa.Table.from_batches([self._scorer.score(_plain(batch)) for batch in batches])


@dataclass(frozen=True, slots=True)
class SentBundle:
    """A bundle in Ray's object store, in blocks, for nodes that do not see its folder.

    Attributes:
        address: where it lay.
        blocks: file -> references to its bytes.
    """

    address: BundleAddress
    blocks: dict[str, list[Any]]

    @classmethod
    def put(cls, path: str | Path) -> Self:
        """Put a bundle of this machine there; it stays for as long as the result does.

        Raises:
            BundleError: there is none.
        """
        address = BundleAddress.of(str(path))
        return cls(address, {name: list(map(ray.put, _blocks(file))) for name, file in address.files()})

    def here(self) -> str:
        """Return the bundle's folder on this machine, after writing it if there is none."""
        return bundle_here(self.address, self.write)

    def write(self, folder: Path) -> None:
        """Write the bundle's files."""
        for name, references in self.blocks.items():
            (folder / name).parent.mkdir(exist_ok=True)
            with (folder / name).open("wb") as file:
                for reference in references:
                    file.write(ray.get(reference))


class _JobActor:
    """What runs in an actor: tasks of a job, one at a time."""

    def __init__(self, job: RemoteJob, sent: SentBundle | None) -> None:
        self._worker = ProcessWorker(job, None if sent is None else sent.write)

    def __call__(self, tasks: Any) -> Any:
        return pa.table({"result": [self._worker.run(task) for task in tasks["task"].to_pylist()]})


def _results(job: RemoteJob, tasks: list[str], sent: SentBundle | None, options: EngineOptions) -> Iterator[str]:
    """Yield results as they end; closing the iterator ends the actors."""
    cpus = options.threads_per_worker or 1
    n_cpus = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]  # Ray is partly typed
    most = options.n_workers or max(1, n_cpus // cpus)
    pool = ray.data.ActorPoolStrategy(
        min_size=1, initial_size=min(most, len(tasks)), max_size=options.n_workers or None
    )
    texts = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=len(tasks))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args`")  # nothing else bounds how often a task is run again
        results = texts.map_batches(
            _JobActor,
            fn_constructor_args=(job, sent),
            batch_size=1,
            batch_format="pyarrow",
            compute=pool,
            num_cpus=cpus,
            **_bounded(options.retries),
        )
    results.context.enable_progress_bars = options.verbose
    batches: Any = iter(results.iter_batches(batch_size=None, batch_format="pyarrow"))
    try:
        with closing(batches):
            for batch in batches:
                yield from batch["result"].to_pylist()
    except ray.exceptions.RayError as error:
        raise ExecutionError(f"Ray gave up: {error}") from error


def _bounded(retries: int) -> dict[str, Any]:
    """Return what bounds how often a task is run again, where this Ray can be told: else there is no bound."""
    takes = signature(ray.data.Dataset.map_batches).parameters.values()
    return {"max_task_retries": retries} if any(item.kind is Parameter.VAR_KEYWORD for item in takes) else {}


def _blocks(file: Path) -> Iterator[Any]:
    """Yield a file's content as arrays of bytes, which Ray stores and gives out without a copy."""
    with file.open("rb") as source:
        while block := source.read(BLOCK_BYTES):
            yield np.frombuffer(block, np.uint8)


@contextmanager
def _connected(options: EngineOptions) -> Iterator[None]:
    """Have a Ray, one that is there or one that ends with this."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    if not options.verbose:
        logger.setLevel(logging.ERROR)
    is_own = not ray.is_initialized()
    if is_own:
        _connect(options)
    try:
        yield
    finally:
        if is_own:
            ray.shutdown()
        logger.setLevel(level)


def _connect(options: EngineOptions) -> None:
    shown: dict[str, Any] = {"log_to_driver": options.verbose}
    if not options.verbose:
        shown["logging_level"] = logging.ERROR
    if address := options.address or os.environ.get("RAY_ADDRESS", ""):
        _init(address, **shown)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    n_cpus = options.n_workers * (options.threads_per_worker or 1) or available_cores()
    _init("local", num_cpus=n_cpus, include_dashboard=False, **shown)


def _init(address: str, **options: Any) -> None:
    try:
        ray.init(address=address, **options)
    except Exception as error:  # all kinds, of which that of a node that does not start is a bare `Exception`
        what = "start Ray on this machine" if address == "local" else f"connect to Ray at {address!r}"
        raise ExecutionError(f"cannot {what}: {error}") from error


def _without_rows(table: Any) -> Any:
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in table.columns], table.schema.names)


def _plain(batch: Any) -> Any:
    """Return a record batch whose tensors are Arrow's own `FixedShapeTensor` instead of Ray's."""
    columns = [_plain_tensor(column) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _plain_tensor(column: Any) -> Any:
    kind = column.type
    if not isinstance(kind, pa.BaseExtensionType) or not kind.extension_name.startswith("ray.data.arrow_tensor"):
        return column
    lists = column.storage
    if lists.null_count:
        return lists
    value, size = lists.type.value_type, int(np.prod(kind.shape))
    fixed = pa.FixedSizeListArray.from_arrays(lists.flatten(), size)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(value, kind.shape), fixed)
