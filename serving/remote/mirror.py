"""The process that keeps a local copy of a repository, or of a bundle, that lies in object storage.

    <home>/models/<model>/<version>/   a repository; of a model's folder the one with that model
    <home>/bundle/<name>/              one bundle
    <home>/staging/                    what is not whole yet, or on its way out
    <home>/complete                    there since the first look that brought all there was

It runs beside the server, as a process of its own: downloads and the libraries of object stores take processor time
and memory that are better apart from calls. It reads nothing but sees its input end when the server goes, and writes
one JSON object a line: `say`, to be logged; `current`, once there is something to serve and after each look that
succeeded, then with `left_out`; `lost`, after each that did not; `failed`, where there is nothing to serve.

A version that left the store is removed here once what stands in for it has come, unless it is older than those
wanted: then the server, see `copy`, removes it when it is served no more. Of a model that has no version left in the
store nothing is removed.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..contract.bundle import BUNDLE_FILE, check_name, read_description
from ..contract.errors import BundleError, NotFound, StorageError, WidedeepError
from ..contract.versions import number_of
from .download import pull_bundle
from .layout import local_places, places, split
from .storage import Store, StoredFile
from .stores import open_store

Say = Callable[[str, str], None]
"""Takes a level of logging and a line."""

_LONGEST_WAIT_S = 300.0
"""Between looks at a store that cannot be reached, unless the interval is longer."""


@dataclass(frozen=True, slots=True)
class Current:
    """What there is to serve.

    Attributes:
        path: a repository or a bundle.
        wanted: model -> versions that the store has and that are to be served; empty for a bundle.
        left_out: of these, and of a bundle, `<model>/<version>` -> why it could not be brought.
        is_short: whether some of that could not be written here.
    """

    path: Path
    wanted: Mapping[str, Sequence[int]]
    left_out: Mapping[str, str] = field(default_factory=dict)
    is_short: bool = False


@dataclass(frozen=True, slots=True)
class _LeftOut:
    """What could not be brought.

    Attributes:
        mark: what it was like then.
        why: the reason.
        is_short: whether it could not be written here, which may be otherwise at the next look.
    """

    mark: str
    why: str
    is_short: bool


class Mirror:
    """A local copy and where it comes from. One thread uses it; `home` belongs to one process at a time."""

    def __init__(self, storage: Store, home: Path, n_versions: int, say: Say, *, is_served: bool = False) -> None:
        """Store the parts.

        Args:
            storage: the repository, a model's folder, or the bundle.
            home: where the copy lies.
            n_versions: newest versions of each model that are copied.
            say: takes lines for the log.
            is_served: whether a server has what an earlier process has copied.
        """
        self._storage = storage
        self._home = home
        self._n_versions = n_versions
        self._say = say
        self._brought: dict[str, str] = {}
        self._left_out: dict[str, _LeftOut] = {}
        self._is_served = is_served

    def sync(self) -> Current:
        """Look at the store and bring what is new.

        A version that is damaged there is left out, with a line for the log, and tried again when it has changed; one
        for which there is no room here is tried again at the next look.

        Raises:
            NotFound: the store holds no bundle there.
            StorageError: it cannot be reached, or refuses.
            BundleError: of a model there is no version that could be served, and no look has brought everything yet;
                or it holds something else than before.
            OSError: the same, of what cannot be written here.
        """
        files = self._storage.list()
        current, folders = self._plan(places(files, self._storage.url))
        marks = {place: _mark(files, place) for place in folders}
        self._left_out = {place: left for place, left in self._left_out.items() if marks.get(place) == left.mark}
        for place, folder in folders.items():
            left = self._left_out.get(place)
            is_here = self._brought.get(place) == marks[place] and _has_bundle(folder)
            if not is_here and (left is None or left.is_short):
                self._bring(place, folder, marks[place])
        self._withdraw(current, files.keys(), folders)
        self._tidy()
        (self._home / "complete").touch()
        self._is_served = True
        return replace(
            current,
            left_out={_served_as(place, folders[place]): left.why for place, left in self._left_out.items()},
            is_short=any(left.is_short for left in self._left_out.values()),
        )

    def kept(self) -> Current | None:
        """Return what an earlier process has left here, if it had brought everything; from now on it is served."""
        if not self._is_complete:
            return None
        self._is_served = True
        for path in (self._home / "bundle").glob(f"*/{BUNDLE_FILE}"):
            return Current(path.parent, {})
        models = self._home / "models"
        return Current(models, {}) if local_places(models) else None

    def _plan(self, found: Sequence[str]) -> tuple[Current, dict[str, Path]]:
        """Return what is to be served, and the places to be copied with the folders that they become."""
        models = self._home / "models"
        segment = self._storage.root.rpartition("/")[2]
        if not found:
            raise NotFound(
                f"{self._storage.url}: expected a bundle, <version>/{BUNDLE_FILE} or <model>/<version>/{BUNDLE_FILE}"
            )
        other = models if "" in found else self._home / "bundle"
        if self._is_served and other.exists():
            raise BundleError(f"{self._storage.url} was one bundle and is a repository now, or the other way round")
        self._clear(other)
        if "" in found:
            check_name("folder", segment)
            path = self._home / "bundle" / segment
            return Current(path, {}), {"": path}
        if any("/" not in place for place in found):  # the folder of one model
            check_name("model", segment)
            named = {f"{segment}/{place}": place for place in found if "/" not in place}
        else:
            named = {place: place for place in found}
        wanted: dict[str, list[int]] = {}
        folders: dict[str, Path] = {}
        for name in reversed(named):  # the newest first
            model, version = split(name)
            if len(wanted.setdefault(model, [])) < self._n_versions:
                wanted[model].insert(0, version)
                folders[named[name]] = models / name
        return Current(models, wanted), folders

    @property
    def _is_complete(self) -> bool:
        return (self._home / "complete").exists()

    def _bring(self, place: str, folder: Path, mark: str) -> None:
        """Copy one bundle; what cannot be copied is left out, unless a server could not start without it."""
        storage = self._storage.at(place)
        try:
            transfer = pull_bundle(storage, folder, force=True, staging_in=self._home / "staging")
        except StorageError:
            raise
        except (WidedeepError, OSError) as error:
            if not self._is_complete and not _has_bundle(folder if not place else folder.parent):
                raise
            if place not in self._left_out:
                self._say("warning", f"{storage.url} is not brought: {error}")
            self._left_out[place] = _LeftOut(mark, str(error), is_short=isinstance(error, OSError))
        else:
            self._brought[place] = mark
            self._left_out.pop(place, None)
            if transfer.moved:
                self._say("info", f"pulled {storage.url}, digest {transfer.digest}")

    def _tidy(self) -> None:
        """Remove what processes that were killed, and pulls that came to nothing, have left."""
        for path in ((self._home / "staging"), *self._home.glob("models/*/.*"), *self._home.glob("bundle/.*")):
            shutil.rmtree(path, ignore_errors=True)

    def _withdraw(self, current: Current, files: Collection[str], brought: Mapping[str, Path]) -> None:
        """Remove what has left the store and must not be served any more; see the module's docstring.

        What has files but no `bundle.json` in the store is being replaced, and stays.
        """
        below = self._storage.root.rpartition("/")[2] if any("/" not in place for place in brought) else ""
        for place in local_places(self._home / "models"):
            model, version = split(place)
            wanted = current.wanted.get(model, ())
            remote = place.removeprefix(f"{below}/") if below else place
            if version in wanted or any(name.startswith(f"{remote}/") for name in files):
                continue
            has_come = wanted and all((current.path / model / str(one)).is_dir() for one in wanted)
            if (has_come and version > min(wanted)) or not (wanted or self._is_served):
                self._say("info", f"{place} has left {self._storage.url} and is removed here")
                self._clear(self._home / "models" / place)

    def _clear(self, folder: Path) -> None:
        """Remove a folder; all of it goes at once from where a server looks."""
        if folder.exists():
            aside = Path(tempfile.mkdtemp(dir=_made(self._home / "staging")))
            folder.rename(aside / "old")
            shutil.rmtree(aside)


def run(
    storage: Store,
    home: Path,
    *,
    n_versions: int,
    interval_s: float,
    tell: Callable[[dict[str, object]], None],
    is_served: bool = False,
) -> int:
    """Copy, then look again at every interval, or only once if that is 0; returns the exit status.

    Where the store cannot be reached at first, what an earlier process has left counts.
    """
    mirror = Mirror(
        storage, home, n_versions, say=lambda level, text: tell({"say": level, "text": text}), is_served=is_served
    )
    is_lost = False
    wait_s = interval_s
    has_current = False
    while True:
        try:
            current = mirror.sync()
        except (WidedeepError, OSError) as error:
            kept = mirror.kept()
            if kept is None:
                tell({"failed": type(error).__name__, "text": str(error)})
                return 1
            if not is_lost:
                tell({"say": "warning", "text": f"{error}; going on with what was copied before"})
            tell({"lost": str(error)})
            if not has_current:
                tell({"current": str(kept.path), "wanted": {}})
            is_lost, wait_s = True, _longer(wait_s, interval_s)
        else:
            if is_lost:
                tell({"say": "info", "text": f"{storage.url} can be read again"})
            tell(
                {
                    "current": str(current.path),
                    "wanted": {name: list(found) for name, found in current.wanted.items()},
                    "left_out": dict(current.left_out),
                }
            )
            is_lost, wait_s = False, _longer(wait_s, interval_s) if current.is_short else interval_s
        has_current = True
        if not interval_s:
            return 0
        time.sleep(wait_s)


def _longer(wait_s: float, interval_s: float) -> float:
    return min(2 * wait_s, max(interval_s, _LONGEST_WAIT_S))


def main(argv: Sequence[str] | None = None) -> int:
    """Run as a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("home", type=Path)
    parser.add_argument("--versions", type=int, required=True)
    parser.add_argument("--interval-s", type=float, required=True)
    parser.add_argument("--is-served", action="store_true")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    threading.Thread(target=_end_with_parent, daemon=True).start()

    told, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no message

    def tell(what: dict[str, object]) -> None:
        try:
            told.write(json.dumps(what) + "\n")
            told.flush()
        except BrokenPipeError:
            os._exit(0)  # the server has gone

    try:
        storage = open_store(arguments.url)
        return run(
            storage,
            arguments.home,
            n_versions=arguments.versions,
            interval_s=arguments.interval_s,
            tell=tell,
            is_served=arguments.is_served,
        )
    except WidedeepError as error:
        tell({"failed": type(error).__name__, "text": str(error)})
        return 1


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when nobody holds the other end
    os._exit(0)


def _mark(files: Mapping[str, StoredFile], place: str) -> str:
    """Return what is another text once a file of a bundle has been written again."""
    prefix = f"{place}/" if place else ""
    return json.dumps(sorted((name, file.size, file.mark) for name, file in files.items() if name.startswith(prefix)))


def _served_as(place: str, folder: Path) -> str:
    """Return the model and version that a server has for a place; a bundle by itself tells its name."""
    if place:
        return f"{folder.parent.name}/{folder.name}"
    version = number_of(folder.name)
    return f"{read_description(folder).name}/{1 if version is None else version}"


def _has_bundle(folder: Path) -> bool:
    """Return whether a folder is a bundle, or holds versions."""
    return folder.is_dir() and bool(local_places(folder))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
