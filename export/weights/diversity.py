"""How differently the members err: what an ensemble lives on.

Source: Kuncheva and Whitaker (2003), "Measures of diversity in classifier ensembles".
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ...serving.contract.combiner import Float64Array
from .held_out import HeldOut
from .mean import Weights, for_each_output, mean_over_rows, weigh_roots

Table = Mapping[str, Mapping[str, float]]


def diversity_of(held_out: HeldOut, names: Sequence[str]) -> dict[str, Table]:
    """Return tables member -> member -> number.

    Returns:
        `error_correlation`: of what the members' probabilities of the true class lack to one, or of the errors of a
        regression. `pairwise_disagreement`: the share of rows that two members label differently; a regression has
        `prediction_correlation` in its place.
    """
    if held_out.task == "classification":
        labels = held_out.scores.argmax(axis=2)
        disagreement = np.stack([mean_over_rows(labels != row, held_out.weights) for row in labels])
        return {
            "pairwise_disagreement": _table(disagreement, names),
            "error_correlation": _table(_correlation(1 - held_out.of_true_class(), held_out.weights), names),
        }
    numbers = held_out.scores.reshape(held_out.n_members, -1)
    errors = (held_out.scores - held_out.target).reshape(held_out.n_members, -1)
    weights = for_each_output(held_out.weights, held_out.n_outputs)
    return {
        "prediction_correlation": _table(_correlation(numbers, weights), names),
        "error_correlation": _table(_correlation(errors, weights), names),
    }


def _correlation(values: Float64Array, weights: Weights) -> Float64Array:
    """Return correlations `(n_members, n_members)` of `(n_members, n_values)`; 0 with what never varies."""
    centred = weigh_roots(values - mean_over_rows(values, weights)[:, None], weights)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    correlation = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _table(matrix: Float64Array, names: Sequence[str]) -> Table:
    return {
        a: {b: float(value) for b, value in zip(names, row, strict=True)} for a, row in zip(names, matrix, strict=True)
    }
