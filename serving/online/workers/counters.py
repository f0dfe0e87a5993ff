"""A worker's counters in JSON's terms, and back; see `counts` for what is done with them in between."""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from ..statistics import BatchTimes, Counters, Duration
from .counts import Counts


def spell(counters: Counters) -> Counts:
    """Return counters in JSON's terms."""
    plain = replace(counters, batches={})
    return asdict(plain) | {"batches": {str(rows): asdict(times) for rows, times in counters.batches.items()}}


def read(spelled: Counts) -> Counters:
    """Return the counters that were spelled."""
    values: dict[str, Any] = {
        name: Duration(**value) if isinstance(value, Mapping) else value
        for name, value in spelled.items()
        if name != "batches"
    }
    batches = {
        int(rows): BatchTimes(**{field.name: Duration(**times[field.name]) for field in fields(BatchTimes)})
        for rows, times in spelled["batches"].items()
    }
    return Counters(**values, batches=batches)
