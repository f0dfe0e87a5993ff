"""The repository of servables: which models and versions there are, loading, swapping and unloading them.

    <repository>/<model>/<version>/bundle.json

Readers see immutable snapshots and take no lock; loads and unloads wait for each other, never for calls. A version
becomes visible once it has loaded, passed its golden check and warmed up; the version it replaces answers what it
has accepted, then goes.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from ..contract.bundle import BUNDLE_FILE, read_description
from ..contract.errors import BundleError, ConfigurationError, NotFound, WidedeepError
from .view import Entry, State, V, View, number_of

__all__ = ["Entry", "Repository", "Source", "State"]

_LOG = logging.getLogger(__name__)


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
            version = number_of(self.path.resolve().name)
            return {self.name or read_description(self.path).name: {1 if version is None else version: self.path}}
        if self.name:
            raise ConfigurationError(f"a name can be given to one bundle only; {self.path} is a repository")
        found = {folder.name: _versions(folder) for folder in sorted(self.path.iterdir()) if _is_model(folder)}
        models = {name: versions for name, versions in found.items() if versions}
        if not models:
            hint = f"; to serve one model, give its repository {self.path.parent}" if _versions(self.path) else ""
            raise ConfigurationError(f"no <model>/<version>/{BUNDLE_FILE} under {self.path}{hint}")
        return models


class Repository(Generic[V]):
    """Versions of models, held open.

    `get`, `index` and their like may be called from any thread at any time. `start` comes first, `close` last; `load`
    and `unload` may be called in between from any thread and block until done. Owner: the server, or where it has
    several workers their supervisor, whose versions are then open in all of them.
    """

    def __init__(
        self,
        source: Source,
        open_version: Callable[[str, int, Path], V],
        *,
        max_versions: int = 1,
        publish: Callable[[View[V]], None] = lambda _: None,
    ) -> None:
        """Store the parts; `start` loads.

        Args:
            source: where bundles lie.
            open_version: loads one version given the model's name, the version and the bundle's folder.
            max_versions: newest versions of each model to serve.
            publish: told of each new view before readers here see it.
        """
        self._source = source
        self._open = open_version
        self._max_versions = max_versions
        self._publish = publish
        self._changing = threading.Lock()
        self._view: View[V] = View()

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

    def get(self, name: str, version: str = "") -> V:
        """Return a ready version, the newest if none is named; raises what `View.get` does."""
        return self._view.get(name, version)

    def names(self) -> list[str]:
        """Return the names of all models, ready or not."""
        return self._view.names()

    def servables(self) -> list[V]:
        """Return all that is ready, by name and version."""
        return self._view.servables()

    def versions(self, name: str) -> list[V]:
        """Return what is ready of a model, the oldest version first."""
        return self._view.versions(name)

    def index(self) -> list[Entry]:
        """Return all versions seen on disk, with their states."""
        return self._view.index()

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
            self._retire({name}, "unloaded")

    def close(self) -> None:
        """Answer what has been accepted and let go of everything."""
        with self._changing:
            self._retire(set(self._view.ready), "the server is stopping")

    def while_unchanged(self, action: Callable[[View[V]], None]) -> None:
        """Do something with the view during which no load or unload goes on; they wait for its end."""
        with self._changing:
            action(self._view)

    def _load(self, name: str, on_disk: Mapping[int, Path]) -> None:
        """Open the newest versions; only when all of them can be served do they take the place of the old ones."""
        old = self._view.ready.get(name, {})
        wanted = sorted(on_disk, reverse=True)[: self._max_versions]
        loaded: dict[int, V] = {}
        try:
            for version in wanted:
                loaded[version] = self._open_version(name, version, on_disk[version])
        except BaseException:
            for version, servable in loaded.items():
                servable.close()
                if version not in old:
                    self._mark(Entry(name, version, State.UNAVAILABLE, "another version of the model failed to load"))
            raise
        others = {key: entry for key, entry in self._view.entries.items() if key[0] != name}
        entries = others | {
            (name, version): Entry(name, version, State.READY)
            if version in loaded
            else Entry(name, version, State.UNAVAILABLE, "not among the newest versions served")
            for version in on_disk
        }
        self._show(View({**self._view.ready, name: loaded}, entries))
        for servable in old.values():
            servable.close()

    def _open_version(self, name: str, version: int, path: Path) -> V:
        """Open one version; the index tells of it unless the same version is being served meanwhile."""
        serving = version in self._view.ready.get(name, {})
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

    def _retire(self, names: set[str], reason: str) -> None:
        """Take all versions of some models out of service and wait until they have answered."""
        retired = [servable for servable in self.servables() if servable.name in names]
        ready = {name: versions for name, versions in self._view.ready.items() if name not in names}
        self._show(View(ready, self._marked(Entry(s.name, s.version, State.UNLOADING, reason) for s in retired)))
        for servable in retired:
            servable.close()
            self._mark(Entry(servable.name, servable.version, State.UNAVAILABLE, reason))

    def _mark(self, entry: Entry) -> None:
        self._show(View(self._view.ready, self._marked([entry])))

    def _marked(self, entries: Iterable[Entry]) -> Mapping[tuple[str, int], Entry]:
        return {**self._view.entries, **{(entry.name, entry.version): entry for entry in entries}}

    def _show(self, view: View[V]) -> None:
        self._publish(view)
        self._view = view


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
