"""One job of bench/accuracy.py: a system, trained and judged on one split of one data set, in a process of its own.

The process runs in the system's own environment and on one core, gets the training rows and the test rows without their
target, and writes its predictions. Losses are computed here, from the predictions, in the same way for all.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

JOB_FILE = "job.json"
SCORES_FILE = "scores.npz"
FACTS_FILE = "facts.json"
ENSEMBLE = "ensemble"
"""Name of a system's own prediction among its scores."""
BEST_MEMBER = "best_member"
TEST_SHARE = 0.25
CLIP = 1e-6
"""Probabilities of every system are raised to this before the log loss, and scaled to sum to one."""
_SPARE_S = 900.0
"""What a job may take beyond three times its limit before it is ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a system is to do.

    Attributes:
        system: its name.
        task: "binary", "multiclass" or "regression".
        target: column of the training rows.
        classes: labels in the order of the probabilities; empty for a regression.
        train: Parquet file of the training rows.
        test: Parquet file of the test rows, without the target.
        folder: an empty one to work in.
        limit_s: time to train in, of systems that take a limit.
        core: the one to run on.
        seed: of the system.
        flags: further flags of a command.
    """

    system: str
    task: str
    target: str
    classes: tuple[Any, ...]
    train: Path
    test: Path
    folder: Path
    limit_s: float
    core: int
    seed: int = 0
    flags: tuple[str, ...] = ()

    @property
    def is_classification(self) -> bool:
        """Whether probabilities are wanted."""
        return self.task != "regression"

    def write(self) -> Path:
        """Write the job into its folder and return the file."""
        path = self.folder / JOB_FILE
        path.write_text(json.dumps(asdict(self), default=str))
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the job that a file holds."""
        job = cls(**json.loads(path.read_text()))
        places = {name: Path(getattr(job, name)) for name in ("train", "test", "folder")}
        return replace(job, classes=tuple(job.classes), flags=tuple(job.flags), **places)


class JobError(Exception):
    """A system failed; says how."""


def run(job: Job, python: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Run a job in an environment and return scores by name, `ENSEMBLE` among them, and what was measured.

    Raises:
        JobError: the process failed or took too long; its output lies in `log.txt` of the folder.
    """
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    command = [str(python), str(Path(__file__).with_name("accuracy_worker.py")), str(job.write())]
    start = time.perf_counter()
    with (job.folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, env=os.environ | threads, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(3 * job.limit_s + _SPARE_S)
        except subprocess.TimeoutExpired:
            raise JobError(f"ended after {time.perf_counter() - start:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
    if status:
        lines = (job.folder / "log.txt").read_text(errors="replace").strip().splitlines()
        raise JobError(f"status {status}: {lines[-1] if lines else 'no output'}")
    facts = json.loads((job.folder / FACTS_FILE).read_text())
    return dict(np.load(job.folder / SCORES_FILE)), facts | {"job_s": time.perf_counter() - start}


def row_losses(scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return each row's log loss (class indices given) or squared error (values given), `(n_rows,)`."""
    if target.dtype.kind != "i":
        return (scores - target) ** 2
    raised = np.maximum(scores, CLIP)
    return -np.log((raised / raised.sum(axis=1, keepdims=True))[np.arange(len(target)), target])


def loss(rows: np.ndarray, task: str) -> float:
    """Return the log loss, or the root mean squared error."""
    return float(np.sqrt(rows.mean()) if task == "regression" else rows.mean())


def difference(a: np.ndarray, b: np.ndarray, task: str) -> tuple[float, float]:
    """Return loss of `a` minus loss of `b`, given by row, and the standard error of it over the rows.

    Source: for the root mean squared error the delta method: a row moves the root by its square over twice the root.
    """
    if task == "regression":
        a, b = a / (2 * loss(a, task)), b / (2 * loss(b, task))
        change = 2 * float(a.mean() - b.mean())
    else:
        change = float(a.mean() - b.mean())
    return change, float(np.std(a - b, ddof=1) / np.sqrt(len(a)))


def as_target(labels: Any, classes: tuple[Any, ...]) -> np.ndarray:
    """Return class indices int64, or values float64 where there are no classes."""
    if not classes:
        return np.asarray(labels, np.float64)
    place: Mapping[Any, int] = {label: i for i, label in enumerate(classes)}
    return np.array([place[label] for label in labels], np.int64)
