"""How far a job is: a bar for a terminal, lines of JSON for a machine, or nothing."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

_JSON_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class State:
    """Where a job stands.

    Attributes:
        n_rows: rows read by this run, of tasks under way too.
        n_rejected: of these, rejected, by the tasks that have ended.
        n_bytes: bytes of input that tasks which have ended stand for, those of earlier runs included.
        total_bytes: bytes of the whole input.
        seconds: since the start of this run.
        earlier_bytes: of `n_bytes`, those of earlier runs.
    """

    n_rows: int
    n_rejected: int
    n_bytes: int
    total_bytes: int
    seconds: float
    earlier_bytes: int = 0

    @property
    def rows_per_s(self) -> float:
        """Rows read a second, by this run."""
        return self.n_rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated time to the end, by bytes; None as long as no task has ended."""
        done = self.n_bytes - self.earlier_bytes
        return None if done <= 0 else self.seconds * (self.total_bytes - self.n_bytes) / done


class Progress(Protocol):
    """Shows a job's state. `show` is called often, from any thread; within a `with`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, state: State) -> None:
        """Show a state, or pass over it if the last one was shown just now."""
        ...


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, state: State) -> None:
        """Pass over it."""


class JsonLines:
    """One line of JSON every two seconds."""

    def __init__(self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to a file, by default standard output."""
        self._file = file or sys.stdout
        self._clock = clock
        self._last = clock()
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, state: State) -> None:
        """Write the state if the last line is old enough."""
        with self._lock:
            if self._clock() - self._last < _JSON_EVERY_S:
                return
            self._last = self._clock()
        line = {
            "event": "progress",
            "rows": state.n_rows,
            "rejected": state.n_rejected,
            "bytes": state.n_bytes,
            "total_bytes": state.total_bytes,
            "seconds": round(state.seconds, 3),
            "rows_per_s": round(state.rows_per_s, 1),
            "seconds_left": None if state.seconds_left is None else round(state.seconds_left, 1),
        }
        print(json.dumps(line), file=self._file, flush=True)


class Bar:
    """A bar on standard error with rows, rows a second and the time left."""

    def __init__(self) -> None:
        """Prepare the bar; rich draws it."""
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bars

        self._bars: Any = Bars(
            TextColumn("scoring"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self._bars.add_task("", total=None, text="")

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, traceback)

    def show(self, state: State) -> None:
        """Move the bar; it is redrawn ten times a second."""
        text = f"{state.n_rows:,} rows, {state.rows_per_s:,.0f} rows/s"
        if state.n_rejected:
            text += f", {state.n_rejected:,} rejected"
        if state.seconds_left is not None:
            text += f", {duration(state.seconds_left)} left"
        self._bars.update(self._bar, completed=state.n_bytes, total=max(1, state.total_bytes), text=text)


def duration(seconds: float) -> str:
    """Return seconds as a person reads them: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
