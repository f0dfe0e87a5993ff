"""The repository of servables: which models and versions there are, loading, swapping and unloading them.

    <repository>/<model>/<version>/bundle.json

Readers see immutable snapshots and take no lock; loads and unloads wait for each other, never for calls. A version
becomes visible once it has loaded, passed its golden check and warmed up; the version it replaces answers what it
has accepted, then goes.
"""

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..contract.bundle import BUNDLE_FILE, read_description
from ..contract.errors import BundleError, ConfigurationError, NotFound, NotReady, WidedeepError
from .servable import Servable

_LOG = logging.getLogger(__name__)

_VERSION = re.compile(r"0|[1-9][0-9]{0,17}")


class State(StrEnum):
    """States of a version, as RepositoryIndex names them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Entry:
    """One version in the index."""

    name: str
    version: int
    state: State
    reason: str = ""


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
            version = _version(self.path.resolve().name)
            return {self.name or read_description(self.path).name: {1 if version is None else version: self.path}}
        if self.name:
            raise ConfigurationError(f"a name can be given to one bundle only; {self.path} is a repository")
        found = {folder.name: _versions(folder) for folder in sorted(self.path.iterdir()) if _is_model(folder)}
        models = {name: versions for name, versions in found.items() if versions}
        if not models:
            hint = f"; to serve one model, give its repository {self.path.parent}" if _versions(self.path) else ""
            raise ConfigurationError(f"no <model>/<version>/{BUNDLE_FILE} under {self.path}{hint}")
        return models


class Repository:
    """Servables by model and version.

    `get` and `index` may be called from any thread at any time. `start` comes first, `close` last; `load` and
    `unload` may be called in between from any thread and block until done. Owner: the server.
    """

    def __init__(
        self, source: Source, open_servable: Callable[[str, int, Path], Servable], *, max_versions: int = 1
    ) -> None:
        """Store the parts; `start` loads.

        Args:
            source: where bundles lie.
            open_servable: loads one version given the model's name, the version and the bundle's folder.
            max_versions: newest versions of each model to serve.
        """
        self._source = source
        self._open = open_servable
        self._max_versions = max_versions
        self._changing = threading.Lock()
        self._ready: Mapping[str, Mapping[int, Servable]] = {}
        self._index: Mapping[tuple[str, int], Entry] = {}

    def start(self) -> None:
        """Load every model; the first failure is raised, since a server that lacks a model should not come up.

        Raises:
            ConfigurationError: nothing to serve, or a provider is missing.
            BundleError: a bundle is damaged or fails its golden check.
        """
        found = self._source.scan()
        with self._changing:
            for name, on_disk in found.items():
                self._load(name, on_disk)

    def get(self, name: str, version: str = "") -> Servable:
        """Return a ready servable, the newest version if none is named.

        Raises:
            NotFound: no such model or version.
            NotReady: it exists but is not loaded.
        """
        versions = self._ready.get(name, {})
        number = _version(version) if version else max(versions, default=None)
        if number is not None and number in versions:
            return versions[number]
        raise self._missing(name, version)

    def names(self) -> list[str]:
        """Return the names of all models, ready or not."""
        return sorted({entry.name for entry in self._index.values()})

    def servables(self) -> list[Servable]:
        """Return all ready servables, by name and version."""
        ready = self._ready
        return [ready[name][version] for name in sorted(ready) for version in sorted(ready[name])]

    def versions(self, name: str) -> list[Servable]:
        """Return a model's ready servables, the oldest version first."""
        return [servable for _, servable in sorted(self._ready.get(name, {}).items())]

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        return [entry for _, entry in sorted(self._index.items())]

    def load(self, name: str) -> None:
        """Look at the model's folder again and serve its newest versions; those no longer wanted drain and go.

        A version that fails to load leaves what is served as it was.

        Raises:
            NotFound: no such model on disk.
            BundleError, ConfigurationError: a version cannot be served; names it and says why.
        """
        with self._changing:
            on_disk = self._source.scan().get(name)
            if not on_disk:
                raise NotFound(f"no model {name!r} in {self._source.path}")
            self._load(name, on_disk)

    def unload(self, name: str) -> None:
        """Stop serving a model and return when the calls it has accepted are answered.

        Raises:
            NotFound: no such model.
        """
        with self._changing:
            if name not in self.names():
                raise NotFound(f"unknown model {name!r}; this server has {', '.join(map(repr, self.names()))}")
            self._retire(self.versions(name), "unloaded")

    def close(self) -> None:
        """Answer what has been accepted and let go of every servable."""
        with self._changing:
            self._retire(self.servables(), "the server is stopping")

    def _missing(self, name: str, version: str) -> NotFound | NotReady:
        """Return the error that says why `get` has nothing to give."""
        entries = [entry for entry in self.index() if entry.name == name]
        if not entries:
            return NotFound(f"unknown model {name!r}; this server has {', '.join(map(repr, self.names())) or 'none'}")
        asked = [entry for entry in entries if not version or str(entry.version) == version]
        if not asked:
            known = ", ".join(str(entry.version) for entry in entries)
            return NotFound(f"model {name!r} has no version {version!r}; it has {known}")
        newest = asked[-1]
        return NotReady(
            f"model {name!r} version {newest.version} is {newest.state}: {newest.reason or 'not ready yet'}"
        )

    def _load(self, name: str, on_disk: Mapping[int, Path]) -> None:
        """Open the newest versions; only when all of them can be served do they take the place of the old ones."""
        old = self._ready.get(name, {})
        wanted = sorted(on_disk, reverse=True)[: self._max_versions]
        loaded: dict[int, Servable] = {}
        try:
            for version in wanted:
                loaded[version] = self._open_version(name, version, on_disk[version])
        except BaseException:
            for version, servable in loaded.items():
                servable.close()
                if version not in old:
                    self._mark(Entry(name, version, State.UNAVAILABLE, "another version of the model failed to load"))
            raise
        self._ready = {**self._ready, name: loaded}
        others = {key: entry for key, entry in self._index.items() if key[0] != name}
        self._index = others | {
            (name, version): Entry(name, version, State.READY)
            if version in loaded
            else Entry(name, version, State.UNAVAILABLE, "not among the newest versions served")
            for version in on_disk
        }
        for servable in old.values():
            servable.close()

    def _open_version(self, name: str, version: int, path: Path) -> Servable:
        """Open one version; the index tells of it unless the same version is being served meanwhile."""
        serving = version in self._ready.get(name, {})
        if not serving:
            self._mark(Entry(name, version, State.LOADING))
        try:
            servable = self._open(name, version, path)
        except Exception as error:
            reason = f"{path}: {error}"
            if not serving:
                self._mark(Entry(name, version, State.UNAVAILABLE, reason))
            if not isinstance(error, WidedeepError | OSError):
                raise
            kind = type(error) if isinstance(error, ConfigurationError) else BundleError
            raise kind(f"model {name!r} version {version} cannot be served: {reason}") from error
        _LOG.info("loaded %s version %d from %s", name, version, path)
        return servable

    def _retire(self, servables: Sequence[Servable], reason: str) -> None:
        """Take all versions of some models out of service and wait until they have answered."""
        for servable in servables:
            self._mark(Entry(servable.name, servable.version, State.UNLOADING, reason))
        gone = {servable.name for servable in servables}
        self._ready = {name: versions for name, versions in self._ready.items() if name not in gone}
        for servable in servables:
            servable.close()
            self._mark(Entry(servable.name, servable.version, State.UNAVAILABLE, reason))

    def _mark(self, entry: Entry) -> None:
        self._index = {**self._index, (entry.name, entry.version): entry}


def _is_model(path: Path) -> bool:
    if path.is_dir() and not path.name.startswith("."):
        return True
    _LOG.info("ignored %s: not a model folder", path)
    return False


def _versions(folder: Path) -> dict[int, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        version = _version(path.name)
        if version is not None and (path / BUNDLE_FILE).is_file():
            found[version] = path
        else:
            _LOG.info("ignored %s: not <version>/%s", path, BUNDLE_FILE)
    return found


def _version(text: str) -> int | None:
    """Return the version that `text` spells canonically (`1`, not `01`) in at most 64 bits, else None."""
    return int(text) if _VERSION.fullmatch(text) else None
