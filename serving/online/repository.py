"""The repository of servables: which models and versions there are, loading, swapping and unloading them.

    <repository>/<model>/<version>/bundle.json

Readers see immutable snapshots and take no lock; loads and unloads wait for each other, never for calls. A version
becomes visible once it has loaded, passed its golden check and warmed up; the version it replaces answers what it
has accepted, then goes.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Generic

from ..contract.errors import BundleError, ConfigurationError, NotFound, WidedeepError
from .choice import OLDER, Memory, choose
from .source import Seen, Source, see
from .view import Entry, State, V, View

__all__ = ["Entry", "Repository", "Source", "State"]

_LOG = logging.getLogger(__name__)


class Repository(Generic[V]):
    """Versions of models, held open.

    `get`, `index` and their like may be called from any thread at any time. `start` comes first, `close` last; `load`,
    `unload` and `poll` may be called in between from any thread and block until done. Owner: the server, or where it
    has several workers their supervisor, whose versions are then open in all of them.
    """

    def __init__(
        self,
        open_version: Callable[[str, int, Path], V],
        *,
        max_versions: int = 1,
        publish: Callable[[View[V]], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Store the parts; `start` loads.

        Args:
            open_version: loads one version given the model's name, the version and the bundle's folder.
            max_versions: newest versions of each model to serve.
            publish: told of each new view before readers here see it.
            clock: seconds, monotonic.
        """
        self._source: Source
        self._open = open_version
        self._max_versions = max_versions
        self._publish = publish
        self._clock = clock
        self._changing = threading.Lock()
        self._view: View[V] = View()
        self._single = ""
        self._is_closed = False
        self._memories: dict[str, Memory] = {}
        self._unloaded: set[str] = set()
        self._failures: Counter[str] = Counter()

    def start(self, source: Source) -> None:
        """Load every model; the first failure is raised, since a server that lacks a model should not come up.

        Args:
            source: where bundles lie.

        Raises:
            ConfigurationError: nothing to serve, or a provider is missing.
            BundleError: a bundle is damaged or fails its golden check.
        """
        self._source = source
        found = source.scan()
        self._single = next(iter(found)) if source.is_bundle else ""
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

    def load_failures(self) -> Mapping[str, int]:
        """Return model -> how often one of its versions could not be loaded, whoever asked for it."""
        return dict(self._failures)

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
            self._unloaded.discard(name)

    def unload(self, name: str) -> None:
        """Stop serving a model and return when the calls it has accepted are answered; `poll` leaves it alone then.

        Raises:
            NotFound: no such model.
        """
        with self._changing:
            if name not in self.names():
                raise NotFound(f"unknown model {name!r}; this server has {', '.join(map(repr, self.names()))}")
            self._unloaded.add(name)
            self._retire({name}, "unloaded")

    def poll(self) -> bool:
        """Bring what is served in line with the disk, model by model, and return whether that was all for now.

        The newest versions that can be served are opened, then take the place of others at once; `choice` says which.
        A version that cannot be served is passed over until its files change, or for a while where the reason may go
        by itself. A model whose folder is gone is let go; one whose folder is empty or cannot be read is served on,
        and so is everything while the whole repository is: a mount may be lost.

        Raises:
            OSError: the repository cannot be read.
            ConfigurationError: it holds nothing any more.
        """
        folders = self._source.folders(self._single)
        if not any(folders.values()):
            raise ConfigurationError(f"no <model>/<version> under {self._source.path} any more")
        is_settled = True
        for name in sorted(folders.keys() | set(self.names())):
            with self._changing:
                if self._is_closed:
                    return True
                if name in self._unloaded and name in folders:
                    continue
                try:
                    is_settled &= self._follow(name, folders[name]) if name in folders else self._miss(name)
                except OSError as error:
                    _LOG.debug("model %s cannot be looked at: %s", name, error)
                    is_settled = False
        return is_settled

    def close(self) -> None:
        """Answer what has been accepted and let go of everything."""
        with self._changing:
            self._is_closed = True
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
        self._adopt(name, loaded, {version: OLDER for version in on_disk if version not in loaded})

    def _open_version(self, name: str, version: int, path: Path) -> V:
        """Open one version; raises what `load` does."""
        try:
            return self._opened(name, version, path)
        except Exception as error:
            if not isinstance(error, WidedeepError | OSError):
                raise
            kind = type(error) if isinstance(error, ConfigurationError) else BundleError
            raise kind(f"model {name!r} version {version} cannot be served: {path}: {error}") from error

    def _opened(self, name: str, version: int, path: Path) -> V:
        """Open one version; the index tells of it unless the same version is being served meanwhile."""
        serving = version in self._view.ready.get(name, {})
        if not serving:
            self._mark(Entry(name, version, State.LOADING))
        try:
            servable = self._open(name, version, path)
        except Exception as error:
            self._failures[name] += 1
            if not serving:
                self._mark(Entry(name, version, State.UNAVAILABLE, _reason(error, path)))
            raise
        _LOG.info("loaded %s version %d from %s", name, version, path)
        return servable

    def _follow(self, name: str, on_disk: Mapping[int, Path] | None) -> bool:
        """Serve the versions of a model that should be; returns whether another look soon would find no more to do."""
        if on_disk is None:
            return True
        memory = self._memories.setdefault(name, Memory())
        memory.is_missing = False
        old = self._view.ready.get(name, {})
        seen: dict[int, Seen] = {}
        opened: dict[int, V] = {}

        def look(version: int) -> Seen:
            if version not in seen:
                try:
                    seen[version] = see(on_disk[version], memory.seen.get(version))
                except OSError as error:
                    if version in old:
                        raise
                    seen[version] = Seen((), "", f"it cannot be read: {error.strerror}")
            return seen[version]

        try:
            while True:
                choice = choose(
                    on_disk,
                    look,
                    {version: servable.digest for version, servable in old.items()},
                    memory,
                    max_versions=self._max_versions,
                    now_s=self._clock(),
                )
                version = next((version for version in choice.open if version not in opened), None)
                if version is None:
                    break
                # A link is followed once, so that all files are those of one bundle even if it moves meanwhile.
                path = on_disk[version].resolve()
                try:
                    opened[version] = self._opened(name, version, path)
                except Exception as error:
                    del seen[version]
                    if look(version) != memory.seen.get(version):
                        _LOG.info("model %s version %d changed while it was loaded", name, version)
                    elif memory.note(version, seen[version], error, _reason(error, path), self._clock()):
                        is_bug = not isinstance(error, WidedeepError | OSError)
                        trace = error if is_bug else None
                        _LOG.warning("model %s version %d cannot be served: %s", name, version, error, exc_info=trace)
        except BaseException:
            for servable in opened.values():
                servable.close()
            raise
        memory.seen = seen
        self._adopt(name, {v: opened[v] if v in opened else old[v] for v in (*choice.open, *choice.keep)}, choice.notes)
        return choice.is_settled

    def _adopt(self, name: str, ready: Mapping[int, V], notes: Mapping[int, str]) -> None:
        """Serve these versions of a model, all at once, in place of those served so far; the index has the notes."""
        old = self._view.ready.get(name, {})
        others = {key: entry for key, entry in self._view.entries.items() if key[0] != name}
        own = {
            (name, version): Entry(
                name,
                version,
                State.READY if version in ready else State.UNAVAILABLE,
                notes.get(version, ""),
            )
            for version in {*ready, *notes}
        }
        entries = others | own
        if ready != old or entries != self._view.entries:
            models = {model: versions for model, versions in self._view.ready.items() if model != name}
            self._show(View({**models, name: ready} if ready else models, entries))
        for version, servable in old.items():
            if ready.get(version) is not servable:
                servable.close()
                _LOG.info("let go of %s version %d", name, version)

    def _miss(self, name: str) -> bool:
        """Let go of a model whose folder is gone, if it was gone at the look before, too."""
        memory = self._memories.setdefault(name, Memory())
        if not memory.is_missing:
            memory.is_missing = True
            return False
        _LOG.info("let go of %s: its folder is gone", name)
        self._retire({name}, "its folder is gone")
        self._show(View(self._view.ready, {key: entry for key, entry in self._view.entries.items() if key[0] != name}))
        self._unloaded.discard(name)
        del self._memories[name]
        return True

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


def _reason(error: Exception, path: Path) -> str:
    """Return why a version cannot be served, without the place where it lies, which is not for callers to know."""
    return str(error).replace(f"{path}/", "").replace(str(path), "its folder")
