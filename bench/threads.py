"""Where the processor time of a call goes: by thread of the server, the client, and what the graphs alone would take.

    python bench/threads.py                                   the net of 64x64 images and tiny members, both front ends
    python bench/threads.py --workloads tiny --load 8x8

The bundles and perf_analyzer are those of bench/servers.py. Threads are told apart by what the system calls them and,
where that is one name for all of Python's, by how much they do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers import analyzer, bundles, machine
from peers.contenders import Place, widedeep
from peers.loads import LOADS, WARM_UP, Load, analyzer_data
from peers.processes import free_port
from peers.served import Served

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
LEAST_US = 0.5


@dataclass(frozen=True, slots=True)
class Thread:
    """What one thread has done so far: seconds of user and system time, and how often it gave up its core."""

    name: str
    user_s: float
    system_s: float
    switches: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table for each workload and front end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=["seed", "tiny"])
    parser.add_argument("--front-ends", nargs="+", default=["native", "grpcio"])
    parser.add_argument("--load", choices=[load.name for load in LOADS if load.concurrency], default="1x16")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "bench")
    arguments = parser.parse_args(argv)
    analyzer.fetch()
    load = next(load for load in LOADS if load.name == arguments.load)
    for workload in arguments.workloads:
        repository = bundles.prepare(arguments.scratch / "bundles", workload)
        for front_end in arguments.front_ends:
            print(f"{workload}, {load.title}, {front_end}")
            measure(repository, front_end, load, arguments.seconds)
    return 0


def measure(repository: Path, front_end: str, load: Load, seconds: float) -> None:
    """Print microseconds of a call by thread, for one server under one load."""
    contender = widedeep(f"widedeep-{front_end}", ["--front-end", front_end])
    inputs, _ = bundles.samples(repository)
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundles.bundle_in(repository)
        place = Place(
            repository.resolve(), bundle.resolve(), Path(folder), free_port(), machine.cores(), Path(sys.executable)
        )
        assert contender.launch is not None  # noqa: S101 - a server
        with Served(contender, place, contender.launch(place), Path(folder) / "messages") as served:
            served.call(WARM_UP, inputs, 1.0)
            pid = served.process.pids()[0]
            data = analyzer_data(Path(folder) / "rows.json", inputs)
            command = analyzer.command(served.address, place.model, rows=load.rows, concurrency=load.concurrency)
            command += ["-p", str(round(seconds * 1000 / 3)), "-s", "999", "-r", "10", "--input-data", str(data)]
            client = subprocess.Popen(command, env=analyzer.environment(), stdout=subprocess.PIPE, text=True)
            time.sleep(1.0)
            before, began = (threads(pid), threads(client.pid)), time.monotonic()
            time.sleep(0.7 * seconds)
            after, ended = (threads(pid), threads(client.pid)), time.monotonic()
            report, _ = client.communicate()
            rows_per_s = analyzer.client_figures(report)["rows_per_s"]
    calls = rows_per_s / load.rows * (ended - began)
    show(before[0], after[0], calls)
    client_s = sum(t.user_s + t.system_s for t in after[1].values()) - sum(
        t.user_s + t.system_s for t in before[1].values()
    )
    print(f"  {'the client':<16} {client_s / calls * 1e6:7.1f} us a call; {rows_per_s:,.0f} rows/s\n")


def threads(pid: int) -> dict[str, Thread]:
    """Return thread id -> what it has done."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "stat").read_text()
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text.rpartition(")")[2].split()
        status = dict(line.split(":", 1) for line in (task / "status").read_text().splitlines() if ":" in line)
        switches = int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
        found[task.name] = Thread(name, int(fields[11]) / TICKS, int(fields[12]) / TICKS, switches)
    return found


def show(before: dict[str, Thread], after: dict[str, Thread], calls: float) -> None:
    """Print a line for each thread that did something, the busiest first, and their sum."""
    nothing = Thread("", 0.0, 0.0, 0)
    lines = []
    for task, thread in after.items():
        old = before.get(task, nothing)
        user, system = ((thread.user_s - old.user_s) / calls * 1e6, (thread.system_s - old.system_s) / calls * 1e6)
        lines.append((user + system, user, system, (thread.switches - old.switches) / calls, thread.name))
    for total, user, system, switches, name in sorted(lines, reverse=True):
        if total >= LEAST_US:
            print(f"  {name:<16} {user:7.1f} us user {system:6.1f} us system {switches:5.2f} switches")
    print(f"  {'all threads':<16} {sum(line[0] for line in lines):7.1f} us a call")


if __name__ == "__main__":
    sys.exit(main())
