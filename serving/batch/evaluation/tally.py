"""What was counted of some rows: it merges with that of others, and a task's result carries it as JSON.

In JSON an array is one string: its dtype, its shape and its compressed bytes, so every number comes back bit for bit.
"""

import base64
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from ...contract.tensors import Array
from .moments import Moments

FORMAT = 1
OTHER = "(other)"
MAX_VALUES = 100
"""Values of a slice column that are told apart: the first in their order as text. That choice, other than the most
frequent or the first met, is the same whichever rows are counted first."""

_MAX_EXAMPLES = 5


@dataclass(slots=True, eq=False)
class Slices:
    """Moments by the values of one column.

    Attributes:
        values: at most `MAX_VALUES`, sorted, then perhaps `OTHER`.
        moments: one group a value.
    """

    values: tuple[str, ...]
    moments: Moments

    def merge(self, other: "Slices") -> None:
        """Add the rows of another."""
        values = kept({*self.values, *other.values})
        if values == self.values == other.values:
            self.moments.merge(other.moments)
            return
        mine, theirs = (part.moments.moved(places(part.values, values), len(values)) for part in (self, other))
        mine.merge(theirs)
        self.values, self.moments = values, mine


def kept(values: Collection[str]) -> tuple[str, ...]:
    """Return which values of a slice column are told apart, `OTHER` last where some are not."""
    plain = sorted(value for value in values if value != OTHER)
    is_all = len(plain) <= MAX_VALUES and len(plain) == len(values)
    return (*plain[:MAX_VALUES], *(() if is_all else (OTHER,)))


def places(values: Sequence[str], among: Sequence[str]) -> list[int]:
    """Return the group of each value among those kept; that of `OTHER` where it is not."""
    known = {value: i for i, value in enumerate(among)}
    return [known.get(value, len(among) - 1) for value in values]


@dataclass(slots=True, eq=False)
class Tally:
    """What was counted. Owned by one thread; an `Evaluator` makes it and adds rows to it.

    Attributes:
        counts: what adds up, by name: integers or sums of floats.
        moments: moments of columns, by name, one group each.
        slices: moments by the values of each slice column.
        unknown_labels: the first of the labels that are no classes, sorted.
    """

    counts: dict[str, Array] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    slices: dict[str, Slices] = field(default_factory=dict)
    unknown_labels: tuple[str, ...] = ()

    def add_labels(self, labels: Collection[str]) -> None:
        """Keep some of these labels as examples."""
        self.unknown_labels = tuple(sorted({*self.unknown_labels, *labels})[:_MAX_EXAMPLES])

    def merge(self, other: "Tally") -> None:
        """Add what another counted with an evaluator for the same job; it is left as it is."""
        for name, array in other.counts.items():
            self.counts[name] = self.counts[name] + array if name in self.counts else array
        for name, moments in other.moments.items():
            if name in self.moments:
                self.moments[name].merge(moments)
            else:
                self.moments[name] = replace(moments)
        for name, slices in other.slices.items():
            if name in self.slices:
                self.slices[name].merge(slices)
            else:
                self.slices[name] = replace(slices, moments=replace(slices.moments))
        self.add_labels(other.unknown_labels)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "format": FORMAT,
            "counts": {name: _packed(array) for name, array in self.counts.items()},
            "moments": {name: _moments_to_json(part) for name, part in self.moments.items()},
            "slices": {
                name: {"values": list(part.values), **_moments_to_json(part.moments)}
                for name, part in self.slices.items()
            },
            "unknown_labels": list(self.unknown_labels),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; an empty one is a tally of no rows."""
        return cls(
            {name: _unpacked(text) for name, text in data.get("counts", {}).items()},
            {name: _moments_from_json(part) for name, part in data.get("moments", {}).items()},
            {
                name: Slices(tuple(part["values"]), _moments_from_json(part))
                for name, part in data.get("slices", {}).items()
            },
            tuple(data.get("unknown_labels", ())),
        )


def _moments_to_json(moments: Moments) -> dict[str, str]:
    return {"n": _packed(moments.n), "mean": _packed(moments.mean), "m2": _packed(moments.m2)}


def _moments_from_json(data: Mapping[str, str]) -> Moments:
    return Moments(_unpacked(data["n"]), _unpacked(data["mean"]), _unpacked(data["m2"]))


def _packed(array: Array) -> str:
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    # Bytes of equal weight stand together, so that the zeros of small numbers compress.
    planes = plain.view(np.uint8).reshape(-1, plain.dtype.itemsize).T.tobytes()
    data = base64.b64encode(zlib.compress(planes)).decode()
    return f"{plain.dtype.str}:{','.join(map(str, array.shape))}:{data}"


def _unpacked(text: str) -> Array:
    kind, shape, data = text.split(":")
    dtype = np.dtype(kind)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(data)), np.uint8).reshape(dtype.itemsize, -1)
    sizes = tuple(int(size) for size in shape.split(",") if size)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(sizes).astype(dtype.newbyteorder("="))
