"""The engine for one machine: several tasks at once, in threads of this process, and one thread a core that scores.

Threads are enough, since onnxruntime, Arrow and Pillow all compute outside the interpreter lock; and they end with the
process, however it is killed.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ...engine.pool import available_cores
from ..spec import JobSpec
from ..task import Task, TaskResult
from ..worker import Worker
from .options import EngineOptions


def run(
    spec: JobSpec, tasks: Iterator[Task], options: EngineOptions, observe: Callable[[int], None]
) -> Iterator[TaskResult]:
    """Run tasks and yield their results as they end; closing the iterator stops those under way.

    Args:
        spec: the job.
        tasks: its tasks; taken as they are needed.
        options: `threads_per_worker` are the cores to use, 0 for all.
        observe: told of rows done, from any thread.
    """
    n_cores = options.threads_per_worker or available_cores()
    worker = worker_here(spec, options)
    running: set[Future[TaskResult]] = set()
    with ThreadPoolExecutor(n_cores, thread_name_prefix="widedeep-task") as threads:
        try:
            for task in tasks:
                running.add(threads.submit(worker.run, task, observe))
                if len(running) >= n_cores:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        finally:
            for future in running:
                future.cancel()
            worker.close()


def worker_here(spec: JobSpec, options: EngineOptions) -> Worker:
    """Return a worker with a thread a core, unless the options say otherwise."""
    return Worker(
        spec,
        n_threads=options.threads_per_worker or available_cores(),
        on_error=options.on_error,
        server=options.server,
        scorer=options.scorer,
    )
