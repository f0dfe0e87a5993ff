"""The row on which a graph and the trained model differ most, found while batches pass, and what is said about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array, TensorSpec
from .batches import Arrays, only_rows
from .comparison import Comparison


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one kind with the trained model's own scores.

    Attributes:
        kind: what they are.
        rows: tensor name -> rows.
        scores: `(n_rows, n_outputs)` float64.
    """

    kind: str
    rows: Arrays
    scores: npt.NDArray[np.float64]

    def only(self, rows: npt.NDArray[np.bool_]) -> "Batch":
        """Return some of the rows."""
        return Batch(self.kind, only_rows(self.rows, rows), self.scores[rows])


class Worst:
    """The row that differs most: of those that fail, if any do."""

    def __init__(self) -> None:
        self.n_rows = self.n_differ = self.n_labels = 0
        self.max_absolute = self.max_relative = 0.0
        self.row = 0
        self.kind = ""
        self.rows: Arrays = {}
        self.expected = self.actual = np.zeros(0)
        self.absolute = 0.0
        self.is_label = False
        self._rank = (False, -1.0)

    def add(self, found: Comparison, batch: Batch, scores: Array, first_row: int) -> None:
        """Take in a batch whose first row has the number `first_row`."""
        size = np.nan_to_num(found.relative, nan=np.inf)
        self.n_rows += len(scores)
        self.n_differ += int(found.differs.sum())
        self.n_labels += int(found.label_differs.sum())
        self.max_absolute = max(self.max_absolute, float(found.absolute.max()))
        self.max_relative = max(self.max_relative, float(size.max()))
        row = int(np.where(found.differs, size, -1 if found.differs.any() else size).argmax())
        rank = bool(found.differs[row]), float(size[row])
        if rank > self._rank:
            self._rank, self.row, self.kind = rank, first_row + row, batch.kind
            self.rows = {name: array[row : row + 1].copy() for name, array in batch.rows.items()}
            self.expected, self.actual = batch.scores[row], scores[row]
            self.absolute, self.is_label = float(found.absolute[row]), not found.is_over[row]

    def refusal(self, inputs: Sequence[TensorSpec], n_real: int, tolerance: str, parted: str | None) -> str:
        """Return what differs where, with the worst row's values by name.

        Args:
            inputs: declarations of the rows.
            n_real: how many rows were real; those after them are probes.
            tolerance: what was exceeded, in words.
            parted: where the two answers part, None if nobody knows.
        """
        place = f"row {self.row}" if self.row < n_real else f"probe {self.row - n_real} ({self.kind})"
        how = "in the label, with scores within" if self.is_label else "by more than"
        values = "; ".join(_values(spec, self.rows[spec.name][0]) for spec in inputs)
        return (
            f"the converted graph is not the model: {self.n_differ} of {self.n_rows} rows differ {how} {tolerance}. "
            f"Worst is {place} by {self.absolute:.3g}: the model answers {shortened(self.expected)}, the graph "
            f"{shortened(self.actual)} for {values}. {f'They part in {parted}. ' if parted else ''}Way out: train "
            f"without the part that differs (categories given as numbers: give them as whole numbers), or write the "
            f"model to ONNX another way and pass the path with native="
        )


def shortened(values: Array, most: int = 8, names: Sequence[str] = ()) -> str:
    """Return the first of some values, each with its name if there are names."""
    flat = np.asarray(values).ravel()
    shown = [f"{v:.9g}" if isinstance(v, float | np.floating) else str(v) for v in flat[:most]]
    if names:
        shown = [f"{name}={value}" for name, value in zip(names, shown, strict=False)]
    return f"[{', '.join(shown)}{', ...' if flat.size > most else ''}]"


def _values(spec: TensorSpec, row: Array) -> str:
    """Return a row of one input: by the names of its features where they have any."""
    return f"{spec.name}={shortened(row, names=spec.feature_names if row.ndim == 1 else ())}"
