"""Which kind of model to try next: a pure function of how each has done so far.

Every kind gets one trial first, the quick ones before the slow ones, so that an ensemble of unlike members exists
early. Then time is shared by rank: the best kind gets most of it, and every kind some, since an ensemble lives on
members that err differently, and a kind that starts badly may become the best once its parameters are found. It is
stride scheduling: next comes the kind whose time so far is least in proportion to its share.

Source: Waldspurger and Weihl (1995), "Stride scheduling: deterministic proportional-share resource management".
"""

from collections.abc import Sequence
from dataclasses import dataclass

_DECAY = 0.75
"""Share of a kind against that of the next better one. The fourth best still gets 0.4 of what the best gets."""

_MARGIN = 1.3
"""A trial may take longer than those of its kind did in the mean; it should end all the same."""

_HOPELESS = 2
"""Trials that fail before one succeeds, after which a kind is given up."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a kind has done.

    Attributes:
        kind: its name.
        n_started: trials begun, in this run or an earlier one.
        n_running: those of them that run now.
        n_scored: those that ended with a candidate.
        n_failed: those that failed.
        best_loss: the lowest loss of those, infinite while there is none.
        mean_s: seconds of a trial in the mean, of those that ended; 0 while none has.
        spent_s: seconds of all, those that run included.
    """

    kind: str
    n_started: int = 0
    n_running: int = 0
    n_scored: int = 0
    n_failed: int = 0
    best_loss: float = float("inf")
    mean_s: float = 0.0
    spent_s: float = 0.0


def next_kind(standings: Sequence[Standing], left_s: float) -> str | None:
    """Return the kind to try next, or None where no trial is worth beginning.

    Args:
        standings: of all kinds, the quick ones first.
        left_s: seconds until the search ends.
    """
    if left_s <= 0:
        return None
    untried = [standing for standing in standings if not standing.n_started]
    if untried:
        return untried[0].kind
    ranked = sorted(standings, key=lambda standing: standing.best_loss)
    shares = {standing.kind: _DECAY**place for place, standing in enumerate(ranked)}
    open_ = [standing for standing in standings if _is_open(standing, left_s)]
    # Of a kind whose first trial runs nobody knows yet what it takes; it is tried again only if there is no other.
    known = [standing for standing in open_ if not standing.n_running or standing.n_running < standing.n_started]
    if not open_:
        return None
    return min(known or open_, key=lambda standing: standing.spent_s / shares[standing.kind]).kind


def _is_open(standing: Standing, left_s: float) -> bool:
    if not standing.n_scored and standing.n_failed >= _HOPELESS:
        return False
    return standing.mean_s * _MARGIN <= left_s
