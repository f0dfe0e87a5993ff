"""Greedy ensemble selection with replacement, bagged.

Source: Caruana et al. (2004), "Ensemble selection from libraries of models".
"""

import numpy as np

from ...serving.contract.combiner import Combiner, Float64Array
from .held_out import HeldOut
from .pool_loss import PoolLoss, linear_pool, pool_loss

N_STEPS = 50
N_BAGS = 20
_MAX_BAG_ROWS = 5000  # bounds the work; the average over bags steadies what fewer rows unsettle


def fit_greedy(held_out: HeldOut, seed: int) -> Combiner:
    """Average the selections on `N_BAGS` bootstrap samples of the rows.

    Caruana et al. bag the members of a library of thousands; half of four members are often all poor, so it is the rows
    that are drawn here. Measured over 9 data sets x 3 splits, geometric mean of log loss against the best single
    member: rows -11 %, no bags -10 %, members -3 %.
    """
    rng = np.random.default_rng(seed)
    size = min(held_out.n_rows, _MAX_BAG_ROWS)
    bags = (held_out.take(rng.integers(held_out.n_rows, size=size)) for _ in range(N_BAGS))
    return linear_pool(np.mean([select(pool_loss(bag), N_STEPS) for bag in bags], axis=0), held_out)


def select(loss: PoolLoss, n_steps: int) -> Float64Array:
    """Add `n_steps` times the member that lowers the loss most and return each one's share, `(n_members,)`.

    A member may be added again, which is what makes its share grow. Of members that are equally good the first is
    taken.
    """
    counts = np.zeros(loss.n_members)
    for step in range(1, n_steps + 1):
        candidates = (counts + np.eye(loss.n_members)) / step
        counts[np.argmin(loss(candidates))] += 1
    return counts / n_steps
