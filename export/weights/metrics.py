"""Losses and metrics of predictions: what the learners minimise, the choice compares and the demo prints."""

from typing import cast

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.combiner import Float64Array
from ...serving.contract.tensors import Array
from .mean import Weights, for_each_output, mean_over_rows

Metrics = dict[str, float]

# Members answer in float32: below its resolution a probability is noise, and a zero would cost an infinite loss.
CLIP = float(np.finfo(np.float32).eps)


def metrics_of(predictions: Array, target: Array, task: Task, weights: Weights = None) -> Metrics:
    """Return the metrics of predictions.

    Args:
        predictions: probabilities `(n_rows, n_outputs)`, or for a regression values of the target's shape or
            `(n_rows, n_outputs)`.
        target: class indices `(n_rows,)`, or for a regression values `(n_rows,)` or `(n_rows, n_outputs)`.
        task: what the numbers are.
        weights: how much each row counts, `(n_rows,)`, not negative and not all 0.

    Returns:
        `log_loss` (natural logarithm) and `accuracy` for a classification, else `rmse` and `mae`, over all outputs.
    """
    predictions = np.asarray(predictions, np.float64)
    if task == "classification":
        loss = mean_over_rows(log_losses(predictions, target), weights)
        accuracy = mean_over_rows(predictions.argmax(axis=1) == target, weights)
        return {"log_loss": float(loss), "accuracy": float(accuracy)}
    error = predictions.reshape(len(target), -1) - np.asarray(target, np.float64).reshape(len(target), -1)
    of_numbers = for_each_output(weights, error.shape[1])
    squared, absolute = (mean_over_rows(f(error).ravel(), of_numbers) for f in (np.square, np.abs))
    return {"rmse": float(np.sqrt(squared)), "mae": float(absolute)}


def row_losses(predictions: Float64Array, target: Array, task: Task) -> Float64Array:
    """Return each row's loss `(n_rows,)`: log loss, or the squared error averaged over outputs."""
    if task == "classification":
        return log_losses(predictions, target)
    return cast(Float64Array, np.square(predictions - target).mean(axis=1))


def log_losses(probabilities: Float64Array, target: Array) -> Float64Array:
    """Return minus the logarithm of each row's probability of its true class, raised to `CLIP` where it is lower."""
    return cast(Float64Array, -np.log(np.maximum(probabilities[np.arange(len(target)), target], CLIP)))
