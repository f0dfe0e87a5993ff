"""Linear pools: the best single member, the uniform average and the best convex combination.

Sources: Breiman (1996), "Stacked regressions", for combining by weights that are not negative; Genest and Zidek (1986),
"Combining probability distributions", for the linear pool.
"""

import numpy as np
from scipy.optimize import minimize

from ...serving.contract.combiner import Combiner, Float64Array
from .held_out import HeldOut
from .pool_loss import PoolLoss, linear_pool, pool_loss

_MAX_ITERATIONS = 200


def fit_best_single(held_out: HeldOut, seed: int) -> Combiner:  # noqa: ARG001 - nothing is random
    """Give the member with the lowest loss all the weight."""
    vertices = np.eye(held_out.n_members)
    return linear_pool(vertices[np.argmin(pool_loss(held_out)(vertices))], held_out)


def fit_uniform(held_out: HeldOut, seed: int) -> Combiner:  # noqa: ARG001 - nothing is random
    """Give every member the same weight."""
    return linear_pool(np.full(held_out.n_members, 1 / held_out.n_members), held_out)


def fit_simplex(held_out: HeldOut, seed: int) -> Combiner:  # noqa: ARG001 - nothing is random
    """Find the weights on the simplex with the lowest loss; both losses are convex there."""
    return linear_pool(minimize_on_simplex(pool_loss(held_out)), held_out)


def minimize_on_simplex(loss: PoolLoss) -> Float64Array:
    """Return weights `(n_members,)`, not negative and of sum one, with the lowest loss.

    Sequential quadratic programming with the analytic gradient, from uniform weights.
    """
    n_members = loss.n_members
    uniform = np.full(n_members, 1 / n_members)
    scale = max(float(loss(uniform[None])[0]), np.finfo(np.float64).tiny)
    found = minimize(
        lambda w: loss(w[None])[0] / scale,
        uniform,
        jac=lambda w: loss.gradient(w) / scale,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": _MAX_ITERATIONS},
    )
    weights = np.clip(found.x, 0.0, None)
    weights /= weights.sum()
    candidates = np.stack([weights, uniform])
    return np.asarray(candidates[np.argmin(loss(candidates))])
