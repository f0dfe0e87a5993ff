"""When a worker that died is started again, and when no more: a pure decision."""

from collections.abc import Sequence

WINDOW_S = 60.0
"""Deaths further back than this are forgotten."""
MAX_DEATHS = 5
"""Deaths within the window that are too many: what kills workers will not go away by itself."""
_FIRST_DELAY_S = 0.1


def delay_s(deaths_s: Sequence[float], now_s: float) -> float | None:
    """Return how long to wait before the next start, twice as long after each recent death; None means give up.

    Args:
        deaths_s: times at which workers died, the one at hand included.
        now_s: the time now, on the same clock.
    """
    recent = sum(now_s - death < WINDOW_S for death in deaths_s)
    return None if recent >= MAX_DEATHS else _FIRST_DELAY_S * 2 ** max(0, recent - 1)
