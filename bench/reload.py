"""What a reload costs those who call meanwhile: latency and throughput with and without new versions coming in.

    python bench/reload.py                                     the net of 64x64 images, both front ends
    python bench/reload.py --workloads digits --rounds 9

A server polls its repository. In every other window a new version appears as soon as the one before is served: it is
verified, planned, warmed up and swapped in while calls arrive at a share of what the server can do. Each has a digest
of its own, so that nothing is known of it beforehand. Windows with and without alternate, and the table has the
medians over all rounds. The bundles are those of bench/servers.py.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from peers import bundles, machine
from peers.contenders import Place, widedeep
from peers.loads import CAPACITY, WARM_UP, Load
from peers.processes import free_port
from peers.served import Served

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 0.2
LOADS = (Load("open30", 1, share=0.3), WARM_UP)
"""Calls that come by chance, far from what the server can do, and as many as it can do."""
FIGURES = ("rows_per_s", "p50_us", "p99_us", "max_us", "failed")
Figures = Mapping[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table for each workload and front end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=["seed"])
    parser.add_argument("--front-ends", nargs="+", default=["native", "grpcio"])
    parser.add_argument(
        "--loads", nargs="+", choices=[load.name for load in LOADS], default=[load.name for load in LOADS]
    )
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="further flags of `widedeep serve`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window-s", type=float, default=4.0)
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args(argv)
    os.environ["WIDEDEEP_METRICS"] = "false"
    for workload in arguments.workloads:
        repository = bundles.prepare(arguments.scratch / "bundles", workload)
        for front_end in arguments.front_ends:
            print(f"{workload}, {front_end}", flush=True)
            flags = ["--front-end", front_end, "--poll-interval-s", str(POLL_S), *arguments.flags]
            measure(repository, flags, arguments.loads, arguments.rounds, arguments.window_s)
    return 0


def measure(repository: Path, flags: Sequence[str], loads: Sequence[str], rounds: int, window_s: float) -> None:
    """Print the medians of one server under some loads, with and without reloads."""
    contender = widedeep("widedeep", flags)
    inputs, _ = bundles.samples(repository)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / repository.name
        shutil.copytree(bundles.bundle_in(repository), copy / copy.name / bundles.VERSION)
        place = Place(
            copy, bundles.bundle_in(copy), Path(name) / "home", free_port(), machine.cores(), Path(sys.executable)
        )
        place.folder.mkdir()
        assert contender.launch is not None  # noqa: S101 - a server
        launch = contender.launch(place)
        launch.env["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        with Served(contender, place, launch, Path(name) / "messages") as served:
            served.call(WARM_UP, inputs, 1.0)
            capacity = served.call(CAPACITY, inputs, 2.0)["rows_per_s"]
            for load in (load for load in LOADS if load.name in loads):
                quiet: list[Figures] = []
                busy: list[Figures] = []
                reloads = 0
                for i in range(rounds):
                    quiet.append(served.call(load, inputs, window_s, capacity=capacity, seed=i))
                    with reloading(copy / copy.name, served.address) as count:
                        busy.append(served.call(load, inputs, window_s, capacity=capacity, seed=i))
                    reloads += len(count)
                show(load.title, "no reload", quiet)
                show(load.title, f"{reloads / rounds:.1f} reloads", busy)


@contextmanager
def reloading(model: Path, address: str) -> Iterator[list[int]]:
    """Put the next version into a model's folder as soon as the one before is served; yields those served so far."""
    stop = threading.Event()
    served: list[int] = []

    def reload() -> None:
        from tritonclient.grpc import InferenceServerClient

        with InferenceServerClient(address) as client:
            while not stop.is_set():
                version = put_next(model)
                while not client.is_model_ready(model.name, str(version)) and not stop.wait(0.02):
                    pass
                served.append(version)
            while not client.is_model_ready(model.name, str(version)):
                stop.wait(0.05)

    thread = threading.Thread(target=reload)
    thread.start()
    try:
        yield served
    finally:
        stop.set()
        thread.join()


def put_next(model: Path) -> int:
    """Add a version that differs from the last one by its digest alone, and remove those before; return its number."""
    versions = sorted(int(path.name) for path in model.iterdir() if path.name.isdigit())
    for old in versions[:-1]:
        shutil.rmtree(model / str(old))
    staging = model / ".next"
    shutil.copytree(model / str(versions[-1]), staging, copy_function=os.link)
    description = staging / "bundle.json"
    data = json.loads(description.read_bytes())
    data["created_by"] = {**data["created_by"], "reload": str(versions[-1] + 1)}
    description.unlink()
    description.write_text(json.dumps(data))
    staging.rename(model / str(versions[-1] + 1))
    return versions[-1] + 1


def show(title: str, what: str, windows: Sequence[Figures]) -> None:
    """Print the medians of some windows; of failures the sum."""
    medians = {name: statistics.median(window.get(name, 0.0) for window in windows) for name in FIGURES}
    failed = sum(window.get("failed", 0.0) for window in windows)
    print(
        f"  {title:<34} {what:<12} {medians['rows_per_s']:8,.0f} rows/s   p50 {medians['p50_us'] / 1e3:7.2f} ms   "
        f"p99 {medians['p99_us'] / 1e3:7.2f} ms   longest {medians['max_us'] / 1e3:7.1f} ms   {failed:.0f} failed",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
