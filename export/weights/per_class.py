"""Linear pools with weights by member and class: a member can count for the classes that it knows.

Source: Breiman (1996), "Stacked regressions", for weights that are not negative; the penalty is ours.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from ...serving.contract.combiner import Combiner, Float64Array, LinearPool
from .held_out import HeldOut
from .linear import minimize_on_simplex
from .mean import effective_rows, mean_over_rows, total_weight, weigh
from .metrics import CLIP
from .penalty import fit_tuned
from .pool_loss import pool_loss

_MAX_ITERATIONS = 200


def fit_per_class(held_out: HeldOut, seed: int) -> Combiner:
    """Fit a weight for every member and class.

    So many weights overfit few rows. The penalty draws them towards the best weights by member alone; how strongly,
    cross-validation says.
    """
    return fit_tuned(_path, held_out, seed)


def penalized_loss(
    weights: Float64Array, held_out: HeldOut, centre: Float64Array, precision: float
) -> tuple[float, Float64Array]:
    """Return the log loss of a linear pool by class and its gradient.

    Args:
        weights: `(n_members * n_outputs,)`, not negative.
        held_out: scores and classes.
        centre: weights that cost no penalty.
        precision: of the normal prior around `centre`, in rows and in units of uniform weights.
    """
    n_members, n_rows, n_outputs = held_out.scores.shape
    by_member = weights.reshape(n_members, n_outputs)
    rows = np.arange(n_rows)
    total = np.maximum(np.einsum("mk,mnk->n", by_member, held_out.scores), CLIP)
    of_true_class = held_out.of_true_class()
    right = np.maximum(np.einsum("mn,mn->n", by_member[:, held_out.target], of_true_class), CLIP * total)
    gradient = np.einsum("mnk,n->mk", held_out.scores, weigh(1 / total, held_out.weights))
    by_class = np.zeros((n_outputs, n_members))
    np.add.at(by_class, held_out.target[rows], weigh((of_true_class / right).T, held_out.weights))
    gradient -= by_class.T
    deviation = (weights - centre) * n_members
    n_effective = effective_rows(n_rows, held_out.weights)
    likelihood = mean_over_rows(np.log(total / right), held_out.weights)
    gradient /= total_weight(n_rows, held_out.weights)
    loss = float(likelihood + precision / (2 * n_effective) * (deviation @ deviation))
    return loss, gradient.ravel() + precision / n_effective * n_members * deviation


def _path(held_out: HeldOut, precisions: Sequence[float]) -> list[LinearPool]:
    """Fit with each precision in turn, each from where the one before ended."""
    n_members, n_outputs = held_out.n_members, held_out.n_outputs
    weights = centre = np.repeat(minimize_on_simplex(pool_loss(held_out)), n_outputs)
    pools = []
    for precision in precisions:
        weights = minimize(
            penalized_loss,
            weights,
            args=(held_out, centre, precision),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * len(weights),
            options={"maxiter": _MAX_ITERATIONS, "ftol": 1e-10, "gtol": 1e-6},
        ).x
        pools.append(LinearPool(weights.reshape(n_members, n_outputs)))
    return pools
