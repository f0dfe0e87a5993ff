"""From files to tasks of about equal size: small files together, large ones cut where their format allows.

The same files give the same tasks. Only the tables of contents of large files are read, a few at a time.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ..spec import InputFile, InputSpec
from ..task import Range, Task
from .formats import file_format
from .root import Root

_THREADS = 8
_AHEAD = 64
"""Files that are looked at before their turn."""

_MOST_RANGES = 10_000
"""Of a task: empty files and tiny images cost time, too."""

_Cuts = Sequence[tuple[int, int | None, int]]


def plan(spec: InputSpec, files: Iterable[InputFile], task_bytes: int) -> Iterator[Task]:
    """Yield tasks that read every row of the files once, in their order.

    Args:
        spec: how the input is read.
        files: of it.
        task_bytes: input of a task, about; more only where a file cannot be cut as small.

    Raises:
        InvalidInput: a large file is damaged.
        OSError: it cannot be read.
    """
    number, n_bytes = 0, 0
    ranges: list[Range] = []
    for part, size in _stretches(spec, files, task_bytes):
        if ranges and (n_bytes + size > task_bytes or len(ranges) >= _MOST_RANGES):
            yield Task(number, tuple(ranges), n_bytes)
            number, n_bytes, ranges = number + 1, 0, []
        ranges.append(part)
        n_bytes += size
    if ranges:
        yield Task(number, tuple(ranges), n_bytes)


def _stretches(spec: InputSpec, files: Iterable[InputFile], task_bytes: int) -> Iterator[tuple[Range, int]]:
    """Yield what to read, in order, and how many bytes that is."""
    root = Root.find(spec.url)
    form = file_format(spec)
    waiting: deque[tuple[InputFile, Future[_Cuts] | None]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="widedeep-plan") as threads:
        try:
            for file in files:
                if not file.size and spec.format in {"csv", "jsonl"}:
                    continue  # no line, no row
                is_whole = file.size <= task_bytes or spec.format == "images"
                opened = root.open_file(file.path, file.size)
                waiting.append((file, None if is_whole else threads.submit(form.cuts, opened, task_bytes)))
                if len(waiting) > _AHEAD:
                    yield from _cut(*waiting.popleft())
            while waiting:
                yield from _cut(*waiting.popleft())
        finally:
            for _, future in waiting:
                if future is not None:
                    future.cancel()


def _cut(file: InputFile, cuts: Future[_Cuts] | None) -> Iterator[tuple[Range, int]]:
    if cuts is None:
        yield Range(file.path), file.size
        return
    for start, stop, size in cuts.result():
        yield Range(file.path, start, stop), size
