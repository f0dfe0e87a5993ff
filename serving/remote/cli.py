"""The commands `widedeep push` and `widedeep pull`."""

import argparse
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from ..contract.errors import BundleError, NotFound
from .download import Transfer, pull_bundle
from .layout import choose, local_places, places
from .progress import KIB, MIB, Progress
from .stores import open_store
from .stores import push as push_bundle

_END_S = 5.0
"""From a signal to the end: uploads in several parts are given up in order meanwhile, and requests that hang are not
waited for."""
_ANY = "one bundle, a model's folder of <version>/ or a repository of <model>/<version>/"


def push(argv: Sequence[str]) -> int:
    """Store a bundle, or a repository, in object storage."""
    parser = argparse.ArgumentParser(
        prog="widedeep push",
        description=f"{push.__doc__} What lies below PATH comes to lie below URL; a bundle appears there whole or not "
        "at all. A push that was cut off goes on with the same command. docs/remote.md tells more.",
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, help=_ANY)
    parser.add_argument("url", help="where it is to lie, such as s3://bucket/models/digits/1, or a local path")
    parser.add_argument("--force", action="store_true", help="replace versions that are there and differ")
    arguments = parser.parse_args(argv)
    _stop_on_signals()
    storage = open_store(arguments.url)
    if not (found := local_places(arguments.path)):
        raise BundleError(f"{arguments.path} holds no bundle: expected {_ANY}")
    for place in found:
        to, progress = storage.at(place), Progress.on_terminal()
        _report(to.url, push_bundle(arguments.path / place, to, force=arguments.force, progress=progress))
    return 0


def pull(argv: Sequence[str]) -> int:
    """Bring a bundle, or a repository, from object storage to a folder."""
    parser = argparse.ArgumentParser(
        prog="widedeep pull",
        description=f"{pull.__doc__} What lies below URL comes to lie below FOLDER; a bundle appears there whole, with "
        "every digest checked, or not at all. A pull that was cut off goes on with the same command. docs/remote.md "
        "tells more.",
        allow_abbrev=False,
    )
    parser.add_argument("url", help=f"{_ANY}, such as s3://bucket/models, or a local path")
    parser.add_argument("folder", type=Path, help="where it is to lie")
    parser.add_argument(
        "--version", default="", help="bring this version, or the `latest`, of the model's folder URL to FOLDER itself"
    )
    parser.add_argument("--force", action="store_true", help="replace bundles that are there and differ")
    arguments = parser.parse_args(argv)
    _stop_on_signals()
    storage = open_store(arguments.url)
    if not (found := places(storage.list(), arguments.url)):
        raise NotFound(f"no bundle at {arguments.url}: expected {_ANY}")
    wanted = {place: arguments.folder / place for place in found}
    if arguments.version:
        wanted = {choose(found, arguments.version, arguments.url): arguments.folder}
    for place, folder in wanted.items():
        progress = Progress.on_terminal()
        _report(str(folder), pull_bundle(storage.at(place), folder, force=arguments.force, progress=progress))
    return 0


def _report(where: str, transfer: Transfer) -> None:
    what = f"{_size(transfer.moved)} of {_size(transfer.size)} moved" if transfer.moved else "is there already"
    print(f"{where}: {what}, digest {transfer.digest}", flush=True)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / MIB:.1f} MiB" if n_bytes >= MIB else f"{n_bytes / KIB:.1f} KiB"


def _stop_on_signals() -> None:
    """Have signals end what goes on, at once where the store does not let it end by itself."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        last = threading.Timer(_END_S, os._exit, (128 + number,))
        last.daemon = True
        last.start()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
