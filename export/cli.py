"""Commands of the `export` extra; they join `widedeep` through its entry-point group."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..serving.contract.bundle import BUNDLE_FILE


def demo(argv: Sequence[str]) -> int:
    """Train, export, prove, weigh, serve and call an ensemble on real digits."""
    parser = argparse.ArgumentParser(prog="widedeep demo", description=demo.__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    parser.add_argument("--port", type=int, default=8001, help="port to serve at; another if taken (default: 8001)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the split and of all training (default: 0)")
    parser.add_argument("--fresh", action="store_true", help="train again even if the output is up to date")
    arguments = parser.parse_args(argv)
    from .demo.run import run_demo

    run_demo(arguments.output, port=arguments.port, seed=arguments.seed, fresh=arguments.fresh)
    return 0


def export(argv: Sequence[str]) -> int:
    """Turn model files and data files that a TOML file names into a bundle, or a bundle into one ONNX file."""
    parser = argparse.ArgumentParser(prog="widedeep export", description=export.__doc__, allow_abbrev=False)
    parser.add_argument("path", type=Path, metavar="SPEC", help="the TOML file; or with --fused, a bundle's folder")
    parser.add_argument("--output", type=Path, help="the bundle's folder, instead of the one that the file names")
    parser.add_argument("--fused", type=Path, metavar="FILE", help="write the whole ensemble as one ONNX file, too")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="load pickles and Keras Lambda layers, which runs the code in them; only for files whose author you know",
    )
    parser.add_argument(
        "--check",
        "--dry-run",
        action="store_true",
        help="check the file, its data and that models can be loaded here; convert and write nothing",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    parser.add_argument("--keys", action=_Keys, nargs=0, help="print every section and key of the TOML file, and leave")
    arguments = parser.parse_args(argv)
    if arguments.fused is not None:
        from .spec.places import check_file

        check_file(arguments.fused)
    if (arguments.path / BUNDLE_FILE).is_file():
        if arguments.fused is None or arguments.check or arguments.trust or arguments.output:
            parser.error(f"{arguments.path} is a bundle, from which --fused FILE makes one ONNX file, and nothing else")
        return _fuse(arguments)
    return _export(arguments)


class _Keys(argparse.Action):
    """Prints the keys of an export file."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from .spec.reference import key_table

        print(key_table())
        parser.exit()


def _export(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from .spec import report
    from .spec.checks import check
    from .spec.run import run
    from .spec.schema import read_spec

    console = Console(highlight=False)
    sheet = read_spec(arguments.path)
    if arguments.check:
        checked = check(sheet, trust=arguments.trust, output=arguments.output)
        if arguments.json:
            print(json.dumps(report.checked_to_json(checked), indent=2))
        else:
            report.show_checked(console, arguments.path, checked)
        return 0
    exported = run(
        sheet, _phases(quiet=arguments.json), trust=arguments.trust, output=arguments.output, fused=arguments.fused
    )
    if arguments.json:
        print(json.dumps(report.to_json(exported), indent=2))
    else:
        report.show(console, exported)
    return 0


def _fuse(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from .fuse import fuse
    from .spec import report

    fused = fuse(arguments.path, arguments.fused)
    if arguments.json:
        print(json.dumps(report.fused_to_json(fused), indent=2))
    else:
        report.show_fused(Console(highlight=False), fused)
    return 0


def _phases(*, quiet: bool) -> Callable[[str, int], AbstractContextManager[Callable[[str], None]]]:
    """Return what shows stages of work: progress on standard error if that is a terminal, else nothing."""
    from rich.console import Console

    from .progress import phase

    console = Console(stderr=True, highlight=False)

    @contextmanager
    def silent(_: str, __: int) -> Iterator[Callable[[str], None]]:
        yield lambda _: None

    return silent if quiet or not sys.stderr.isatty() else lambda title, n_steps: phase(console, title, n_steps)
