"""Counters of several workers as one: pure functions over counters in JSON's terms, as the control socket carries them.

One worker's counters are fields whose values are numbers, lists of numbers of one length, or objects of such fields.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import add
from typing import Any

Counts = Mapping[str, Any]

_LATEST = "last_inference_ms"
"""The one field that is a time, not a count."""


def summed(counts: Sequence[Counts]) -> Counts:
    """Return the sum of what different workers counted."""
    return _combined(counts, add)


def newest(counts: Sequence[Counts]) -> Counts:
    """Return the newest of what one worker counted at different times: none of it ever goes back."""
    return _combined(counts, max)


def _combined(counts: Sequence[Counts], combine: Callable[[Any, Any], Any]) -> Counts:
    whole: dict[str, Any] = {}
    for each in counts:
        for name, value in each.items():
            if isinstance(value, Mapping):
                whole[name] = _combined([whole.get(name, {}), value], combine)
            elif isinstance(value, list):
                whole[name] = list(map(combine, whole[name], value)) if name in whole else value
            elif name in whole:
                whole[name] = max(whole[name], value) if name == _LATEST else combine(whole[name], value)
            else:
                whole[name] = value
    return whole
