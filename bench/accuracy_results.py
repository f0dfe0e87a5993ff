"""What bench/accuracy.py has measured, on disk: a line of JSON for every job, and the losses of the test rows."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

Line = Mapping[str, Any]


class Results:
    """The results in a folder. Later lines of a job replace earlier ones. One process at a time adds to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "results.jsonl"
        self._lines: dict[tuple[str, int, str], Line] = {}
        if self._file.exists():
            for text in self._file.read_text().splitlines():
                self._take(json.loads(text))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep the folder to this process: jobs of two would overwrite each other's files.

        Raises:
            BlockingIOError: another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield

    def _take(self, line: Line) -> None:
        key = (line["set"], line["split"], line["system"])
        if "error" not in line or key not in self._lines:
            self._lines[key] = line

    def add(self, line: Line) -> None:
        """Keep a line; a failure does not replace a success."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._take(line)

    def has(self, name: str, seed: int, system: str, least_share: float) -> bool:
        """Return whether the job is done, and got at least this share of its core while it trained."""
        line = self._lines.get((name, seed, system))
        return line is not None and "error" not in line and line["fit_cpu_s"] >= least_share * line["fit_s"]

    def lines(self) -> list[Line]:
        """Return the last line of every job."""
        return list(self._lines.values())

    def keep_rows(self, key: str, system: str, losses: np.ndarray) -> None:
        """Keep the losses of a split's test rows."""
        folder = self.folder / "rows" / key
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{system}.npy", losses)

    def rows(self, name: str, seed: int, system: str) -> np.ndarray:
        """Return the losses of a split's test rows."""
        return np.load(self.folder / "rows" / f"{name}-{seed}" / f"{system}.npy")

    def note_machine(self, machine: Mapping[str, str]) -> None:
        """Keep the facts about the machine."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "machine.json").write_text(json.dumps(machine))

    def machine(self) -> dict[str, str]:
        """Return the facts about the machine."""
        return json.loads((self.folder / "machine.json").read_text())
