"""What one process says of itself: the versions that it has opened, their counters, and what belongs to no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..counters import Counters

Key = tuple[str, int]
"""A model's name and a version."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member as its bundle describes it; `weight` is its part in the combiner, see `combiner.weights_by_member`."""

    name: str
    framework: str
    provider: str
    weight: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change of one version while it is open.

    Attributes:
        name: the model's.
        version: its number.
        digest: of the bundle.
        task: classification or regression.
        combiner: its kind.
        chosen: name of the method that learned the weights.
        reason: why that method was chosen; may be empty.
        members: in the bundle's order.
    """

    name: str
    version: int
    digest: str
    task: str
    combiner: str
    chosen: str
    reason: str
    members: tuple[Member, ...]

    @property
    def key(self) -> Key:
        """Model and version."""
        return self.name, self.version


@dataclass(frozen=True, slots=True)
class Seen:
    """One version and what it has done; `members` are by name. Batches by size are left out of the counters."""

    facts: Facts
    total: Counters
    members: Mapping[str, Counters]
    waiting_rows: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """One process at one moment, or several as one.

    Attributes:
        n_processes: how many.
        versions: what it has opened, the oldest first; some may have been closed since.
        refusals: reason -> calls that were refused before they reached a model.
        calls_under_way: calls that wait or are handled.
        front_end: what speaks HTTP/2.
        certificates: what certificates are for -> when they expire, in seconds since the epoch; see `tls.Tls`.
        process: name of a process metric -> its value.
    """

    n_processes: int = 1
    versions: Sequence[Seen] = ()
    refusals: Mapping[str, int] = field(default_factory=dict)
    calls_under_way: int = 0
    front_end: str = ""
    certificates: Mapping[str, float] = field(default_factory=dict)
    process: Mapping[str, float] = field(default_factory=dict)
