"""Measure a server with Triton's perf_analyzer, as a model and, in its ensemble view, member by member.

    python bench/perf_analyzer.py demo                         starts `widedeep serve demo` for it
    python bench/perf_analyzer.py --address host:8001 --model digits

`peers/analyzer.py` says where the binary comes from. To measure widedeep against other servers, see `servers.py`.
"""

import argparse
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from peers import analyzer


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
    analyzer.fetch()
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
    command = [*analyzer.command(address, model, rows=rows, concurrency=concurrency), *options]
    done = subprocess.run(
        command, env=analyzer.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if "p99 latency" not in done.stdout:
        sys.exit(f"perf_analyzer failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def _read(report: str, rows: int, concurrency: int) -> Result:
    """Take the figures of one measurement out of perf_analyzer's report."""
    whole, *members = re.split(r"^  (?=\S+, version: )", report, flags=re.MULTILINE)

    def member_name(text: str) -> str:
        return text.split(",", maxsplit=1)[0].partition("/")[2]

    seen = analyzer.client_figures(whole)
    return Result(
        rows=rows,
        concurrency=concurrency,
        rows_per_s=seen["rows_per_s"],
        p50_us=int(seen["p50_us"]),
        p99_us=int(seen["p99_us"]),
        server_us=int(analyzer.figure(whole, r"Avg request latency: (\d+) usec")),
        members_us={member_name(text): int(analyzer.figure(text, r"compute infer (\d+) usec")) for text in members},
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
