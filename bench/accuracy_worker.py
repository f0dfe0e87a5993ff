"""Does one job of bench/accuracy.py: trains a system, predicts, times both.

Run by accuracy_jobs, in the environment of the system:

    python bench/accuracy_worker.py JOB.json
"""

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from accuracy_jobs import ENSEMBLE, FACTS_FILE, SCORES_FILE, Job

BIG_ROWS = 2_000
"""Rows of one big batch at least: the test rows, repeated where they are fewer."""
SMALL_ROWS = 32
_TIMED_S = 6.0
"""How long each kind of batch is timed at most, beyond the first calls."""


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _peak_mib() -> float:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def _us_per_row(call: Callable[[Any], Any], batches: list[Any], most: int) -> dict[str, float]:
    """Return the medians over calls of the wall and the processor time, by row."""
    wall, cpu, end = [], [], time.perf_counter() + _TIMED_S
    call(batches[0])
    for i in range(most):
        rows = batches[i % len(batches)]
        start, start_cpu = time.perf_counter(), time.process_time()
        call(rows)
        wall.append((time.perf_counter() - start) / len(rows) * 1e6)
        cpu.append((time.process_time() - start_cpu) / len(rows) * 1e6)
        if time.perf_counter() > end:
            break
    return {"wall": median(wall), "cpu": median(cpu), "calls": len(wall)}


def work(job: Job) -> None:
    """Do the job and write what came of it into its folder."""
    import numpy as np
    import pandas as pd
    from accuracy_systems import make

    warnings.simplefilter("ignore")  # that a net has not converged, that names of features are not known
    train, test = pd.read_parquet(job.train), pd.read_parquet(job.test)
    system = make(job.system, job)
    system.prepare()
    start, start_cpu = time.perf_counter(), _cpu_s()
    system.fit(train)
    fit_s, fit_cpu_s = time.perf_counter() - start, _cpu_s() - start_cpu
    peak_mib = _peak_mib()
    system.load()
    scores = {ENSEMBLE: system.predict(test), **system.parts(test)}
    big = pd.concat([test] * -(-BIG_ROWS // len(test)), ignore_index=True)
    small = [test.iloc[i : i + SMALL_ROWS] for i in range(0, len(test) - SMALL_ROWS + 1, SMALL_ROWS)]
    facts = {
        "fit_s": fit_s,
        "fit_cpu_s": fit_cpu_s,
        "peak_mib": peak_mib,
        "us_per_row": {
            "big": _us_per_row(system.predict, [big], 7),
            "small": _us_per_row(system.predict, small, 100),
        },
        "about": system.about(),
    }
    np.savez(job.folder / SCORES_FILE, **{name: np.asarray(each, np.float64) for name, each in scores.items()})
    (job.folder / FACTS_FILE).write_text(json.dumps(facts, default=str))


if __name__ == "__main__":
    given = Job.read(Path(sys.argv[1]))
    os.sched_setaffinity(0, {given.core})  # before any library counts the cores
    work(given)
