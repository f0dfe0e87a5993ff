"""All there is to know of a server at one moment, be it one process or several workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..origin import StoreState
from ..view import Entry, State
from .observation import Seen


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment.

    Attributes:
        is_ready: whether the server accepts work.
        started_s: when it started, in seconds since the epoch.
        now_s: when this was, on the same clock.
        n_workers: processes that should serve; 1 for a server alone.
        n_workers_up: those that do.
        versions: what has been served, by name and version; those out of service came before those in it.
        entries: the repository's index.
        refusals: reason -> calls that reached no model.
        load_failures: model -> how often a version of it could not be loaded.
        calls_under_way: calls that wait or are handled.
        front_end: what speaks HTTP/2; empty until that is known.
        certificates: what certificates are for -> when they expire, in seconds since the epoch; none without TLS.
        process: name of a process metric -> its value, added up over all processes.
        store: what is served is copied from it; None where that lies on disk.
    """

    is_ready: bool
    started_s: float
    now_s: float
    n_workers: int = 1
    n_workers_up: int = 1
    versions: Sequence[Seen] = ()
    entries: Sequence[Entry] = ()
    refusals: Mapping[str, int] = field(default_factory=dict)
    load_failures: Mapping[str, int] = field(default_factory=dict)
    calls_under_way: int = 0
    front_end: str = ""
    certificates: Mapping[str, float] = field(default_factory=dict)
    process: Mapping[str, float] = field(default_factory=dict)
    store: StoreState | None = None

    def wanted(self) -> list[Entry]:
        """Return the entries that should be ready: of each model the newest versions, down to the oldest that is.

        Where none is, that is the newest alone. Older ones on disk are not served on purpose.
        """
        by_name: dict[str, list[Entry]] = {}
        for entry in self.entries:
            by_name.setdefault(entry.name, []).append(entry)
        found = []
        for entries in by_name.values():
            ready = [entry.version for entry in entries if entry.state is State.READY]
            oldest = min(ready) if ready else max(entry.version for entry in entries)
            found += [entry for entry in entries if entry.version >= oldest]
        return found
