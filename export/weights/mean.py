"""Means over rows, the one place where rows are weighed.

Without weights every function does what it would do had weights never been thought of, to the last bit.
"""

import numpy as np

from ...serving.contract.combiner import Float64Array
from ...serving.contract.tensors import Array

Weights = Float64Array | None
"""Positive weights `(n_rows,)`; None where all rows count the same."""


def mean_over_rows(values: Array, weights: Weights) -> Float64Array:
    """Return the mean of `(..., n_rows)` over its last axis."""
    return np.asarray(values.mean(axis=-1) if weights is None else values @ weights / weights.sum(), np.float64)


def weigh(values: Float64Array, weights: Weights) -> Float64Array:
    """Return `(n_rows, ...)` with each row times its weight; divided by `total_weight` their sum is the mean."""
    return values if weights is None else values * weights.reshape(-1, *[1] * (values.ndim - 1))


def weigh_roots(values: Float64Array, weights: Weights) -> Float64Array:
    """Return `(..., n_rows)` times the roots of the weights, so that products of two such are weighed."""
    return values if weights is None else values * np.sqrt(weights)


def total_weight(n_rows: int, weights: Weights) -> float:
    """Return what the sum over weighed rows is divided by."""
    return n_rows if weights is None else float(weights.sum())


def effective_rows(n_rows: int, weights: Weights) -> float:
    """Return how many rows of equal weight tell as much about a mean, between 1 and `n_rows`.

    Source: Kish (1965), "Survey sampling".
    """
    return n_rows if weights is None else float(weights.sum() ** 2 / (weights @ weights))


def standard_deviation(values: Float64Array, weights: Weights) -> Float64Array:
    """Return the deviation `(n,)` of `(n_rows, n)` around its mean."""
    if weights is None:
        return np.asarray(values.std(axis=0))
    return np.sqrt(mean_over_rows(np.square(values - mean_over_rows(values.T, weights)).T, weights))


def standard_error(rows: Float64Array, weights: Weights = None) -> float:
    """Return the standard error of the mean of `(n_rows,)` independent numbers, of which the effective ones count."""
    if weights is None:
        return float(rows.std(ddof=1) / np.sqrt(len(rows)))
    freedom = max(effective_rows(len(rows), weights) - 1, np.finfo(np.float64).eps)
    return float(standard_deviation(rows[:, None], weights)[0] / np.sqrt(freedom))


def for_each_output(weights: Weights, n_outputs: int) -> Weights:
    """Return the weights of `(n_rows, n_outputs)` numbers in a row, `(n_rows * n_outputs,)`."""
    return None if weights is None else np.repeat(weights, n_outputs)
