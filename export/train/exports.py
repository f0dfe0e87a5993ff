"""Which candidates are to be exported: those of the ensemble chosen last, the weightiest first.

The proof of an export is strict and may fail; the choice is then made anew among what is left. Decides only; who
exports and when is the campaign's business.
"""

from collections.abc import Callable, Iterable, Sequence

from .candidates import Candidate

Choose = Callable[[Sequence[Candidate]], Sequence[str]]
"""From candidates to the names of those for an ensemble, the weightiest first."""


class Exports:
    """Candidates, and what of them is to be exported. Owner: the driver, from one thread.

    Args:
        known: candidates that there are already.
        choose: chooses an ensemble.
    """

    def __init__(self, known: Iterable[Candidate], choose: Choose) -> None:
        self._known = {candidate.about.name: candidate for candidate in known}
        self._choose = choose
        self._given: set[str] = set()
        self._failed: set[str] = set()
        self._waiting: list[Candidate] = []

    @property
    def candidates(self) -> Sequence[Candidate]:
        """All candidates, also those whose export failed."""
        return list(self._known.values())

    @property
    def sound(self) -> Sequence[Candidate]:
        """Those whose export did not fail."""
        return [candidate for name, candidate in self._known.items() if name not in self._failed]

    @property
    def exported(self) -> Sequence[Candidate]:
        """Those with a member."""
        return [candidate for candidate in self._known.values() if candidate.is_exported]

    @property
    def n_open(self) -> int:
        """How many wait to be exported or are at it."""
        return len(self._waiting) + len(self._given)

    @property
    def is_waiting(self) -> bool:
        """Whether one waits."""
        return bool(self._waiting)

    def keep(self, candidate: Candidate) -> None:
        """Take in a candidate, or one that has been exported."""
        self._given.discard(candidate.about.name)
        self._known[candidate.about.name] = candidate

    def fail(self, name: str) -> None:
        """Leave out a candidate whose export failed, and choose anew."""
        self._given.discard(name)
        self._failed.add(name)
        self.choose()

    def choose(self) -> None:
        """Choose an ensemble; what of it has no member waits from now on."""
        sound = self.sound
        names = self._choose(sound) if sound else ()
        open_ = [self._known[name] for name in names if name not in self._given]
        self._waiting = [candidate for candidate in open_ if not candidate.is_exported]

    def next(self) -> Candidate:
        """Return the one to export next, which is at it from now on."""
        candidate = self._waiting.pop(0)
        self._given.add(candidate.about.name)
        return candidate
