"""The loss of linear pools with weights on the simplex, for many weight vectors at once.

Of the scores it needs only what the loss depends on: with weights that sum to one the log loss of a pool takes the
probabilities of the true class, and its squared error the members' mean products of errors.
"""

from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from ...serving.contract.combiner import Float64Array, LinearPool
from .held_out import HeldOut
from .mean import Weights, for_each_output, mean_over_rows, total_weight, weigh, weigh_roots
from .metrics import CLIP

_NEGLIGIBLE = 1e-5  # weights below it are left out: a member that changes nothing need not run


class PoolLoss(Protocol):
    """Mean loss of linear pools as a function of their weights."""

    @property
    def n_members(self) -> int:
        """Members that are weighed."""

    @property
    def cost(self) -> int:
        """Numbers touched to evaluate one weight vector; bounds how many are tried."""

    def __call__(self, weights: Float64Array) -> Float64Array:
        """Return the losses `(n_candidates,)` of weights `(n_candidates, n_members)`, each row on the simplex."""

    def gradient(self, weights: Float64Array) -> Float64Array:
        """Return the gradient `(n_members,)` at weights `(n_members,)`."""


@dataclass(frozen=True, slots=True, eq=False)
class LogLoss:
    """Mean log loss.

    Attributes:
        of_true_class: probabilities `(n_members, n_rows)`, none below `CLIP`.
        row_weights: of the mean.
    """

    of_true_class: Float64Array
    row_weights: Weights = None

    @property
    def n_members(self) -> int:
        """Members that are weighed."""
        return len(self.of_true_class)

    @property
    def cost(self) -> int:
        """Numbers touched to evaluate one weight vector."""
        return self.of_true_class.size

    def __call__(self, weights: Float64Array) -> Float64Array:
        """Return the losses of weights `(n_candidates, n_members)`."""
        return -mean_over_rows(np.log(weights @ self.of_true_class), self.row_weights)

    def gradient(self, weights: Float64Array) -> Float64Array:
        """Return the gradient at weights `(n_members,)`."""
        by_row = weigh(1 / (weights @ self.of_true_class), self.row_weights)
        return -(self.of_true_class @ by_row) / total_weight(len(by_row), self.row_weights)


@dataclass(frozen=True, slots=True, eq=False)
class SquaredError:
    """Mean squared error.

    Attributes:
        products: mean products of the errors of two members, `(n_members, n_members)`.
    """

    products: Float64Array

    @property
    def n_members(self) -> int:
        """Members that are weighed."""
        return len(self.products)

    @property
    def cost(self) -> int:
        """Numbers touched to evaluate one weight vector."""
        return self.products.size

    def __call__(self, weights: Float64Array) -> Float64Array:
        """Return the losses of weights `(n_candidates, n_members)`."""
        return cast(Float64Array, ((weights @ self.products) * weights).sum(axis=1))

    def gradient(self, weights: Float64Array) -> Float64Array:
        """Return the gradient at weights `(n_members,)`."""
        return 2 * (self.products @ weights)


def pool_loss(held_out: HeldOut) -> PoolLoss:
    """Return the loss that the task calls for."""
    if held_out.task == "classification":
        return LogLoss(np.maximum(held_out.of_true_class(), CLIP), held_out.weights)
    errors = (held_out.scores - held_out.target).reshape(held_out.n_members, -1)
    weights = for_each_output(held_out.weights, held_out.n_outputs)
    rooted = weigh_roots(errors, weights)
    return SquaredError(rooted @ rooted.T / total_weight(errors.shape[1], weights))


def linear_pool(weights: Float64Array, held_out: HeldOut, temperatures: Float64Array | None = None) -> LinearPool:
    """Return the pool of weights `(n_members,)` on the simplex, without negligible ones."""
    kept = np.where(weights < _NEGLIGIBLE, 0.0, weights)
    return LinearPool(kept / kept.sum(), temperatures, normalize=held_out.task == "classification")
