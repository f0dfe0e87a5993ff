"""Where versions of models lie on disk, and what can be seen of them without reading their files.

    <repository>/<model>/<version>/bundle.json

Folders may be links, as may what stands above them: a link is followed anew at every look. This module opens no model.
"""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from ..contract.bundle import BUNDLE_FILE, listed_files, read_description
from ..contract.errors import BundleError, ConfigurationError
from ..contract.versions import number_of

_LOG = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Of every file of a folder: its name, the device and number under which it lies, its size and its time of change."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a version's folder shows.

    Attributes:
        stamp: is another one once any of the files has been written or replaced.
        digest: SHA-256 of `bundle.json`, and so of the whole bundle; "" where there is none that can be read.
        lacks: what the folder lacks to be a bundle, as a sentence; "" where every file that is listed is there.
    """

    stamp: Stamp
    digest: str
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the versions of models lie on disk.

    Attributes:
        path: a repository, or one bundle.
        name: served name of a single bundle; "" means the model folder in a repository, else the bundle's own name.
    """

    path: Path
    name: str = ""

    @property
    def is_bundle(self) -> bool:
        """Whether `path` is one bundle rather than a repository."""
        return (self.path / BUNDLE_FILE).is_file()

    def scan(self) -> dict[str, dict[int, Path]]:
        """Return model -> version -> bundle folder, as it is on disk now.

        Raises:
            ConfigurationError: the path does not exist, holds no bundle, or a name is given for a repository.
        """
        if not self.path.is_dir():
            raise ConfigurationError(f"{self.path} is not a folder; expected a repository or a bundle")
        if self.is_bundle:
            return {self.name or read_description(self.path).name: {self._version: self.path}}
        if self.name:
            raise ConfigurationError(f"a name can be given to one bundle only; {self.path} is a repository")
        found = {folder.name: _versions(folder) for folder in sorted(self.path.iterdir()) if _is_model(folder)}
        models = {name: versions for name, versions in found.items() if versions}
        if not models:
            hint = f"; to serve one model, give its repository {self.path.parent}" if _versions(self.path) else ""
            raise ConfigurationError(f"no <model>/<version>/{BUNDLE_FILE} under {self.path}{hint}")
        return models

    def folders(self, single: str = "") -> dict[str, dict[int, Path] | None]:
        """Return model -> version -> folder, whatever is in it: what `scan` returns and what may become that.

        Args:
            single: the served name, where `path` is, or was, one bundle.

        Returns:
            None stands for a model whose folder cannot be read.

        Raises:
            OSError: `path` cannot be read.
        """
        if single:
            return {single: {self._version: self.path} if self.path.is_dir() else {}}
        models = (path for path in self.path.iterdir() if not path.name.startswith("."))
        return {model.name: _numbered(model) for model in models if _may_be_folder(model)}

    @property
    def _version(self) -> int:
        """The number of a single bundle."""
        version = number_of(self.path.resolve().name)
        return 1 if version is None else version


def see(folder: Path, before: Seen | None = None) -> Seen:
    """Return what a version's folder shows now.

    Args:
        folder: of the version.
        before: what an earlier look has shown; where no file has changed since, nothing is read again.

    Raises:
        OSError: the folder cannot be read.
    """
    stamp = _stamp(folder)
    if before is not None and before.stamp == stamp:
        return before
    names = {name for name, *_ in stamp}
    if BUNDLE_FILE not in names:
        return Seen(stamp, "", f"it has no {BUNDLE_FILE} yet")
    text = (folder / BUNDLE_FILE).read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    try:
        missing = sorted(listed_files(read_description(folder)).keys() - names)
    except BundleError:
        return Seen(stamp, digest)  # loading it says what is wrong with it
    return Seen(stamp, digest, f"its file {missing[0]} is not there yet" if missing else "")


def _stamp(folder: Path) -> Stamp:
    found = []
    for base, _, files in os.walk(folder, onerror=_raise):
        for name in files:
            path = os.path.join(base, name)  # noqa: PTH118 - several times as fast, at every look
            status = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - the same
            relative = os.path.relpath(path, folder)
            found.append((relative, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _raise(error: OSError) -> None:
    raise error


def _may_be_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # behind a link to a file system that is gone, say
        return True


def _numbered(model: Path) -> dict[int, Path] | None:
    try:
        found = ((number_of(folder.name), folder) for folder in model.iterdir() if folder.is_dir())
        return {version: folder for version, folder in found if version is not None}
    except OSError as error:
        _LOG.debug("%s cannot be read: %s", model, error)
        return None


def _is_model(path: Path) -> bool:
    if path.is_dir() and not path.name.startswith("."):
        return True
    _LOG.info("ignored %s: not a model folder", path)
    return False


def _versions(folder: Path) -> dict[int, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        version = number_of(path.name)
        if version is not None and (path / BUNDLE_FILE).is_file():
            found[version] = path
        else:
            _LOG.info("ignored %s: not <version>/%s", path, BUNDLE_FILE)
    return found
