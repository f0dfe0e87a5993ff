"""The command `widedeep train`."""

import argparse
import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from .options import Options

SAMPLERS = ("tpe", "random", "gp", "cma_es", "nsga2", "hyperopt")
PRUNERS = ("median", "halving", "hyperband", "none")
"""Names that the search knows; spelled out, since `--help` need not import it."""

_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_SIZE = re.compile(r"(\d+)x(\d+)")


def train(argv: Sequence[str]) -> int:
    """Train an ensemble on a table, or images, and write the bundle that serves it."""
    arguments = _parser().parse_args(argv)
    from rich.console import Console

    from .progress import ConsoleListener
    from .run import Listener
    from .run import train as run
    from .summary import show, to_json

    signal.signal(signal.SIGTERM, _leave)
    console = Console(highlight=False)
    quiet = arguments.json
    listener = Listener() if quiet else ConsoleListener(Console(stderr=True, highlight=False)).listener()
    trained = run(_options(arguments), listener)
    if arguments.json:
        print(json.dumps(to_json(trained), indent=2))
    else:
        show(console, trained)
    return 0


def _leave(number: int, _: object) -> NoReturn:
    """End as Ctrl-C does: no worker and nothing half-made stays, and the next run goes on."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="widedeep train",
        description=f"{train.__doc__} A run that was cut off goes on where it was when it is started again.",
        allow_abbrev=False,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", type=Path, required=True, metavar="FILE", help="Parquet, CSV or NPZ file, or a folder")
    data.add_argument("--target", required=True, metavar="COLUMN", help="what to predict")
    data.add_argument(
        "--image-column", metavar="COLUMN", help="column with images: encoded, paths of files, or numbers"
    )
    data.add_argument("--image-size", type=_size, metavar="HxW", help="resize images")
    data.add_argument("--weight-column", metavar="COLUMN", help="column with the rows' weights")
    data.add_argument("--class-weight", choices=["balanced"], help="give each class the same weight in all")
    data.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out; repeatable")
    data.add_argument("--task", choices=["classification", "regression"], help="where the target does not tell")
    data.add_argument("--max-rows", type=_whole, metavar="N", help="train on that many rows at most, drawn at random")
    data.add_argument(
        "--test-fraction",
        type=_fraction,
        default=0.1,
        metavar="PART",
        help="part of the rows to set aside and touch once, at the end (default: 0.1)",
    )
    search = parser.add_argument_group("search")
    search.add_argument(
        "--time-limit",
        type=_seconds,
        default=600.0,
        metavar="TIME",
        help="for everything, as 90s, 20m or 1h30m (default: 10m)",
    )
    search.add_argument(
        "--kind", action="append", default=[], help="kind of model, such as lightgbm or mlp; repeatable (default: all)"
    )
    search.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default="tpe",
        help="what chooses hyperparameters (default: tpe)",
    )
    search.add_argument(
        "--pruner", choices=PRUNERS, default="median", help="what ends hopeless trials early (default: median)"
    )
    search.add_argument("--max-trials", type=_whole, metavar="N", help="end after so many trials")
    search.add_argument(
        "--folds", type=_whole, metavar="N", help="of the cross-validation (default: 5, or 3 of many rows)"
    )
    search.add_argument(
        "--workers", type=_whole, metavar="N", help="processes that train at once (default: a core each)"
    )
    search.add_argument("--seed", type=int, default=0)
    search.add_argument(
        "--work", type=Path, metavar="DIR", help="keep the search there, instead of in the user's cache"
    )
    ensemble = parser.add_argument_group("ensemble")
    ensemble.add_argument("--output", type=Path, required=True, metavar="DIR", help="repository to write to")
    ensemble.add_argument("--name", help="the model's name (default: the data's)")
    ensemble.add_argument("--max-members", type=_whole, default=8, metavar="N", help="(default: 8)")
    ensemble.add_argument(
        "--keep",
        choices=["refit", "bags"],
        default="refit",
        help="train members again on all rows, or keep the mean of their folds' models, which costs as many times more "
        "to serve (default: refit)",
    )
    ensemble.add_argument(
        "--max-latency-us-per-row", type=_positive, metavar="US", help="what the ensemble may take on one core"
    )
    ensemble.add_argument(
        "--batch-rows",
        type=_whole,
        default=128,
        metavar="N",
        help="rows of a batch when that is measured (default: 128)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    return parser


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        data=arguments.data,
        target=arguments.target,
        output=arguments.output,
        time_limit_s=arguments.time_limit,
        name=arguments.name,
        task=arguments.task,
        image_column=arguments.image_column,
        image_size=arguments.image_size,
        weight_column=arguments.weight_column,
        class_weight=arguments.class_weight,
        drop=tuple(arguments.drop),
        kinds=tuple(arguments.kind),
        max_members=arguments.max_members,
        max_latency_us_per_row=arguments.max_latency_us_per_row,
        batch_rows=arguments.batch_rows,
        test_fraction=arguments.test_fraction,
        n_folds=arguments.folds,
        keep=arguments.keep,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        max_trials=arguments.max_trials,
        max_rows=arguments.max_rows,
        n_workers=arguments.workers,
        seed=arguments.seed,
        work=arguments.work,
    )


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text.strip().lower())
    hours, minutes, seconds = match.groups() if match else (None, None, None)
    total = 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds or 0)
    if total <= 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 20m or 1h30m, got {text!r}")
    return total


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"expected height and width such as 64x64, got {text!r}")
    return int(match[1]), int(match[2])


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to below 1, got {text!r}")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
