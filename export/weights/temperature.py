"""A temperature per member, and the linear pool of members brought to the right scale by it.

Trees of a forest average towards the middle and nets trained long are too sure; a temperature mends either, plain
weights mend neither.

Source: Guo et al. (2017), "On calibration of modern neural networks".
"""

import numpy as np
from scipy.optimize import minimize_scalar

from ...serving.contract.combiner import Combiner, Float64Array, tempered
from ...serving.contract.tensors import Array
from .held_out import HeldOut
from .linear import minimize_on_simplex
from .mean import Weights, effective_rows, mean_over_rows
from .metrics import CLIP, log_losses
from .pool_loss import LogLoss, linear_pool

_BOUNDS = (float(np.log(0.05)), float(np.log(20.0)))
_TOLERANCE = 1e-4  # of the logarithm of a temperature


def fit_temperature_simplex(held_out: HeldOut, seed: int) -> Combiner:  # noqa: ARG001 - nothing is random
    """Find each member's own temperature, then the weights on the simplex of the tempered members."""
    temperatures = np.array([fit_temperature(scores, held_out.target, held_out.weights) for scores in held_out.scores])
    of_true_class = np.stack(
        [
            np.exp(-log_losses(tempered(s, t), held_out.target))
            for s, t in zip(held_out.scores, temperatures, strict=True)
        ]
    )
    loss = LogLoss(np.maximum(of_true_class, CLIP), held_out.weights)
    return linear_pool(minimize_on_simplex(loss), held_out, temperatures)


def fit_temperature(probabilities: Float64Array, target: Array, weights: Weights = None) -> float:
    """Return the temperature of one member's probabilities `(n_rows, n_outputs)` with the lowest log loss.

    Its logarithm has a standard normal prior, which weighs as little as one row: without it a member that makes no
    mistake on few rows would be made infinitely sure.
    """
    n_rows = effective_rows(len(target), weights)

    def loss(log_temperature: float) -> float:
        likelihood = mean_over_rows(log_losses(tempered(probabilities, np.exp(log_temperature)), target), weights)
        return float(likelihood + log_temperature**2 / (2 * n_rows))

    found = minimize_scalar(loss, bounds=_BOUNDS, method="bounded", options={"xatol": _TOLERANCE})
    return float(np.exp(found.x))
