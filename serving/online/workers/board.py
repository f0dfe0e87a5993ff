"""The memory that supervisor and workers share: a few words that are current for all of them at once.

    word 0   generation: the newest view of the repository that workers may show
    word 1   open: 1 while the server accepts work
    then, for each worker, one word a count that a limit is held against

A word is written by one process only: the first two by the supervisor, a worker's part by that worker. It is an
aligned 64-bit word, so a reader sees it whole, before or after; nothing is locked. A worker's part is contiguous, so
that no two processes write to one cache line.
"""

import mmap
import os
from collections.abc import Sequence
from typing import Self

_WORD_BYTES = 8
_HEAD = 512
"""Words before the first worker's part: a page."""
N_COUNTS = 1 << 13
"""Counts that a worker can have: a few of the server's, and one for each version held open."""

CALLS = 0
"""Count of calls that wait for a handler."""
STREAMS = 1
"""Count of open streams."""
FIRST_SERVABLE = 2
"""Counts from here on are of rows that wait at a servable."""


class Board:
    """A view of the memory. Any thread may read; who may write which word is said above. Owner: each process."""

    def __init__(self, descriptor: int, n_workers: int) -> None:
        """Map the memory behind a descriptor, which the caller may close then."""
        self.n_workers = n_workers
        memory = mmap.mmap(descriptor, _WORD_BYTES * (_HEAD + n_workers * N_COUNTS))
        self._words = memoryview(memory).cast("q")

    @classmethod
    def create(cls, n_workers: int) -> tuple[Self, int]:
        """Return a new board, all zero, and the descriptor to share it by."""
        descriptor = os.memfd_create("widedeep-board")
        os.ftruncate(descriptor, _WORD_BYTES * (_HEAD + n_workers * N_COUNTS))
        return cls(descriptor, n_workers), descriptor

    @property
    def generation(self) -> int:
        """The newest view that may be shown."""
        return self._words[0]

    @generation.setter
    def generation(self, value: int) -> None:
        self._words[0] = value

    @property
    def is_open(self) -> bool:
        """Whether the server accepts work."""
        return self._words[1] == 1

    @is_open.setter
    def is_open(self, value: bool) -> None:
        self._words[1] = int(value)

    def count(self, place: int, number: int) -> "BoardCount":
        """Return one worker's part of a count."""
        others = [self._word(other, number) for other in range(self.n_workers) if other != place]
        return BoardCount(self._words, self._word(place, number), others)

    def clear(self, place: int) -> None:
        """Set a worker's part to zero, once that worker is dead."""
        start = self._word(place, 0)
        self._words[start : start + N_COUNTS] = memoryview(bytes(_WORD_BYTES * N_COUNTS)).cast("q")

    def _word(self, place: int, number: int) -> int:
        return _HEAD + place * N_COUNTS + number


class BoardCount:
    """A `SharedCount` on the board."""

    __slots__ = ("_others", "_own", "_words")

    def __init__(self, words: "memoryview[int]", own: int, others: Sequence[int]) -> None:
        """Store where the parts are."""
        self._words = words
        self._own = own
        self._others = others

    @property
    def own(self) -> int:
        """This worker's part."""
        return self._words[self._own]

    @own.setter
    def own(self, value: int) -> None:
        self._words[self._own] = value

    def elsewhere(self) -> int:
        """Return the sum of the other workers' parts."""
        return sum(self._words[other] for other in self._others)
