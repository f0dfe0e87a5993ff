"""What a session holds after runs of many sizes is bounded, and can be given back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from large_graphs import IMAGE, conv_graph

ROW_BYTES = 2 * 4 * IMAGE[0] * IMAGE[1] * IMAGE[2]
"""Of one row in a run: the input and the output of a layer."""

MEASURE = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from widedeep.serving.engine.runtime import open_session, release_memory

path, shape, most_rows, n_threads = json.loads(sys.argv[1])
session, rows = open_session(Path(path)), np.ones((most_rows, *shape), np.float32)

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def run(seed):
    sizes = np.random.default_rng(seed).integers(1, most_rows, size=25)
    for n_rows in (*sizes, most_rows):
        session.run(None, {"x": rows[:n_rows]})

session.run(None, {"x": rows[:1]})
before = resident()
with ThreadPoolExecutor(n_threads) as threads:
    list(threads.map(run, range(n_threads)))
grown = resident() - before
release_memory(session, {"x": rows[:1]})
print(json.dumps([grown, resident() - before]))
"""


@pytest.mark.parametrize(("most_rows", "n_threads"), [(256, 1), (128, 2)])
def test_a_session_holds_less_than_twice_what_its_largest_runs_need_at_once(
    most_rows: int, n_threads: int, tmp_path: Path
) -> None:
    path = tmp_path / "conv.onnx"
    path.write_bytes(conv_graph())
    given = json.dumps([str(path), IMAGE, most_rows, n_threads])
    done = subprocess.run([sys.executable, "-c", MEASURE, given], capture_output=True, text=True, check=True)
    grown, kept = json.loads(done.stdout)
    needed = n_threads * most_rows * ROW_BYTES
    # Measured: 1.0 and 1.3 times; with onnxruntime's memory patterns 2.0 and 2.1.
    assert 0.9 * needed <= grown <= 1.8 * needed
    assert kept <= 0.2 * needed
