"""What runs the tasks of a job: threads of this process, Ray Data or Spark; all by `worker.Worker`, with equal bits."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Literal, Protocol

from ...contract.errors import ConfigurationError
from ..spec import JobSpec
from ..task import Task, TaskResult
from .options import EngineOptions

EngineName = Literal["local", "ray", "spark"]


class Engine(Protocol):
    """Runs tasks."""

    def __call__(
        self, spec: JobSpec, tasks: Iterator[Task], options: EngineOptions, observe: Callable[[int], None]
    ) -> Iterator[TaskResult]:
        """Yield the result of each task once it has ended, in any order; closing the iterator stops those under way.

        Args:
            spec: the job.
            tasks: taken from as workers become free.
            options: how many workers, and what else does not change a row.
            observe: told of rows done between results, from any thread, where the engine can tell.
        """
        ...


def engine_named(name: EngineName) -> Engine:
    """Return an engine; its library is imported only now.

    Raises:
        ConfigurationError: the library is not installed.
    """
    try:
        return import_module(f".{name}", __name__).run  # type: ignore[no-any-return]  # each module has one
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
            raise
        raise ConfigurationError(
            f"the engine {name} needs {error.name}, which is not installed: install widedeep[{name}]"
        ) from error
