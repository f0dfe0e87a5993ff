"""Inputs whose scoring is watched for memory: files of 1, 4 and 16 times the rows, laid out in several ways."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import batch_inputs

FILE_ROWS = 1000
"""Of each of many small files."""


@dataclass(frozen=True, slots=True)
class Case:
    """A file, or folder of files.

    Attributes:
        name: of the case.
        workload: the bundle that scores it.
        layout: row groups of 32 MiB, one group, CSV, or a folder of small files.
        n_rows: rows.
    """

    name: str
    workload: str
    layout: Literal["groups", "one group", "csv", "files"]
    n_rows: int

    @property
    def suffix(self) -> str:
        """Return the suffix of its file."""
        return {"csv": ".csv", "files": ""}.get(self.layout, ".parquet")

    def write(self, bundle: Path, path: Path) -> int:
        """Write it and return its size in bytes."""
        most_rows = {"one group": self.n_rows, "files": FILE_ROWS}.get(self.layout)
        made = batch_inputs.tables(bundle, self.n_rows, most_rows=most_rows)
        if self.layout == "files":
            batch_inputs.write_files(made, path)
            return sum(file.stat().st_size for file in path.iterdir())
        write = batch_inputs.write_csv if self.layout == "csv" else batch_inputs.write_parquet
        write(made, path)
        return path.stat().st_size


CASES = tuple(
    Case(f"{workload}, {layout}, {times}x", workload, layout, rows * times)
    for workload, layout, rows, most in (
        ("wide", "groups", 500_000, 16),
        ("wide", "one group", 500_000, 4),
        ("wide", "files", 250_000, 16),
        ("columns", "csv", 100_000, 16),
        ("seed", "groups", 4_000, 16),
        ("seed", "one group", 4_000, 4),
    )
    for times in (1, 4, 16)
    if times <= most
)
