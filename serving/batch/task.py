"""The unit of work of a batch job: some stretches of its input, which become one part file of its output.

A task is read, scored and written as a whole, on any machine and any number of times: its part is the same every time.
What is done of a job is therefore the list of `TaskResult`s on record, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of one source file.

    Attributes:
        source: the file's path below the input's root, as `InputFile.path`.
        start: first unit of the stretch. A unit is what the file's format can be cut at: a row group (Parquet), a
            record batch (Arrow IPC files), a row (NPZ), a byte (CSV, JSON lines; rows that begin in the stretch belong
            to it); an image is one stretch.
        stop: the unit after the last, None for the end of the file.
    """

    source: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Work for one worker.

    Attributes:
        number: place among the job's tasks, from 0; names the part.
        ranges: what to read, in this order.
        n_bytes: size of that on disk, about: for progress.
    """

    number: int
    ranges: tuple[Range, ...]
    n_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        ranges = [[part.source, part.start, part.stop] for part in self.ranges]
        return {"task": self.number, "ranges": ranges, "bytes": self.n_bytes}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        return cls(int(data["task"]), tuple(Range(*part) for part in data["ranges"]), int(data["bytes"]))


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What became of a task. `n_in == n_scored + n_rejected`, unless it failed.

    Attributes:
        task: its number.
        n_in: rows read, those that could not be parsed included.
        n_scored: rows in the parts.
        n_rejected: rows in the reject file.
        parts: names of its part files in the output folder: its own, then one a retry of its rejected rows.
        rejects: name of the reject file under `_rejects/`, "" where no row was rejected.
        seconds: from its start to its end.
        evaluation: what `--evaluate` counts of these rows, in the JSON form of `evaluation.Tally`; empty without.
        error: why it failed, "" where it did not; then nothing of it counts and it may be run again.
    """

    task: int
    n_in: int = 0
    n_scored: int = 0
    n_rejected: int = 0
    parts: tuple[str, ...] = ()
    rejects: str = ""
    seconds: float = 0.0
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        return cls(**{**known, "parts": tuple(known.get("parts", ()))})
