"""Measure `widedeep score` against loops written by hand, and write docs/batch_benchmarks.md.

    python bench/batch.py measure                             everything, 5 rounds: about 50 minutes on two cores
    python bench/batch.py measure --parts rates --workloads seed wide
                                                              what the targets need: about 15 minutes
    python bench/batch.py report                              the page again, from build/bench/batch.json
    python bench/batch.py generate --workload wide --rows 5000000 FILE
                                                              a Parquet file of rows, in memory that does not grow

Results are merged into build/bench/batch.json after every run, so that what was measured before is kept. Files of rows
lie in build/bench/batch and are kept for the next run, but for those of the memory part, of up to 3 GB.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import batch_inputs
import batch_report
from batch_cases import CASES
from batch_jobs import RATE_ROWS, Jobs
from peers import machine, results
from peers.results import Record, Results

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("rates", "engines", "evaluation", "memory")
PACKAGES = (
    "onnxruntime",
    "numpy",
    "pyarrow",
    "pandas",
    "xgboost",
    "scikit-learn",
    "keras",
    "tensorflow",
    "ray",
    "pyspark",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command says."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "generate":
        bundle = Jobs(arguments.scratch, "", lambda _: None).bundle(arguments.workload)
        batch_inputs.write_parquet(batch_inputs.tables(bundle, arguments.rows, seed=arguments.seed), arguments.file)
        return 0
    path = arguments.scratch / "batch.json"
    if arguments.command == "measure":
        measure(arguments, path)
    found = results.load(path)
    if not found.records:
        print(f"{path} holds no results", file=sys.stderr)
        return 1
    page = arguments.docs / "batch_benchmarks.md"
    page.write_text(batch_report.write(found))
    print(f"wrote {page}")
    return 0


def measure(arguments: argparse.Namespace, path: Path) -> None:
    """Measure and merge into the file after every run."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    run = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    old = Results() if arguments.fresh else results.load(path)
    new = Results(machine={**machine.facts(PACKAGES), "date": run})

    def keep(records: Sequence[Record]) -> None:
        new.records.extend(records)
        results.save(path, old.merge(new))

    jobs = Jobs(arguments.scratch, run, keep)
    if "memory" in arguments.parts:
        for case in CASES:
            if case.workload in arguments.workloads:
                jobs.memory(case)
    if "evaluation" in arguments.parts:
        jobs.evaluation("digits", arguments.rounds, _rows(arguments, "digits"))
    if "engines" in arguments.parts:
        jobs.engines("wide", arguments.rounds, _rows(arguments, "wide"))
    if "rates" in arguments.parts:
        for workload in arguments.workloads:
            jobs.rates(workload, arguments.rounds, arguments.contenders, _rows(arguments, workload))


def _rows(arguments: argparse.Namespace, workload: str) -> int:
    return max(1, round(RATE_ROWS[workload] * arguments.scale))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=ROOT / "build" / "bench", help="bundles, files, results")
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure", help="measure and write the page")
    measured.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    measured.add_argument("--workloads", nargs="+", choices=list(RATE_ROWS), default=list(RATE_ROWS))
    contenders = list(batch_report.CONTENDERS)
    measured.add_argument("--contenders", nargs="+", choices=contenders, default=contenders, help="of the rates")
    measured.add_argument("--rounds", type=int, default=5, help="rounds of which the median is taken (default: 5)")
    measured.add_argument(
        "--scale", type=float, default=1.0, help="of the numbers of rows, but for memory (default: 1)"
    )
    measured.add_argument("--fresh", action="store_true", help="drop the results of earlier runs")
    report = commands.add_parser("report", help="write the page from the results of earlier runs")
    for command in (measured, report):
        command.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    generated = commands.add_parser("generate", help="write a Parquet file of rows")
    generated.add_argument("--workload", choices=list(RATE_ROWS), default="wide")
    generated.add_argument("--rows", type=int, required=True)
    generated.add_argument("--seed", type=int, default=0)
    generated.add_argument("file", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
