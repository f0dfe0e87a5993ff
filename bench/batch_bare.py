"""Bare onnxruntime over a Parquet file, as one would write it by hand: no checks, no rejects, no resuming.

python bench/batch_bare.py loop  BUNDLE INPUT OUTPUT      one loop, onnxruntime's own threads, 1,024 rows at once
python bench/batch_bare.py cores BUNDLE INPUT OUTPUT      a process a core with one-thread sessions, each taking
                                                          row groups; with --member-rows, runs of so many rows
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from batch_rows import Arrays, Ensemble, Sink
from peers.bare import fastest, open_graph

ROWS = 1024
_CANDIDATES = (1, 2, 4, 16, 64, 256, 1024, 4096, 8192)
_MOST_BYTES = 32 << 20


class Bare:
    """Sessions of an ensemble and how they are run. One process, one thread."""

    def __init__(self, ensemble: Ensemble, sessions: Mapping[str, Any], member_rows: Mapping[str, int]) -> None:
        self._ensemble = ensemble
        self._sessions = [(sessions[name], inputs, member_rows[name]) for name, (_, inputs) in ensemble.members.items()]
        self._rows = max(member_rows.values())

    def score(self, source: Path, groups: list[int] | None, sink: Path) -> None:
        """Score row groups of a file, all of them by default, into another file."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(source) as parquet, Sink(sink) as out:
            for batch in parquet.iter_batches(self._rows, row_groups=groups, columns=self._ensemble.columns):
                arrays = self._ensemble.arrays(batch)
                scores = [_run(session, inputs, arrays, rows) for session, inputs, rows in self._sessions]
                out.write(self._ensemble.answer(batch.column("id"), self._ensemble.combined(scores)))


def _run(session: Any, inputs: tuple[str, ...], arrays: Arrays, rows: int) -> np.ndarray:
    n_rows = len(arrays[inputs[0]])
    if rows >= n_rows:
        return session.run(None, {name: arrays[name] for name in inputs})[-1]  # type: ignore[no-any-return]
    starts = range(0, n_rows, rows)
    runs = [session.run(None, {name: arrays[name][i : i + rows] for name in inputs})[-1] for i in starts]
    return np.concatenate(runs)


def loop(bundle: Path, source: Path, output: Path) -> None:
    """One loop with sessions as onnxruntime makes them."""
    import onnxruntime as ort

    ensemble = Ensemble(bundle)
    sessions = {name: ort.InferenceSession(file) for name, (file, _) in ensemble.members.items()}
    output.mkdir()
    Bare(ensemble, sessions, dict.fromkeys(sessions, ROWS)).score(source, None, output / "part.parquet")


_bare: Bare


def _open(bundle: Path, member_rows: Mapping[str, int]) -> None:
    global _bare  # noqa: PLW0603  # what a pool's process keeps between its calls
    ensemble = Ensemble(bundle)
    sessions = {name: open_graph(file) for name, (file, _) in ensemble.members.items()}
    _bare = Bare(ensemble, sessions, {name: member_rows.get(name, ROWS) for name in sessions})


def _score_group(task: tuple[Path, int, Path]) -> None:
    source, group, output = task
    _bare.score(source, [group], output / f"part-{group:06d}.parquet")


def cores(bundle: Path, source: Path, output: Path, member_rows: Mapping[str, int]) -> None:
    """A process a core; each takes the next row group and writes it to a file of its own."""
    import pyarrow.parquet as pq

    n_groups = pq.read_metadata(source).num_row_groups
    output.mkdir()
    tasks = [(source, group, output) for group in range(n_groups)]
    with multiprocessing.get_context("spawn").Pool(
        min(n_groups, len(os.sched_getaffinity(0))), _open, (bundle, member_rows)
    ) as pool:
        for _ in pool.imap_unordered(_score_group, tasks):
            pass
        pool.close()
        pool.join()


def fastest_rows(bundle: Path, samples: Arrays) -> dict[str, int]:
    """Return member -> rows of a run at which its graph is fastest on one thread, found by trying."""
    ensemble = Ensemble(bundle)
    most = max(1, _MOST_BYTES // ensemble.row_bytes())
    rows = dict(samples)
    return {name: fastest(file, rows, most, _CANDIDATES)[0] for name, (file, _) in ensemble.members.items()}


def main() -> None:
    """Score a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("loop", "cores"))
    for name in ("bundle", "input", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--member-rows", type=json.loads, default={}, metavar="JSON", help="member -> rows of a run")
    arguments = parser.parse_args()
    if arguments.how == "loop":
        loop(arguments.bundle, arguments.input, arguments.output)
    else:
        cores(arguments.bundle, arguments.input, arguments.output, arguments.member_rows)


if __name__ == "__main__":
    main()
