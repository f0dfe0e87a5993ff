"""How good predicted values are: what is counted of a batch of rows, and the metrics that come of it.

With several outputs, the error of a row is the mean over them; each output's own metrics are told beside, of up to
`MAX_OUTPUTS` outputs. The coefficient of determination, R2, is of an output, or the mean over them; it has no interval.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.tensors import Array
from .intervals import Estimate, finite, normal, root, root_difference
from .moments import Floats, Moments
from .tally import Tally
from .truth import Labels, check_value_type, value_labels

METRICS = ("rmse", "mae", "mean_error")
"""Of the squared error, the absolute error, and the error: prediction less truth."""

MAX_OUTPUTS = 100


class Regression:
    """Counts and reports. Immutable.

    Attributes:
        predictors: names of the ensemble and the members.
        n_outputs: values of a prediction.
    """

    task = "regression"
    metrics = METRICS

    def __init__(self, predictors: Sequence[str], n_outputs: int) -> None:
        """Store the names."""
        self.predictors = tuple(predictors)
        self.n_outputs = n_outputs

    def check_type(self, label: str, kind: Any) -> None:
        """Refuse a label column that never fits; see `Measure.check_type`."""
        check_value_type(label, kind, self.n_outputs)

    def labels(self, column: Any) -> Labels:
        """Return the values of a label column."""
        return value_labels(column, self.n_outputs)

    def count(self, found: Tally, truth: Any, answers: Sequence[Array]) -> Floats:
        """Count rows that have a truth; see `Measure.count`. `truth` are values, `(n_rows, n_outputs)`."""
        n_rows, n = len(truth), len(self.predictors)
        columns = np.empty((len(METRICS), n, n_rows))
        n_told = self.n_outputs if self.n_outputs <= MAX_OUTPUTS else 0
        by_output = np.empty((1 + len(METRICS) * n, n_told, n_rows))
        by_output[0] = truth.T[:n_told]
        for i, answer in enumerate(answers):
            error = np.subtract(answer, truth, dtype=np.float64).T
            for j, part in enumerate((np.square(error), np.abs(error), error)):
                columns[j, i] = part.mean(axis=0)
                by_output[1 + j * n + i] = part[:n_told]
        less = columns[:, :1] - columns[:, 1:]
        found.moments["outputs"] = Moments.of(by_output.reshape(len(by_output) * n_told, n_rows))
        return np.concatenate([columns, less], axis=1).reshape(len(METRICS) * (2 * n - 1), n_rows)

    def summary(self, moments: Moments, group: int = 0) -> dict[str, dict[str, Any]]:
        """Return predictor -> metric -> value and interval, of one group of rows; members with the difference."""
        n = len(self.predictors)
        shape = len(METRICS), 2 * n - 1
        mean, error = moments.mean[group].reshape(shape), moments.standard_error()[group].reshape(shape)
        if not moments.n[group]:
            mean = np.full(shape, math.nan)
        out: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.predictors):
            out[name] = _metrics(mean[:, i], error[:, i])
            if i:
                d = n + i - 1
                out[name]["difference"] = {
                    "rmse": root_difference(
                        (mean[0, 0], mean[0, i]), (error[0, 0], error[0, i]), error[0, d]
                    ).to_json(),
                    "mae": normal(mean[1, d], error[1, d]).to_json(),
                    "mean_error": normal(mean[2, d], error[2, d]).to_json(),
                }
        return out

    def details(self, tally: Tally) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return predictor -> further metrics, those of each output among them where there are several."""
        outputs, n = tally.moments["outputs"], len(self.predictors)
        n_told = outputs.mean.shape[1] // (1 + len(METRICS) * n)
        shape = 1 + len(METRICS) * n, n_told
        mean, m2, error = (part[0].reshape(shape) for part in (outputs.mean, outputs.m2, outputs.standard_error()))
        further: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.predictors):
            with np.errstate(divide="ignore", invalid="ignore"):
                r2 = 1 - outputs.n[0] * mean[1 + i] / m2[0]
            further[name] = {"r2": Estimate(float(np.mean(r2)) if n_told else math.nan).to_json()}
            if self.n_outputs > 1 and n_told:
                rows = [1 + j * n + i for j in range(len(METRICS))]
                further[name]["outputs"] = [
                    {**_metrics(mean[rows, k], error[rows, k]), "r2": finite(r2[k])} for k in range(n_told)
                ]
        return further, {}


def _metrics(mean: Floats, error: Floats) -> dict[str, Any]:
    return {
        "rmse": root(mean[0], error[0]).to_json(),
        "mae": normal(mean[1], error[1], least=0.0).to_json(),
        "mean_error": normal(mean[2], error[2]).to_json(),
    }
