"""Two score arrays side by side: how far apart, by the rule of the certificate, and where that is too far.

Knows no model and no graph; the parity gate uses it for members and whoever writes a graph of its own for that.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Task
from ..serving.contract.certificate import DEFAULT_TOLERANCES, has_clear_label, relative_difference
from ..serving.contract.tensors import Array
from ..serving.engine.runtime import CPU

TIE = 1e-6
"""Where the two best scores of the trained model are closer than this, its label is arbitrary."""

LEAST_VARIATION = 10 * DEFAULT_TOLERANCES[CPU]
"""Scores must vary by more, or a constant graph would pass."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of `(n_rows, n_outputs)` scores found, row by row.

    Attributes:
        absolute: largest absolute difference of a row, `(n_rows,)`; NaN where the judged score is.
        relative: largest difference by the rule of `relative_difference`, `(n_rows,)`.
        is_over: whether that exceeds the tolerance, NaN included, `(n_rows,)`.
        label_differs: whether the label differs and is no tie, `(n_rows,)`; never for a regression.
    """

    absolute: npt.NDArray[np.float64]
    relative: npt.NDArray[np.float64]
    is_over: npt.NDArray[np.bool_]
    label_differs: npt.NDArray[np.bool_]

    @property
    def differs(self) -> npt.NDArray[np.bool_]:
        """Rows that fail, `(n_rows,)`."""
        return self.is_over | self.label_differs


def compare(
    expected: Array, actual: Array, *, task: Task, tolerance: float, sizes: Array | tuple[float, ...] = ()
) -> Comparison:
    """Compare scores `(n_rows, n_outputs)` with the expected, finite ones under a tolerance.

    Args:
        expected: the scores that count.
        actual: the scores to judge.
        task: whether the scores are probabilities, of which the largest gives the label.
        tolerance: largest difference that passes, absolute below `sizes` and relative above.
        sizes: for each output, see `sizes_of`; 1 by default.
    """
    wide, judged = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    relative = relative_difference(wide, judged, sizes).max(axis=1)
    with np.errstate(invalid="ignore"):
        absolute = np.abs(judged - wide).max(axis=1)
    label_differs = np.zeros(len(wide), np.bool_)
    if task == "classification":
        label_differs = (wide.argmax(axis=1) != judged.argmax(axis=1)) & has_clear_label(wide, TIE)
    # Not "greater than": a NaN difference must fail too.
    return Comparison(absolute, relative, np.logical_not(relative <= tolerance), label_differs)


def variation(scores: Array) -> float:
    """Return by how much scores `(n_rows, n_outputs)` vary in the output that does most, absolute below 1 in size."""
    return float((np.ptp(scores, axis=0) / np.maximum(1.0, np.abs(scores).max(axis=0))).max())


def sizes_of(scores: Array, task: Task) -> tuple[float, ...]:
    """Return for each output the size up to which differences count as absolute: 1 for probabilities.

    A value near zero can be the sum of terms as large as the other values, and carries their rounding errors: a
    regression is measured against the median size of its real scores where that is larger.
    """
    if task == "classification":
        return (1.0,) * int(scores.shape[1])
    return tuple(max(1.0, float(size)) for size in np.median(np.abs(scores), axis=0))
