"""What one process has opened, counted and refused since it started."""

import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from ..call import Call
from ..call_log import INFERENCE
from ..counters import Counters, added
from .observation import Facts, Key, Observation, Seen
from .process import process_values
from .refusals import Refusals
from .seam import Opened

RETIRED = 4
"""Versions of one model that are shown on after they have left service: enough that what counted last is scraped, and
few enough that a model renewed every hour for a year has no more series than one renewed five times."""

_STILL_OPEN = 3
"""Servables of one version that may still count: the one that answers, the one that has taken or is about to take its
place, and the one before, whose last answers may just have gone."""
_WHOLE = ""
"""Stands among the names of members for all of them together; no member is called that."""


class Observer:
    """Keeps the counters of everything opened, also after it is closed. Any method may be called from any thread.

    A version that is opened again goes on where it was, so that its counters never go back. Of each model, those in
    service are kept and the `RETIRED` that were opened last of the others. Owner: the server.
    """

    def __init__(self, in_service: Callable[[], Collection[Key]], is_ready: Callable[[], bool]) -> None:
        """Start with nothing opened.

        Args:
            in_service: what the repository shows as ready.
            is_ready: whether the server accepts work.
        """
        self.refusals = Refusals(is_ready)
        self._in_service = in_service
        self._lock = threading.Lock()
        self._books: dict[Key, _Book] = {}

    def opened(self, servable: Opened, facts: Facts) -> None:
        """Keep the counters of a servable from now on."""
        in_service = set(self._in_service())
        with self._lock:
            book = self._books.pop(facts.key, None) or _Book()
            book.begin(servable, facts)
            self._books[facts.key] = book
            others = [key for key in self._books if key[0] == facts.name and key not in in_service and key != facts.key]
            for key in others[:-RETIRED]:
                del self._books[key]

    def failed(self, call: Call, error: Exception) -> None:
        """Count an inference call that was refused before it reached a model; the others are counted there."""
        if call.method in INFERENCE and not call.reached_model:
            self.refusals.count(error)

    def observation(
        self, *, calls_under_way: int = 0, front_end: str = "", certificates: Mapping[str, float] | None = None
    ) -> Observation:
        """Return what there is to say now."""
        with self._lock:
            seen = [book.seen() for book in self._books.values()]
        return Observation(
            versions=seen,
            refusals=self.refusals.counts(),
            calls_under_way=calls_under_way,
            front_end=front_end,
            certificates=certificates or {},
            process=process_values(),
        )


class _Book:
    """The counters of one version, of however many servables have been it."""

    def __init__(self) -> None:
        self._open: list[_Opened] = []
        self._closed: dict[str, Counters] = {}

    def begin(self, servable: Opened, facts: Facts) -> None:
        """Count on with another servable; those before it may still be answering."""
        self._open.append(_Opened(facts, weakref.ref(servable), partial(servable.statistics.all, by_size=False)))
        while len(self._open) > _STILL_OPEN:
            self._closed = self._open.pop(0).added_to(self._closed)

    def seen(self) -> Seen:
        """Return facts and counters as they are."""
        sums = self._closed
        for each in self._open:
            sums = each.added_to(sums)
        facts = self._open[-1].facts
        return Seen(
            facts,
            sums[_WHOLE],
            {member.name: sums[member.name] for member in facts.members},
            sum(each.waiting_rows for each in self._open),
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A servable that is, or was, one version. It is not kept alive; its counters are."""

    facts: Facts
    servable: "weakref.ref[Opened]"
    count: Callable[[], list[Counters]]

    @property
    def waiting_rows(self) -> int:
        servable = self.servable()
        return 0 if servable is None else servable.waiting_rows

    def added_to(self, sums: Mapping[str, Counters]) -> dict[str, Counters]:
        """Return name of a member, or `_WHOLE`, -> its counters, in sum with those given."""
        found = dict(sums)
        for name, counters in zip((_WHOLE, *(m.name for m in self.facts.members)), self.count(), strict=True):
            found[name] = added(found[name], counters) if name in found else counters
        return found
