"""A job that every engine does alike: a real bundle, a Parquet file with some rows that cannot be scored, its outputs.

As a script - `python engine_work.py FOLDER ENGINE OUTPUT` - it does the job in a process that a test can kill.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from small_ensembles import rows, text_labels
from widedeep.serving.batch import job
from widedeep.serving.batch.engines import EngineName
from widedeep.serving.batch.engines.options import EngineOptions
from widedeep.serving.batch.planning import Wishes

MARK = "WIDEDEEP_TEST_RUN"
os.environ.setdefault(MARK, uuid4().hex)  # tells the processes of this run's clusters from those of another
N_TASKS = 16
ROWS_PER_TASK = 20_000
N_ROWS = N_TASKS * ROWS_PER_TASK
BAD_ROWS = (7, 25_000, 25_001, N_ROWS - 1)


@dataclass(frozen=True)
class Work:
    """The job in its folder: the bundle `animals/1`, the input `rows.parquet`, and outputs by name."""

    folder: Path

    def make(self) -> None:
        self.bundle.parent.mkdir()
        some = table(text_labels(self.bundle).inputs, N_ROWS, BAD_ROWS)
        pq.write_table(some, self.folder / "rows.parquet", row_group_size=ROWS_PER_TASK)

    @property
    def bundle(self) -> Path:
        return self.folder / "animals" / "1"

    def run(self, engine: EngineName, output: str, *, bundle: str = "", **options: Any) -> job.Summary:
        wishes = Wishes(
            bundle=bundle or str(self.bundle),
            input=str(self.folder / "rows.parquet"),
            output=str(self.folder / output),
            keep=("id",),
            part_bytes=1,  # a part for every row group
        )
        return job.run(wishes, engine=engine, options=EngineOptions(**options))

    def files(self, output: str) -> dict[str, bytes]:
        """Return the parts and reject files of an output."""
        folder = self.folder / output
        found = [*folder.glob("part-*"), *folder.glob("_rejects/*")]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}

    def tasks(self, output: str) -> list[dict[str, Any]]:
        """Return what the manifest says of each task, but for how long it took."""
        told = json.loads((self.folder / output / "_manifest.json").read_text())["results"]
        return [{**task, "seconds": 0} for task in told]


def processes(command: str = "", mark: str = "") -> set[int]:
    """Return the live processes of a run, by default of this one, whose command line holds a text."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            is_dead = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if not is_dead and command.encode() in line and f"{MARK}={mark or os.environ[MARK]}".encode() in environment:
            found.add(int(folder.name))
    return found


def table(inputs: Any, n_rows: int, bad_rows: tuple[int, ...] = ()) -> Any:
    """Return rows for the inputs of `text_labels` as a `pyarrow.Table`."""
    arrays = rows(inputs, n_rows)
    tabular = np.array(arrays["tabular"])
    tabular[list(bad_rows)] = np.nan
    columns = {name: tabular[:, i] for i, name in enumerate("abc")}
    image = pa.FixedSizeListArray.from_arrays(pa.array(arrays["image"].reshape(-1)), 8)
    return pa.table({"id": np.arange(n_rows), **columns, "image": image})


if __name__ == "__main__":
    folder, engine, output = sys.argv[1:]
    Work(Path(folder)).run(engine, output, n_workers=2)  # type: ignore[arg-type]  # the name of an engine
