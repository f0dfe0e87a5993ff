"""Linear pools of regressions with a free sum: non-negative least squares, over all outputs or output by output.

Source: Breiman (1996), "Stacked regressions"; Lawson and Hanson (1974), "Solving least squares problems".
"""

import numpy as np
from scipy.optimize import nnls

from ...serving.contract.combiner import Combiner, Float64Array, LinearPool
from .held_out import HeldOut
from .linear import fit_best_single
from .mean import Weights, for_each_output, weigh_roots


def fit_nnls(held_out: HeldOut, seed: int) -> Combiner:
    """Find the weights by member, not negative, with the lowest squared error."""
    of_numbers = for_each_output(held_out.weights, held_out.n_outputs)
    weights = solve_nnls(held_out.scores.reshape(held_out.n_members, -1), held_out.target.ravel(), of_numbers)
    return LinearPool(weights, normalize=False) if weights.any() else fit_best_single(held_out, seed)


def fit_nnls_per_output(held_out: HeldOut, seed: int) -> Combiner:
    """Find the weights by member and output, not negative, with the lowest squared error."""
    columns = [
        solve_nnls(held_out.scores[..., k], held_out.target[:, k], held_out.weights) for k in range(held_out.n_outputs)
    ]
    weights = np.stack(columns, axis=1)
    return LinearPool(weights, normalize=False) if weights.any() else fit_best_single(held_out, seed)


def solve_nnls(scores: Float64Array, target: Float64Array, row_weights: Weights = None) -> Float64Array:
    """Return the weights `(n_members,)` of scores `(n_members, n_values)` closest to the target `(n_values,)`.

    The rows enter through a QR factorisation, so that the active-set method works on `n_members` equations.
    """
    q, r = np.linalg.qr(weigh_roots(scores, row_weights).T)
    weights, _ = nnls(r, q.T @ weigh_roots(target, row_weights))
    return np.asarray(weights)
