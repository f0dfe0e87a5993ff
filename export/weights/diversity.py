"""How differently the members err: what an ensemble lives on.

Source: Kuncheva and Whitaker (2003), "Measures of diversity in classifier ensembles".
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ...serving.contract.combiner import Float64Array
from .held_out import HeldOut

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
        disagreement = np.stack([(labels != row).mean(axis=1) for row in labels])
        return {
            "pairwise_disagreement": _table(disagreement, names),
            "error_correlation": _table(_correlation(1 - held_out.of_true_class()), names),
        }
    n_members = held_out.n_members
    return {
        "prediction_correlation": _table(_correlation(held_out.scores.reshape(n_members, -1)), names),
        "error_correlation": _table(_correlation((held_out.scores - held_out.target).reshape(n_members, -1)), names),
    }


def _correlation(values: Float64Array) -> Float64Array:
    """Return correlations `(n_members, n_members)` of `(n_members, n_values)`; 0 with what never varies."""
    centred = values - values.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled = np.divide(centred, norms, out=np.zeros_like(centred), where=norms > 0)
    correlation = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)


def _table(matrix: Float64Array, names: Sequence[str]) -> Table:
    return {
        a: {b: float(value) for b, value in zip(names, row, strict=True)} for a, row in zip(names, matrix, strict=True)
    }
