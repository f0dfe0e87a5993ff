"""How fast do push and pull move a large bundle, beside `rclone copy`? Against a real S3 server on this machine.

    python bench/remote.py [--mib 1024] [--rounds 3]

Prints wall time, processor time and most memory of the client. Needs widedeep[s3,deploy].
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import Process
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from object_store import KEY, SECRET, find_rclone, object_store
from small_bundle import make_bundle
from widedeep.serving.contract.bundle import add_evidence

MIB = 1 << 20


def make(path: Path, mib: int) -> None:
    """Write a bundle with one large file."""
    make_bundle(path)
    add_evidence(path, {"large.bin": np.random.default_rng(0).bytes(mib * MIB)})


def measure(name: str, mib: int, *command: object) -> None:
    """Run a command and print what it took."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began
    cpu_s = usage.ru_utime + usage.ru_stime
    memory = usage.ru_maxrss / 1024
    print(f"{name:<12} {wall_s:6.1f} s {mib / wall_s:6.0f} MiB/s, CPU {cpu_s:5.1f} s, {memory:5.0f} MiB", flush=True)
    if process.returncode:
        raise SystemExit(f"{name} failed")


def main() -> None:
    """Measure both ways, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    mib = arguments.mib
    ours = (sys.executable, "-m", "widedeep.serving.cli")
    theirs = (find_rclone(), "--config", os.devnull, "copy")
    with tempfile.TemporaryDirectory() as text, object_store((folder := Path(text)) / "store") as store:
        # A process of its own: a child's memory is counted from its parent's.
        maker = Process(target=make, args=(folder / "bundle", mib))
        maker.start()
        maker.join()
        os.environ |= store.variables | {
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Rclone",
            "RCLONE_CONFIG_S_ENDPOINT": store.endpoint,
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": KEY,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": SECRET,
        }
        for number in range(arguments.rounds):
            url, other = store.url(f"ours/{number}"), f"s:bucket/theirs/{number}"
            measure("push", mib, *ours, "push", folder / "bundle", url)
            measure("rclone up", mib, *theirs, folder / "bundle", other)
            measure("push again", mib, *ours, "push", folder / "bundle", url)
            measure("pull", mib, *ours, "pull", url, folder / "pulled")
            measure("rclone down", mib, *theirs, other, folder / "copied")
            shutil.rmtree(folder / "pulled")
            shutil.rmtree(folder / "copied")


if __name__ == "__main__":
    main()
