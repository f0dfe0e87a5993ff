"""What a graph takes in onnxruntime: microseconds a row, on one core, under the options that serving uses."""

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ...serving.contract.tensors import Array
from ...serving.engine.ensemble import Ensemble
from ...serving.engine.pool import Pool
from ...serving.engine.runtime import open_session
from ..member import Member

_BUDGET_S = 0.3
_MIN_REPEATS, _MAX_REPEATS = 5, 50


def member_latency_us(member: Member, rows: Mapping[str, Array], batch_rows: int) -> float:
    """Return microseconds a row of a member's graph, run alone.

    Args:
        member: what is measured.
        rows: input name -> real rows; repeated where a batch needs more.
        batch_rows: rows of a run.
    """
    batch = {spec.name: _resized(rows[spec.name], batch_rows) for spec in member.inputs}
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(member.save(Path(folder) / "member.onnx"))
        return 1e6 * _least_seconds(lambda: session.run(None, batch)) / batch_rows


def ensemble_latency_us(ensemble: Ensemble, rows: Mapping[str, Array], batch_rows: int) -> float:
    """Return microseconds a row of the whole ensemble in this process, checks and combiner included."""
    batch = {spec.name: _resized(rows[spec.name], batch_rows) for spec in ensemble.bundle.inputs}
    return 1e6 * _least_seconds(lambda: ensemble.predict(batch)) / batch_rows


def load_on_one_core(path: Path) -> Ensemble:
    """Return a bundle that computes on one thread."""
    return Ensemble.load(path, pool=Pool(1))


def _least_seconds(run: Callable[[], object]) -> float:
    """Return the least time of a few runs after one to warm up: what others do on this machine only ever adds to it."""
    run()
    times: list[float] = []
    while len(times) < _MAX_REPEATS and (len(times) < _MIN_REPEATS or sum(times) < _BUDGET_S):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def _resized(array: Array, n_rows: int) -> Array:
    return np.resize(array, (n_rows, *array.shape[1:]))
