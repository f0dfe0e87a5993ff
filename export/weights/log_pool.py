"""Log pools: the geometric mean of the members with learned weights, with or without a bias by class.

The weights are not negative and their sum is free: a sum above one sharpens the pool, one below flattens it.

Source: Genest and Zidek (1986), "Combining probability distributions".
"""

from typing import cast

import numpy as np
from scipy.optimize import minimize

from ...serving.contract.combiner import Float64Array, LogPool
from ...serving.contract.tensors import Array
from .held_out import HeldOut
from .mean import Weights, effective_rows, mean_over_rows, total_weight, weigh

# Lower probabilities are raised to it, so that one member's confident mistake cannot drown the others. Measured over 9
# data sets x 3 splits, geometric mean of log loss against the best single member: 1e-2 -27.7 %, 1e-3 -31.6 %,
# 1e-5 -32.8 %, 1e-7 the same.
LOG_CLIP = 1e-5
_NEGLIGIBLE = 1e-5
_MAX_ITERATIONS = 300


def fit_log_pool(held_out: HeldOut, seed: int) -> LogPool:  # noqa: ARG001 - nothing is random
    """Find the weights with the lowest log loss; it is convex in them."""
    return _fit(held_out, with_bias=False)


def fit_log_pool_bias(held_out: HeldOut, seed: int) -> LogPool:  # noqa: ARG001 - nothing is random
    """Find the weights and a bias by class with the lowest log loss; it is convex in them."""
    return _fit(held_out, with_bias=True)


def log_scores(held_out: HeldOut) -> Float64Array:
    """Return the logarithms `(n_members, n_rows, n_outputs)` of scores clipped at `LOG_CLIP`."""
    return cast(Float64Array, np.log(np.maximum(held_out.scores, LOG_CLIP)))


def log_loss_of_logits(logits: Float64Array, target: Array, weights: Weights = None) -> tuple[float, Float64Array]:
    """Return the mean log loss of the softmax of logits `(n_rows, n_outputs)` and its gradient by logit."""
    n_rows, rows = len(target), np.arange(len(target))
    shifted = logits - logits.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    sums = exp.sum(axis=1)
    loss = float(mean_over_rows(np.log(sums) - shifted[rows, target], weights))
    gradient = exp / sums[:, None]
    gradient[rows, target] -= 1
    return loss, weigh(gradient, weights) / total_weight(n_rows, weights)


def penalized_loss(
    parameters: Float64Array, logs: Float64Array, target: Array, *, with_bias: bool, weights: Weights = None
) -> tuple[float, Float64Array]:
    """Return the loss of a log pool and its gradient.

    The penalty is a normal prior on each parameter, around the plain geometric mean, that weighs as little as one row:
    without it, members that make no mistake on few rows would be made infinitely sure.

    Args:
        parameters: weights `(n_members,)`, followed by the bias `(n_outputs,)` if there is one.
        logs: logarithms of the members' probabilities, `(n_members, n_rows, n_outputs)`.
        target: class indices `(n_rows,)`.
        with_bias: whether there is a bias.
        weights: of the rows.
    """
    n_members, n_rows = logs.shape[0], effective_rows(logs.shape[1], weights)
    logits = np.tensordot(parameters[:n_members], logs, axes=1)
    loss, by_logit = log_loss_of_logits(logits + parameters[n_members:] if with_bias else logits, target, weights)
    gradient = logs.reshape(n_members, -1) @ by_logit.ravel()
    if with_bias:
        gradient = np.concatenate([gradient, by_logit.sum(axis=0)])
    deviation = parameters - _geometric_mean(n_members, len(parameters))
    return loss + float(deviation @ deviation) / (2 * n_rows), gradient + deviation / n_rows


def _fit(held_out: HeldOut, *, with_bias: bool) -> LogPool:
    n_members, n_biases = held_out.n_members, held_out.n_outputs if with_bias else 0
    logs = log_scores(held_out)
    found = minimize(
        lambda parameters: penalized_loss(
            parameters, logs, held_out.target, with_bias=with_bias, weights=held_out.weights
        ),
        _geometric_mean(n_members, n_members + n_biases),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, None)] * n_members + [(None, None)] * n_biases,
        options={"maxiter": _MAX_ITERATIONS, "ftol": 1e-12, "gtol": 1e-7},
    )
    weights = np.where(found.x[:n_members] < _NEGLIGIBLE, 0.0, found.x[:n_members])
    return LogPool(weights, bias=found.x[n_members:] if with_bias else None, clip=LOG_CLIP)


def _geometric_mean(n_members: int, n_parameters: int) -> Float64Array:
    """Return the parameters of the plain geometric mean: equal weights of sum one, no bias."""
    return np.where(np.arange(n_parameters) < n_members, 1 / n_members, 0.0)
