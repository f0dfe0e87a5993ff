"""Linear pools found without gradients: Nelder-Mead and random search.

They look for the same optimum as the convex minimisation and show how far a search without gradients stays from it.

Source: Nelder and Mead (1965), "A simplex method for function minimization".
"""

import numpy as np
from scipy.optimize import minimize

from ...serving.contract.combiner import Combiner, Float64Array
from .held_out import HeldOut
from .pool_loss import PoolLoss, linear_pool, pool_loss

_MAX_WORK = 10**9  # numbers touched by one search
_BLOCK_WORK = 10**6  # numbers held at once
N_DRAWS = 2000
_CONCENTRATIONS = (1.0, 0.3)  # of the Dirichlet draws: even over the simplex, and near its faces


def fit_nelder_mead(held_out: HeldOut, seed: int) -> Combiner:  # noqa: ARG001 - nothing is random
    """Search the simplex with Nelder and Mead's method, from uniform weights."""
    return linear_pool(nelder_mead(pool_loss(held_out)), held_out)


def fit_random_search(held_out: HeldOut, seed: int) -> Combiner:
    """Take the best of many random points of the simplex, its vertices and its centre."""
    return linear_pool(random_search(pool_loss(held_out), np.random.default_rng(seed)), held_out)


def nelder_mead(loss: PoolLoss) -> Float64Array:
    """Return the best weights `(n_members,)` found.

    The search is free: weights are the squares of a point divided by their sum.
    """

    def weights(point: Float64Array) -> Float64Array:
        squares = np.square(point)
        return np.asarray(squares / max(squares.sum(), np.finfo(np.float64).tiny))

    n_members = loss.n_members
    evaluations = int(np.clip(_MAX_WORK // loss.cost, 100, 300 * n_members))
    found = minimize(
        lambda point: loss(weights(point)[None])[0],
        np.full(n_members, n_members**-0.5),
        method="Nelder-Mead",
        options={"maxfev": evaluations, "adaptive": True, "xatol": 1e-4, "fatol": 1e-9},
    )
    return weights(found.x)


def random_search(loss: PoolLoss, rng: np.random.Generator) -> Float64Array:
    """Return the best weights `(n_members,)` of at most `N_DRAWS` random ones, the vertices and the centre."""
    n_members = loss.n_members
    n_draws = int(np.clip(_MAX_WORK // loss.cost, 100, N_DRAWS)) // len(_CONCENTRATIONS)
    drawn = [rng.dirichlet(np.full(n_members, concentration), n_draws) for concentration in _CONCENTRATIONS]
    candidates = np.concatenate([np.full((1, n_members), 1 / n_members), np.eye(n_members), *drawn])
    n_blocks = -(-len(candidates) * loss.cost // n_members // _BLOCK_WORK)
    losses = np.concatenate([loss(block) for block in np.array_split(candidates, n_blocks)])
    return np.asarray(candidates[np.argmin(losses)])
