"""The command `widedeep report`; it joins `widedeep` through its entry-point group."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ...serving.contract.errors import ConfigurationError


def report(argv: Sequence[str]) -> int:
    """Write one HTML file that shows how good a bundle's ensemble is, what it is made of and how it was found."""
    parser = argparse.ArgumentParser(prog="widedeep report", description=report.__doc__, allow_abbrev=False)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=Path("report.html"), help="file to write (default: report.html)"
    )
    parser.add_argument("--open", action="store_true", help="show it in the browser, too")
    arguments = parser.parse_args(argv)
    _check_output(arguments.output, arguments.bundle)
    from .page import make_report

    _write(arguments.output, make_report(arguments.bundle))
    print(f"wrote {arguments.output}")
    if arguments.open:
        import webbrowser

        webbrowser.open(arguments.output.resolve().as_uri())
    return 0


def _check_output(file: Path, bundle: Path) -> None:
    """Refuse a place that cannot hold the file, or where it would spoil the bundle.

    Raises:
        ConfigurationError: says which.
    """
    if file.is_dir():
        raise ConfigurationError(f"{file} is a folder; --output takes the name of a file")
    if not file.resolve().parent.is_dir():
        raise ConfigurationError(f"{file} cannot be written: there is no folder {file.parent}")
    if file.resolve().is_relative_to(bundle.resolve()):
        raise ConfigurationError(f"{file} lies in the bundle, which may hold no other files; give another --output")


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    descriptor, staging = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.resolve().parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(staging).chmod(0o644)
        Path(staging).replace(file)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
