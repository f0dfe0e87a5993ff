"""Stacking by multinomial logistic regression on the members' log-probabilities.

Source: Wolpert (1992), "Stacked generalization".
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.optimize import minimize

from ...serving.contract.combiner import Combiner, Float64Array, LogPool
from ...serving.contract.tensors import Array
from .held_out import HeldOut
from .log_pool import LOG_CLIP, fit_log_pool_bias, log_loss_of_logits, log_scores
from .mean import Weights, effective_rows
from .penalty import fit_tuned

_MAX_ITERATIONS = 200


def fit_stacking(held_out: HeldOut, seed: int) -> Combiner:
    """Fit a coefficient for every class, member and member's class, and a bias by class.

    So many coefficients overfit few rows. The penalty draws them not towards zero but towards the log pool with a bias
    by class, which is the best of its kind with one coefficient a member; how strongly, cross-validation says.
    """
    return fit_tuned(_path, held_out, seed)


def penalized_loss(
    parameters: Float64Array,
    features: Float64Array,
    target: Array,
    centre: Float64Array,
    precision: float,
    *,
    weights: Weights = None,
) -> tuple[float, Float64Array]:
    """Return the loss of multinomial logistic regression and its gradient, both for flat parameters.

    Args:
        parameters: coefficients `(n_features + 1, n_outputs)`, flat; the last row is the bias.
        features: `(n_rows, n_features)`.
        target: class indices `(n_rows,)`.
        centre: parameters that cost no penalty.
        precision: of the normal prior around `centre`, in rows.
        weights: of the rows.
    """
    n_rows, n_features = features.shape
    coefficients = parameters.reshape(n_features + 1, -1)
    loss, by_logit = log_loss_of_logits(features @ coefficients[:-1] + coefficients[-1], target, weights)
    gradient = np.concatenate([features.T @ by_logit, by_logit.sum(axis=0)[None]]).ravel()
    deviation = parameters - centre
    weight = precision / effective_rows(n_rows, weights)
    return loss + weight / 2 * float(deviation @ deviation), gradient + weight * deviation


def _path(held_out: HeldOut, precisions: Sequence[float]) -> list[LogPool]:
    """Fit with each precision in turn, each from where the one before ended."""
    n_members, n_rows, n_outputs = held_out.scores.shape
    features = log_scores(held_out).transpose(1, 0, 2).reshape(n_rows, -1)
    start = fit_log_pool_bias(held_out, 0)
    kernel = start.coefficients[:, None, None] * np.eye(n_outputs)
    bias = np.zeros(n_outputs) if start.bias is None else start.bias
    parameters = centre = np.concatenate([kernel.ravel(), bias])
    pools = []
    for precision in precisions:
        parameters = minimize(
            partial(penalized_loss, weights=held_out.weights),
            parameters,
            args=(features, held_out.target, centre, precision),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "ftol": 1e-10, "gtol": 1e-6},
        ).x
        coefficients = parameters.reshape(-1, n_outputs)
        by_class = coefficients[:-1].T.reshape(n_outputs, n_members, n_outputs)
        pools.append(LogPool(by_class, bias=coefficients[-1], clip=LOG_CLIP))
    return pools
