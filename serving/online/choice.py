"""Which versions of a model should be served, given what is on disk and what is served now: pure functions.

The newest versions that can be served are. A version that cannot takes no good one's place, and what is served stays
while there is nothing to take its place, be the folder empty or gone. Files that have changed since the look before
may still be being copied, so nothing is done about them until a look finds them as the one before did.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ..contract.errors import NotReady, WidedeepError
from .source import Seen, Stamp

OLDER = "not among the newest versions served"
"""Why a version that could be served is not."""

_CHANGING = "its files are still changing"
_FIRST_RETRY_S = 30.0
_LONGEST_RETRY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A load that came to nothing.

    Attributes:
        stamp: of the files that could not be served; others are tried.
        reason: what the index says.
        attempts: how often these files were tried.
        retry_s: when they are tried again; infinite where that would come to the same.
    """

    stamp: Stamp
    reason: str
    attempts: int
    retry_s: float


@dataclass(slots=True)
class Memory:
    """What is remembered of a model from one look to the next.

    Attributes:
        seen: version -> what the look before has shown.
        failures: version -> its last failure.
        is_missing: whether the look before found no folder of the model.
    """

    seen: Mapping[int, Seen] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    is_missing: bool = False

    def note(self, version: int, seen: Seen, error: Exception, reason: str, now_s: float) -> bool:
        """Remember that what is seen of a version cannot be served; return whether that was not known.

        What this project refuses it would refuse again, unless a server was not ready; the reason for anything else,
        such as a full disk, may go by itself, so that is tried again, less and less often.
        """
        before = self.failures.get(version)
        attempts = 1 + before.attempts if before is not None and before.stamp == seen.stamp else 1
        is_lasting = isinstance(error, WidedeepError) and not isinstance(error, NotReady)
        wait_s = math.inf if is_lasting else min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(attempts - 1, 32))
        self.failures[version] = Failure(seen.stamp, reason, attempts, now_s + wait_s)
        return attempts == 1


@dataclass(frozen=True, slots=True)
class Choice:
    """What should be served of a model.

    Attributes:
        keep: versions that are served and go on.
        open: versions to open, the newest first.
        notes: version -> why it is not served as it is on disk.
        is_settled: False where another look soon may find more to do.
    """

    keep: tuple[int, ...]
    open: tuple[int, ...]
    notes: Mapping[int, str]
    is_settled: bool = True


def choose(
    on_disk: Collection[int],
    see: Callable[[int], Seen],
    served: Mapping[int, str],
    memory: Memory,
    *,
    max_versions: int,
    now_s: float,
) -> Choice:
    """Return what should be served of a model.

    Args:
        on_disk: versions that have a folder.
        see: returns what such a version's folder shows; called only for those that matter.
        served: version -> digest of the bundle that is served under it.
        memory: of earlier looks.
        max_versions: how many to serve.
        now_s: seconds, monotonic.
    """
    keep: list[int] = []
    to_open: list[int] = []
    notes: dict[int, str] = {}
    is_settled = True
    for version in sorted({*on_disk, *served}, reverse=True):
        if len(keep) + len(to_open) == max_versions:
            notes[version] = OLDER
            continue
        seen = see(version) if version in on_disk else None
        if seen is not None and seen.digest == served.get(version):
            keep.append(version)
            continue
        is_still = memory.seen.get(version) == seen
        is_settled &= is_still
        notes[version] = _obstacle(seen, memory.failures.get(version), now_s) if is_still else _CHANGING
        if is_still and not notes[version]:
            to_open.append(version)
        elif version in served and (not is_still or (seen is not None and seen.digest)):
            keep.append(version)
    if not keep and not to_open:
        keep = sorted(served, reverse=True)[:max_versions]
    told = {version: note for version, note in notes.items() if note and (version in on_disk or version in keep)}
    return Choice(tuple(keep), tuple(to_open), told, is_settled)


def _obstacle(seen: Seen | None, failure: Failure | None, now_s: float) -> str:
    """Return why a version is not to be opened now, "" if it is, given that its files have not changed lately."""
    if seen is None:
        return "its folder is gone"
    if failure is not None and failure.stamp == seen.stamp and now_s < failure.retry_s:
        return failure.reason
    return seen.lacks
