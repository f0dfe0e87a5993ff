"""Folds of held-out rows that share every class evenly."""

import numpy as np

from ...serving.contract.tensors import Array
from .held_out import HeldOut


def deal(held_out: HeldOut, n_folds: int, rng: np.random.Generator) -> list[Array]:
    """Return the row indices of each fold; every row is in exactly one.

    Rows are shuffled, put in order of their class and dealt out like cards, so that of each class two folds differ by
    one row at most, however rare it is. A regression's rows are only shuffled.
    """
    order = rng.permutation(held_out.n_rows)
    if held_out.task == "classification":
        order = order[np.argsort(held_out.target[order], kind="stable")]
    return [np.sort(order[fold::n_folds]) for fold in range(n_folds)]


def rest(fold: Array, n_rows: int) -> Array:
    """Return the indices of the rows outside a fold."""
    return np.setdiff1d(np.arange(n_rows), fold, assume_unique=True)
