"""The demo over several seeds of split and training: the chosen ensemble against the best member, on test rows.

python bench/seeds.py [N_SEEDS]
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from widedeep.export.demo.make import make_bundle


@contextmanager
def quiet(_title: str, _n_steps: int) -> Iterator[Callable[[str], None]]:
    """Show nothing of a stage."""
    yield lambda _: None


def main(n_seeds: int) -> None:
    """Run the seeds and print each, then mean and spread."""
    rows = []
    for seed in range(n_seeds):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            results = make_bundle(Path(folder) / "digits" / "1", seed, quiet).results
        best, single = min((metrics["log_loss"], name) for name, metrics in results["members"].items())
        uniform = results["combiners"]["uniform"]["log_loss"]
        ours = results["combiners"][results["chosen"]]
        rows.append((ours["log_loss"], best, uniform, ours["accuracy"], results["members"][single]["accuracy"]))
        print(
            f"seed {seed}: {results['chosen']} {rows[-1][0]:.4f} (accuracy {rows[-1][3]:.4f}), "
            f"best member {single} {best:.4f} (accuracy {rows[-1][4]:.4f}), uniform {uniform:.4f}, "
            f"{time.monotonic() - started:.0f} s",
            flush=True,
        )
    table = np.array(rows)
    ratio = table[:, 0] / table[:, 1] - 1
    for title, values in (
        ("ensemble log loss", table[:, 0]),
        ("best member log loss", table[:, 1]),
        ("uniform log loss", table[:, 2]),
        ("ensemble accuracy", table[:, 3]),
        ("best member accuracy", table[:, 4]),
        ("relative change of log loss", ratio),
    ):
        print(f"{title}: mean {values.mean():.4f}, spread {values.std(ddof=1):.4f}, worst {values.max():.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
