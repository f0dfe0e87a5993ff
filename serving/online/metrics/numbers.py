"""Numbers as the status page shows them; its script has the same rules, for what it keeps up to date."""

from collections.abc import Sequence

from ..counters import TIME_BOUNDS_NS

NOTHING = "\N{EN DASH}"
"""Stands where there is no number yet."""
_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


def count(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Return what happens a second, with a digit behind the point where it is small."""
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def duration(ns: float | None) -> str:
    """Return a time with three digits and its unit."""
    if ns is None:
        return NOTHING
    scale, unit = next((each for each in _UNITS if ns >= each[0]), _UNITS[-1])
    value = ns / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def percent(part: float) -> str:
    """Return a part of one as a whole percentage."""
    return f"{100 * part:,.0f} %"


def size(n_bytes: float | None) -> str:
    """Return an amount of memory."""
    return NOTHING if n_bytes is None else f"{n_bytes / (1 << 20):,.0f} MiB"


def age(seconds: float) -> str:
    """Return how long something has lasted, in its two largest units."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or parts or unit == "s":
            parts.append(f"{amount} {unit}")
    return " ".join(parts[:2])


def percentile_ns(buckets: Sequence[int], part: float) -> float | None:
    """Return the value below which a part of what is in the buckets of times lies; None where they are empty.

    Within a bucket values are taken to be spread evenly, as Prometheus's `histogram_quantile` does; what lies beyond
    all bounds is told as the last of them.
    """
    total = sum(buckets)
    if not total:
        return None
    rank = part * total
    below = 0
    for index, n in enumerate(buckets):
        below += n
        if n and below >= rank:
            if index == len(TIME_BOUNDS_NS):
                break
            low = TIME_BOUNDS_NS[index - 1] if index else 0
            return low + (TIME_BOUNDS_NS[index] - low) * (rank - (below - n)) / n
    return float(TIME_BOUNDS_NS[-1])
