"""Rows that a training holds out to see how far it has come."""

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array

_SHARE_OF_FEW, _SHARE_OF_MANY, _MANY = 0.2, 0.1, 20_000


def held_out(target: Array, task: Task, seed: int) -> Array:
    """Return a mask `(n_rows,)` of rows to hold out, spread evenly over the target; every class stays among the rest.

    A fifth of few rows, a tenth of 20,000 or more.
    """
    n_rows = len(target)
    step = round(1 / (_SHARE_OF_MANY if n_rows >= _MANY else _SHARE_OF_FEW))
    draw = np.random.default_rng(seed)
    order = np.lexsort((draw.random(n_rows), target))
    mask = np.zeros(n_rows, bool)
    mask[order[draw.integers(step) :: step]] = True
    if task == "classification":
        for label in np.setdiff1d(target, target[~mask]):
            mask[target == label] = False
    return mask
