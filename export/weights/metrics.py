"""Losses and metrics of predictions: what the learners minimise, the choice compares and the demo prints."""

from typing import cast

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.combiner import Float64Array
from ...serving.contract.tensors import Array

Metrics = dict[str, float]

# Members answer in float32: below its resolution a probability is noise, and a zero would cost an infinite loss.
CLIP = float(np.finfo(np.float32).eps)


def metrics_of(predictions: Array, target: Array, task: Task) -> Metrics:
    """Return the metrics of predictions.

    Args:
        predictions: probabilities `(n_rows, n_outputs)`, or for a regression values of the target's shape or
            `(n_rows, n_outputs)`.
        target: class indices `(n_rows,)`, or for a regression values `(n_rows,)` or `(n_rows, n_outputs)`.
        task: what the numbers are.

    Returns:
        `log_loss` (natural logarithm) and `accuracy` for a classification, else `rmse` and `mae`, over all outputs.
    """
    predictions = np.asarray(predictions, np.float64)
    if task == "classification":
        loss, accuracy = log_losses(predictions, target).mean(), (predictions.argmax(axis=1) == target).mean()
        return {"log_loss": float(loss), "accuracy": float(accuracy)}
    error = predictions.reshape(len(target), -1) - np.asarray(target, np.float64).reshape(len(target), -1)
    return {"rmse": float(np.sqrt(np.square(error).mean())), "mae": float(np.abs(error).mean())}


def row_losses(predictions: Float64Array, target: Array, task: Task) -> Float64Array:
    """Return each row's loss `(n_rows,)`: log loss, or the squared error averaged over outputs."""
    if task == "classification":
        return log_losses(predictions, target)
    return cast(Float64Array, np.square(predictions - target).mean(axis=1))


def log_losses(probabilities: Float64Array, target: Array) -> Float64Array:
    """Return minus the logarithm of each row's probability of its true class, raised to `CLIP` where it is lower."""
    return cast(Float64Array, -np.log(np.maximum(probabilities[np.arange(len(target)), target], CLIP)))
