"""A count that a limit is held against, where several processes may share the limit.

Each process keeps its own part and reads the others'. A process alone has a `Tally`, whose other parts are nothing;
one of several workers has a part of the board that they share, see `workers.board`.
"""

from typing import Protocol


class SharedCount(Protocol):
    """One process's part of a count. Written by its owner only, under the owner's lock; read without one."""

    own: int

    def elsewhere(self) -> int:
        """Return the sum of the other processes' parts, as they are now."""
        ...


class Tally:
    """The whole count of a process that shares its limit with no other."""

    __slots__ = ("own",)

    def __init__(self) -> None:
        """Start at zero."""
        self.own = 0

    def elsewhere(self) -> int:
        """Return 0."""
        return 0
