"""What weights are learned from: scores of rows that the members never saw, and the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ...serving.contract.combiner import Float64Array
from ...serving.contract.tensors import Array

_SUM_TOLERANCE = 1e-3  # of probabilities; float32 and half precision round


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Scores and truth of rows that the members never saw.

    Attributes:
        scores: `(n_members, n_rows, n_outputs)`.
        target: class indices `(n_rows,)`, or values `(n_rows, n_outputs)` of a regression.
        task: what the numbers are.
    """

    scores: Float64Array
    target: Array
    task: Task

    @property
    def n_members(self) -> int:
        """Members that gave scores."""
        return len(self.scores)

    @property
    def n_rows(self) -> int:
        """Rows scored."""
        return int(self.scores.shape[1])

    @property
    def n_outputs(self) -> int:
        """Classes, or values of a regression."""
        return int(self.scores.shape[2])

    def take(self, rows: Array) -> "HeldOut":
        """Return the rows of these indices."""
        return replace(self, scores=self.scores[:, rows], target=self.target[rows])

    def of_true_class(self) -> Float64Array:
        """Return the probability that each member gives each row's true class, `(n_members, n_rows)`."""
        return np.asarray(self.scores[:, np.arange(self.n_rows), self.target])


def check_held_out(scores: Mapping[str, Array], target: Array, task: Task, *, min_rows: int) -> HeldOut:
    """Check scores by member name against the target and stack them.

    Args:
        scores: member name -> `(n_rows, n_outputs)`, in the order in which the combiner takes them.
        target: class indices `(n_rows,)`, or values `(n_rows,)` or `(n_rows, n_outputs)` of a regression.
        task: what the numbers are.
        min_rows: fewer rows are refused.

    Raises:
        ValueError: there are no members or too few rows; a member's scores have another shape than the first one's,
            are not finite or, of a classification, are no probabilities; the target does not fit them.
    """
    if not scores:
        raise ValueError("expected scores of at least one member, got none")
    arrays = {name: np.asarray(array, np.float64) for name, array in scores.items()}
    first, expected = next((name, array.shape) for name, array in arrays.items())
    for name, array in arrays.items():
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(f"member {name!r}: expected scores (n_rows, n_outputs), got shape {array.shape}")
        if array.shape != expected:
            raise ValueError(
                f"member {name!r}: scores have shape {array.shape}, but those of {first!r} have {expected}"
            )
        _check_values(name, array, task)
    if expected[0] < min_rows:
        raise ValueError(f"expected at least {min_rows} rows to learn weights on, got {expected[0]}")
    checked = _check_classes if task == "classification" else _check_numbers
    return HeldOut(np.stack(list(arrays.values())), checked(np.asarray(target), expected), task)


def _check_values(name: str, array: Float64Array, task: Task) -> None:
    if len(bad := np.argwhere(~np.isfinite(array))):
        row, output = bad[0]
        raise ValueError(
            f"member {name!r}: expected finite scores, got {array[row, output]} in row {row}, output {output}"
            f" ({len(bad)} such values in all)"
        )
    if task != "classification":
        return
    if array.shape[1] < 2:
        raise ValueError(f"member {name!r}: expected a probability for each of two or more classes, got one column")
    wrong = (np.abs(array.sum(axis=1) - 1) > _SUM_TOLERANCE) | (array.min(axis=1) < -_SUM_TOLERANCE)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"member {name!r}: expected probabilities that sum to 1 and are not negative,"
            f" got sum {array[row].sum():.6g} and minimum {array[row].min():.6g} in row {row}"
        )


def _check_classes(target: Array, shape: tuple[int, ...]) -> npt.NDArray[np.intp]:
    n_rows, n_classes = shape
    if target.shape != (n_rows,):
        raise ValueError(f"target: expected class indices of shape ({n_rows},), got shape {target.shape}")
    if target.dtype.kind not in "iub":
        raise ValueError(f"target: expected integer class indices, got dtype {target.dtype}")
    if target.min() < 0 or target.max() >= n_classes:
        raise ValueError(
            f"target: expected class indices from 0 to {n_classes - 1}, got {target.min()} to {target.max()}"
        )
    return target.astype(np.intp)


def _check_numbers(target: Array, shape: tuple[int, ...]) -> Float64Array:
    if target.shape not in {shape, (shape[0],)} or target.size != shape[0] * shape[1]:
        raise ValueError(f"target: expected values of shape {shape} as the scores have, got shape {target.shape}")
    values = np.asarray(target, np.float64).reshape(shape)
    if not np.isfinite(values).all():
        raise ValueError(f"target: expected finite values, got {values[~np.isfinite(values)][0]}")
    return values
