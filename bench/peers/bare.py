"""The limit: onnxruntime alone, a process a core, no network, the fastest plan that can be found by trying.

    python bench/peers/bare.py '{"bundle": ..., "fused": ..., "rows": 16, "cores": 2, "window_s": 2}'

Tries each member and the fused graph with each number of rows a run, takes the cheaper of fused and single, then runs
that plan in all processes at once. Combining the members' scores is left out of the single plan: a limit is a limit.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np

_CHUNKS = (1, 2, 4, 8, 16, 32, 64)
_TRY_S = 0.12

Step = tuple[str, int]
"""A graph's file and the rows of each of its runs."""


def open_graph(path: str) -> Any:
    """Return a session with one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def fastest(
    path: str, rows: dict[str, np.ndarray], most_rows: int, chunks: Sequence[int] = _CHUNKS
) -> tuple[int, float]:
    """Return the rows a run, of `chunks` up to `most_rows`, at which a graph is fastest, and its seconds a row."""
    session = open_graph(path)
    names = [value.name for value in session.get_inputs()]
    best = (1, float("inf"))
    for chunk in (size for size in chunks if size <= most_rows):
        inputs = {name: np.resize(rows[name], (chunk, *rows[name].shape[1:])) for name in names}
        session.run(None, inputs)
        times, started = [], time.perf_counter()
        while time.perf_counter() - started < _TRY_S:
            before = time.perf_counter()
            session.run(None, inputs)
            times.append(time.perf_counter() - before)
        if (seconds := float(np.median(times)) / chunk) < best[1]:
            best = (chunk, seconds)
    return best


def plan(members: Sequence[str], fused: str, rows: dict[str, np.ndarray], most_rows: int) -> list[Step]:
    """Return the cheaper of the fused graph and the single members."""
    single = {path: fastest(path, rows, most_rows) for path in members}
    whole = fastest(fused, rows, most_rows)
    if whole[1] < sum(seconds for _, seconds in single.values()):
        return [(fused, whole[0])]
    return [(path, chunk) for path, (chunk, _) in single.items()]


def loop(steps: list[Step], samples: str, window_s: float, barrier: Barrier, answers: Any) -> None:
    """Run the plan for the window and put rows, seconds, processor seconds and the time of each block."""
    rows = _rows(samples)
    block = max(chunk for _, chunk in steps)
    runs = []
    for path, chunk in steps:
        session = open_graph(path)
        names = [value.name for value in session.get_inputs()]
        inputs = {name: np.resize(rows[name], (chunk, *rows[name].shape[1:])) for name in names}
        session.run(None, inputs)
        runs.append((session, inputs, block // chunk))
    barrier.wait()
    times: list[float] = []
    cpu, started = time.process_time(), time.perf_counter()
    while (now := time.perf_counter()) - started < window_s:
        for session, inputs, repeats in runs:
            for _ in range(repeats):
                session.run(None, inputs)
        times.append(time.perf_counter() - now)
    answers.put((block * len(times), time.perf_counter() - started, time.process_time() - cpu, times))


def main() -> None:
    """Measure and print the figures as JSON."""
    task = json.loads(sys.argv[1])
    bundle = Path(task["bundle"])
    described = json.loads((bundle / "bundle.json").read_bytes())
    samples = str(bundle / "samples.npz")
    n_processes = min(task["cores"], task["rows"])
    steps = [tuple(step) for step in task.get("plan") or ()]
    if not steps:
        members = [str(bundle / member["file"]) for member in described["members"]]
        steps = plan(members, task["fused"], _rows(samples), max(1, task["rows"] // n_processes))
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(n_processes), context.Queue()
    workers = [
        context.Process(target=loop, args=(steps, samples, task["window_s"], barrier, answers))
        for _ in range(n_processes)
    ]
    for worker in workers:
        worker.start()
    parts = [answers.get() for _ in workers]
    for worker in workers:
        worker.join()
    n_rows = sum(part[0] for part in parts)
    times = np.concatenate([part[3] for part in parts]) * 1e6
    figures = {
        "rows_per_s": sum(part[0] / part[1] for part in parts),
        "cpu_us_per_row": sum(part[2] for part in parts) / n_rows * 1e6,
        "p50_us": float(np.percentile(times, 50)),
        "p99_us": float(np.percentile(times, 99)),
    }
    print(json.dumps({"figures": figures, "plan": steps}))


def _rows(samples: str) -> dict[str, np.ndarray]:
    with np.load(samples, allow_pickle=False) as arrays:
        return {key.removeprefix("inputs/"): arrays[key] for key in arrays.files if key.startswith("inputs/")}


if __name__ == "__main__":
    main()
