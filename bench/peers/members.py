"""What Python adds to each member: the processor time of `Ensemble.execute` less that of the bare sessions.

    python bench/peers/members.py BUNDLE ROWS [ROWS ...]

Both sides take turns in one process, and the median of many turns counts.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.runtime import open_session

_TURNS = 15


def measure(bundle: Path, n_rows: int, ensemble: Ensemble) -> dict[str, float]:
    """Return microseconds of processor time of one call, of its sessions alone, and of Python a member."""
    described = read_bundle(bundle)
    rng = np.random.default_rng(0)
    inputs = {spec.name: rng.normal(size=(n_rows, *spec.row_shape)).astype(np.float32) for spec in described.inputs}
    sessions = [(open_session(bundle / member.file), list(member.inputs)) for member in described.members]
    names = [spec.name for spec in described.outputs]
    whole, alone = [], []
    for turn in range(_TURNS + 2):
        before = time.process_time_ns()
        ensemble.execute(inputs, n_rows, names)
        between = time.process_time_ns()
        for session, wanted in sessions:
            session.run(None, {name: inputs[name] for name in wanted})
        after = time.process_time_ns()
        if turn >= 2:  # the first ones warm up
            whole.append((between - before) / 1e3)
            alone.append((after - between) / 1e3)
    execute_us, sessions_us = float(np.median(whole)), float(np.median(alone))
    return {
        "rows": n_rows,
        "members": len(sessions),
        "execute_us": execute_us,
        "sessions_us": sessions_us,
        "python_us_per_member": (execute_us - sessions_us) / len(sessions),
    }


def main() -> None:
    """Print one list of figures as JSON."""
    bundle = Path(sys.argv[1])
    ensemble = Ensemble.load(bundle)
    print(json.dumps([measure(bundle, int(rows), ensemble) for rows in sys.argv[2:]]))


if __name__ == "__main__":
    main()
