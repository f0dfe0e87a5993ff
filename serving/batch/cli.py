"""The command `widedeep score`."""

import argparse
import json
import math
import signal
import sys
from collections.abc import Sequence

from ..settings import ServeSettings


def score(argv: Sequence[str]) -> int:
    """Score files of rows with a bundle, on one machine or on Ray or Spark, into files."""
    arguments = _parser().parse_args(argv)
    settings = ServeSettings.load({name: value for name, value in vars(arguments).items() if name in _SETTINGS})
    from .engines.options import EngineOptions
    from .job import MaxRejects, run
    from .planning import Wishes
    from .progress import Bar, JsonLines, Silent
    from .report import describe

    signal.signal(signal.SIGTERM, _stop)
    progress = JsonLines() if arguments.json else Bar() if sys.stderr.isatty() and not arguments.quiet else Silent()
    summary = run(
        Wishes(
            bundle=arguments.bundle,
            input=arguments.input,
            output=arguments.output,
            outputs=None if arguments.outputs is None else tuple(arguments.outputs),
            keep=tuple(arguments.keep),
            input_format=arguments.input_format,
            output_format=arguments.output_format,
            delimiter=arguments.delimiter,
            multiline=arguments.multiline,
            image_scale=arguments.image_scale,
            prefix=arguments.prefix,
            bundle_columns=arguments.bundle_columns,
            label=arguments.evaluate,
            slices=tuple(arguments.slice),
            part_bytes=max(1, round(arguments.part_mib * (1 << 20))),
            server=arguments.server,
            server_version=arguments.server_version,
            providers=settings.providers,
        ),
        max_rejects=MaxRejects.parse(arguments.max_rejects),
        retry_rejects=arguments.retry_rejects,
        engine=arguments.engine,
        options=EngineOptions(
            n_workers=arguments.workers,
            threads_per_worker=settings.cores,
            on_error=arguments.on_error,
            address=arguments.address,
            verbose=arguments.verbose,
        ),
        progress=progress,
    )
    print(json.dumps({"event": "end", **summary.to_json()}) if arguments.json else describe(summary))
    return 0


_SETTINGS = ("providers", "cores")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="widedeep score",
        description=f"{score.__doc__} A job that was cut off goes on where it was with the same command; one that is "
        "complete is left as it is. docs/batch.md tells more.",
        allow_abbrev=False,
    )
    parser.add_argument("bundle", help="the bundle's folder; with --server, the served model's name will do")
    parser.add_argument(
        "input",
        help="a file, a folder of files, partitioned or not, a folder of images, or a pattern such as 'in/*.parquet': "
        "Parquet, CSV, JSON lines, Arrow IPC, NPZ, PNG, JPEG; a local path or a URL",
    )
    parser.add_argument("output", help="the folder to write to, a local path or a URL; new, or of the same job")
    rows = parser.add_argument_group("what is read and written")
    rows.add_argument(
        "--keep", action="extend", type=_names, default=[], metavar="COLUMNS", help="columns of the input to write, too"
    )
    rows.add_argument(
        "--outputs",
        action="extend",
        type=_names,
        metavar="NAMES",
        help="outputs to write (default: probabilities,label or prediction); scores/MEMBER are those of one member",
    )
    rows.add_argument("--prefix", default="", metavar="TEXT", help="begins the names of the columns that are added")
    rows.add_argument(
        "--bundle-columns", action="store_true", help="write the bundle's name, version and digest in every row"
    )
    rows.add_argument(
        "--output-format",
        choices=("parquet", "csv", "jsonl"),
        default="parquet",
        help="of the parts (default: parquet)",
    )
    rows.add_argument(
        "--input-format",
        choices=("parquet", "csv", "jsonl", "ipc", "npz", "images"),
        help="of the input's files (default: by their suffixes)",
    )
    rows.add_argument("--delimiter", default=",", metavar="CHARACTER", help="between columns of CSV input (default: ,)")
    rows.add_argument("--multiline", action="store_true", help="quoted CSV cells of the input may hold line ends")
    rows.add_argument(
        "--image-scale",
        type=_positive,
        metavar="NUMBER",
        help="what pixels of images are divided by, such as 255 (default: as the bundle says)",
    )
    rows.add_argument(
        "--part-mib", type=_positive, default=32, metavar="MIB", help="input that becomes one part, about (default: 32)"
    )
    bad = parser.add_argument_group("rows that cannot be scored")
    bad.add_argument(
        "--on-error",
        choices=("reject", "fail"),
        default="reject",
        help="write such a row to OUTPUT/_rejects, with the reason, or end the job at the first (default: reject)",
    )
    bad.add_argument("--max-rejects", metavar="N|N%", help="end the job above so many, or such a share of the rows")
    bad.add_argument("--retry-rejects", action="store_true", help="score the rejected rows of a complete job once more")
    where = parser.add_argument_group("where the work is done")
    where.add_argument(
        "--engine",
        choices=("local", "ray", "spark"),
        default="local",
        help="this machine or a cluster (default: local)",
    )
    where.add_argument(
        "--workers", type=_count, default=0, metavar="N", help="of Ray or Spark; 0 is as many as there are (default: 0)"
    )
    where.add_argument(
        "--address", default="", help="of the Ray cluster or the Spark master (default: as configured, else local)"
    )
    where.add_argument(
        "--server",
        default="",
        metavar="HOST:PORT",
        help="let a running server score the rows; TLS and a token for it are WIDEDEEP_CLIENT_*",
    )
    where.add_argument(
        "--server-version", default="", metavar="VERSION", help="that the server must serve (default: its newest)"
    )
    ServeSettings.add_flags(parser, only=_SETTINGS)
    judged = parser.add_argument_group("evaluation")
    judged.add_argument(
        "--evaluate", default="", metavar="LABEL", help="judge the predictions by this column, which holds the truth"
    )
    judged.add_argument(
        "--slice",
        action="extend",
        type=_names,
        default=[],
        metavar="COLUMNS",
        help="judge them by the values of these columns, too",
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--json", action="store_true", help="print progress and result as lines of JSON")
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument("--verbose", action="store_true", help="show the log of Ray or Spark, too")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def _stop(number: int, _: object) -> None:
    raise SystemExit(128 + number)
