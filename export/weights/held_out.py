"""What weights are learned from: scores of rows that the members never saw, and the truth."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ...serving.contract.combiner import Float64Array
from ...serving.contract.tensors import Array
from .mean import Weights

_SUM_TOLERANCE = 1e-3  # of probabilities; float32 and half precision round


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Scores and truth of rows that the members never saw.

    Attributes:
        scores: `(n_members, n_rows, n_outputs)`.
        target: class indices `(n_rows,)`, or values `(n_rows, n_outputs)` of a regression.
        task: what the numbers are.
        weights: how much each row counts, `(n_rows,)`, positive; None where all count the same.
    """

    scores: Float64Array
    target: Array
    task: Task
    weights: Weights = None

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
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, scores=self.scores[:, rows], target=self.target[rows], weights=weights)

    def of_true_class(self) -> Float64Array:
        """Return the probability that each member gives each row's true class, `(n_members, n_rows)`."""
        return np.asarray(self.scores[:, np.arange(self.n_rows), self.target])


def check_held_out(
    scores: Mapping[str, Array], target: Array, task: Task, *, min_rows: int, weights: Array | None = None
) -> HeldOut:
    """Check scores by member name against the target and stack them; rows of weight 0 are left out.

    Args:
        scores: member name -> `(n_rows, n_outputs)`, in the order in which the combiner takes them.
        target: class indices `(n_rows,)`, or values `(n_rows,)` or `(n_rows, n_outputs)` of a regression.
        task: what the numbers are.
        min_rows: fewer rows, those of weight 0 aside, are refused.
        weights: how much each row counts, `(n_rows,)`; their mean is brought to 1.

    Raises:
        ValueError: there are no members or too few rows; a member's scores have another shape than the first one's,
            are not finite or, of a classification, are no probabilities; the target or the weights do not fit them.
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
    counts = np.ones(expected[0]) if weights is None else check_weights(weights, expected[0])
    if (n_rows := np.count_nonzero(counts)) < min_rows:
        raise ValueError(f"expected at least {min_rows} rows to learn weights on, got {n_rows}")
    checked = _check_classes if task == "classification" else _check_numbers
    return _weighed(HeldOut(np.stack(list(arrays.values())), checked(np.asarray(target), expected), task), counts)


def check_weights(weights: Array, n_rows: int) -> Float64Array:
    """Return weights of rows, checked and with mean 1.

    Raises:
        ValueError: there is not one a row, one is negative or not finite, or all are 0.
    """
    numbers = np.asarray(weights, np.float64)
    if numbers.shape != (n_rows,):
        raise ValueError(f"weights: expected one a row, shape ({n_rows},), got shape {numbers.shape}")
    if len(bad := np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))):
        raise ValueError(f"weights: expected finite numbers from 0, got {numbers[bad[0]]} in row {bad[0]}")
    if not numbers.any():
        raise ValueError(f"weights: expected a weight above 0 in some row, got 0 in all {n_rows}")
    shares = numbers / numbers.max()  # first, since the sum of the largest numbers is infinite
    return cast(Float64Array, shares / shares.mean())


def _weighed(held_out: HeldOut, weights: Float64Array) -> HeldOut:
    """Return the rows that count, with their weights; equal ones are none."""
    kept = held_out if weights.all() else held_out.take(np.flatnonzero(weights))
    counting = weights[weights > 0]
    return kept if np.ptp(counting) == 0 else replace(kept, weights=counting / counting.mean())


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
