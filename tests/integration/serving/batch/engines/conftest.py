"""A job that every engine does, and the clusters: a Ray of three CPUs and a Spark of two, started once for all tests."""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_ensembles import rows, text_labels
from widedeep.serving.batch import job
from widedeep.serving.batch.engines import EngineName
from widedeep.serving.batch.engines.options import EngineOptions
from widedeep.serving.batch.planning import Wishes

N_TASKS = 16
ROWS_PER_TASK = 20_000
BAD_ROWS = (7, 25_000, 25_001, 319_999)


@dataclass(frozen=True)
class Work:
    """A job: what scores, what is scored, and the folder of its outputs."""

    bundle: Path
    input: Path
    outputs: Path

    def wishes(self, output: str, *, bundle: str = "") -> Wishes:
        return Wishes(
            bundle=bundle or str(self.bundle),
            input=str(self.input),
            output=str(self.outputs / output),
            keep=("id",),
            part_bytes=1,
        )

    def run(self, engine: EngineName, output: str, *, bundle: str = "", **options: Any) -> job.Summary:
        return job.run(self.wishes(output, bundle=bundle), engine=engine, options=EngineOptions(**options))

    def files(self, output: str) -> dict[str, bytes]:
        """Return the parts and reject files of an output, by name."""
        folder = self.outputs / output
        found = [*folder.glob("part-*"), *folder.glob("_rejects/*")]
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in found}

    def record(self, output: str) -> list[dict[str, Any]]:
        """Return what the manifest says of each task, but for its time."""
        tasks = json.loads((self.outputs / output / "_manifest.json").read_text())["tasks"]
        return [{**task, "seconds": 0} for task in tasks]


def table(n_rows: int) -> Any:
    arrays = rows(text_labels.inputs, n_rows)
    raise NotImplementedError


@pytest.fixture(scope="package")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("work")
    bundle = text_labels(folder / "animals" / "1")
    return Work(folder / "animals" / "1", folder / "rows.parquet", folder)
