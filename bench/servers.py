"""Measure widedeep against other servers of the same ensemble, and write docs/benchmarks.md with its plots.

    python bench/servers.py                        everything, 5 rounds of 2 s windows: about 80 minutes on two cores
    python bench/servers.py --window-s 1 --contenders widedeep-grpcio widedeep-native triton floor bare
                                                   what the targets need of Triton and the limits: about 25 minutes
    python bench/servers.py --window-s 1 --clients caller --workloads seed tiny --loads 1x1 1x16 1x64
        --contenders widedeep-grpcio widedeep-native mlserver ray litserve bentoml --extras
                                                   (one line) the Python servers beside widedeep: about 12 minutes
    python bench/servers.py --report-only          report and plots again, from build/bench/results.json

Every contender is started in turn, checked against the bundle's golden rows, measured under every load and stopped;
then the next, and the whole again, round after round. Results are merged into results.json after every server, so that
a run that is cut short or only covers a part is not lost. Contenders that cannot be installed or started are skipped
with a line that says why.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from peers import analyzer, bundles, machine, plots, report, results
from peers.contenders import CONTENDERS, Contender, widedeep
from peers.loads import CAPACITY, LOADS
from peers.results import Record, Results
from peers.rounds import Bench

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("start", "members")
CLIENTS = ("perf_analyzer", "caller")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what the flags ask for and write the report."""
    arguments = _parser().parse_args(argv)
    path = arguments.scratch / "results.json"
    if not arguments.report_only:
        measure(arguments, path)
    found = results.load(path)
    if not found.records:
        print(f"{path} holds no results", file=sys.stderr)
        return 1
    drawn = plots.draw(found, arguments.docs / "benchmarks")
    (arguments.docs / "benchmarks.md").write_text(report.write(found, drawn))
    print(f"wrote {arguments.docs / 'benchmarks.md'} and {len(drawn)} plots")
    return 0


def measure(arguments: argparse.Namespace, path: Path) -> None:
    """Measure and merge into the file after every server."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that no server is left behind
    contenders = _contenders(arguments)
    run = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    old = Results() if arguments.fresh else results.load(path)
    new = Results(
        machine={**machine.facts(), "date": run},
        settings={"rounds": arguments.rounds, "window_s": arguments.window_s},
        contenders={contender.name: contender.how for contender in contenders},
    )

    def keep(records: Sequence[Record]) -> None:
        new.records.extend(records)
        results.save(path, old.merge(new))

    bench = Bench(arguments.scratch, arguments.window_s, run, arguments.clients, keep)
    new.skipped = bench.skipped.reasons
    started = time.monotonic()
    if arguments.fresh_bundles:
        for workload in (*arguments.workloads, "digits"):
            bundles.prepare(arguments.scratch / "bundles", workload, fresh=True)
    try:
        analyzer.fetch()
    except (analyzer.AnalyzerError, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"perf_analyzer cannot be had: {error}")
    wanted = [load for load in LOADS if load.name in arguments.loads]
    if any(load.share for load in wanted) and CAPACITY not in wanted:
        wanted.append(CAPACITY)  # what open loads go by
    bench.measure(arguments.workloads, contenders, wanted, arguments.rounds)
    if "start" in arguments.extras:
        bench.measure_starts([contender for contender in contenders if contender.is_ours], arguments.rounds)
    if "members" in arguments.extras:
        bench.measure_members(arguments.rounds)
    new.settings["minutes"] = round((time.monotonic() - started) / 60, 1)
    results.save(path, old.merge(new))


def _contenders(arguments: argparse.Namespace) -> list[Contender]:
    variants = [widedeep(name, shlex.split(flags)) for name, _, flags in (v.partition("=") for v in arguments.variant)]
    known = {contender.name: contender for contender in (*CONTENDERS, *variants)}
    if unknown := [name for name in arguments.contenders or () if name not in known]:
        sys.exit(f"unknown contender {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in arguments.contenders or known]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [contender.name for contender in CONTENDERS]
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=f"of {', '.join(names)}, and variants")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="widedeep-NAME=FLAGS",
        help="another form of widedeep, by the flags of `widedeep serve`",
    )
    parser.add_argument("--workloads", nargs="+", choices=bundles.WORKLOADS, default=list(bundles.WORKLOADS))
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS))
    load_names = [load.name for load in LOADS]
    parser.add_argument("--loads", nargs="*", choices=load_names, default=load_names)
    parser.add_argument("--extras", nargs="*", choices=EXTRAS, default=list(EXTRAS), help="what only widedeep is asked")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken (default: 5)")
    parser.add_argument("--window-s", type=float, default=2.0, help="length of one measurement (default: 2)")
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "bench", help="bundles, environments, results")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the report")
    parser.add_argument("--fresh", action="store_true", help="drop the results of earlier runs")
    parser.add_argument("--fresh-bundles", action="store_true", help="train and export the bundles again")
    parser.add_argument("--report-only", action="store_true", help="measure nothing; write report and plots again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
