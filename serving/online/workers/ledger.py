"""What every worker has counted, the dead ones included, so that no count of the server ever goes back."""

import threading
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from ..counts import Counts, newest, summed

ByServable = Mapping[str, Sequence[Counts]]
"""Key of a servable -> its counters, then each of its members'."""


class Ledger:
    """The last word of each worker on each servable. Any method may be called from any thread.

    Owner: the supervisor. A worker is known by its process: one that takes a dead one's place counts anew.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._lock = threading.Lock()
        self._known: dict[str, dict[int, Sequence[Counts]]] = defaultdict(dict)

    def record(self, process: int, counters: ByServable) -> None:
        """Keep what a worker says; what it said before of other servables stays."""
        with self._lock:
            for key, counts in counters.items():
                before = self._known[key].get(process)
                self._known[key][process] = (
                    counts if before is None else [newest(pair) for pair in zip(before, counts, strict=True)]
                )

    def total(self, keys: Sequence[str]) -> dict[str, Sequence[Counts]]:
        """Return the sums over all workers, of those servables of which anything is known."""
        with self._lock:
            known = {key: list(self._known[key].values()) for key in keys if key in self._known}
        return {key: [summed(parts) for parts in zip(*each, strict=True)] for key, each in known.items()}

    def keep(self, keys: Collection[str]) -> None:
        """Drop what is known of all others."""
        with self._lock:
            for key in self._known.keys() - set(keys):
                del self._known[key]

    def forget(self, key: str) -> None:
        """Drop what is known of a servable that is gone."""
        with self._lock:
            self._known.pop(key, None)
