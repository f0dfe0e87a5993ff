"""Rows in batches of bounded size: what probes travel in, so that nobody has to hold all of them at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array

Arrays = Mapping[str, Array]
"""Tensor name -> rows."""

BATCH_ROWS = 8192
BATCH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """Probes of one kind, or a batch of them.

    Attributes:
        kind: what was done, for messages.
        rows: tensor name -> `(n_probes, d1, ...)`.
        optional: whether the trained model may refuse such rows; then nobody needs to answer them.
        coverage: what the model branches at -> how many of it were probed in all batches so far, of how many.
    """

    kind: str
    rows: Arrays
    optional: bool = False
    coverage: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def batch_rows(rows: Arrays) -> int:
    """Return how many rows like these make a batch of bounded size."""
    row_bytes = sum(array[:1].nbytes for array in rows.values())
    return int(np.clip(BATCH_BYTES // max(1, row_bytes), 1, BATCH_ROWS))


def only_rows(rows: Arrays, index: Array) -> dict[str, Array]:
    """Return some of the rows, by number or by a mask."""
    return {name: array[index] for name, array in rows.items()}


def spread(n_rows: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` of the places 0 to `n_rows - 1`, evenly drawn, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, n_rows - 1), min(n_rows, most)).round().astype(np.int64))


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Return rows one after the other."""
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def batched(kind: str, pieces: Iterable[Arrays], optional: bool = False) -> Iterator[Probe]:
    """Yield pieces of any number of rows, none of them too large to copy, as batches of bounded size."""
    waiting: list[Arrays] = []
    n_rows = 0
    for piece in pieces:
        waiting.append(piece)
        n_rows += len(next(iter(piece.values())))
        size = batch_rows(piece)
        if n_rows >= size:
            together = joined(waiting)
            for start in range(0, n_rows - size + 1, size):
                yield Probe(kind, _sliced(together, start, start + size), optional)
            rest = n_rows % size
            waiting, n_rows = ([_sliced(together, n_rows - rest, n_rows)] if rest else []), rest
    if n_rows:
        yield Probe(kind, joined(waiting), optional)


def _sliced(rows: Arrays, start: int, stop: int) -> Arrays:
    return {name: array[start:stop] for name, array in rows.items()}
