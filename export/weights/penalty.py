"""How strong a penalty should be: chosen by cross-validation on the rows that a learner is given, and no others.

A penalty is the precision of a normal prior on the parameters, in rows: its weight against the mean loss is
`precision / (2 * n_rows)`. So stated, what is right for some of the rows is right for all of them.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ...serving.contract.combiner import Combiner
from .folds import deal, rest
from .held_out import HeldOut
from .mean import weigh
from .metrics import row_losses

PRECISIONS = (1000.0, 100.0, 10.0, 1.0)
_N_FOLDS = 3
_MAX_ROWS = 5000  # bounds the work of tuning

Path = Callable[[HeldOut, Sequence[float]], Sequence[Combiner]]


def fit_tuned(path: Path, held_out: HeldOut, seed: int) -> Combiner:
    """Return the combiner fitted on all rows with the precision that has the lowest cross-validated loss.

    Args:
        path: fits a combiner for each of the precisions, which fall from first to last.
        held_out: the rows to fit and to tune on.
        seed: of the folds.
    """
    rng = np.random.default_rng(seed)
    few = held_out
    if held_out.n_rows > _MAX_ROWS:
        few = held_out.take(rng.choice(held_out.n_rows, _MAX_ROWS, replace=False))
    losses = np.zeros(len(PRECISIONS))
    for fold in deal(few, _N_FOLDS, rng):
        unseen = few.take(fold)
        for i, combiner in enumerate(path(few.take(rest(fold, few.n_rows)), PRECISIONS)):
            losses[i] += weigh(row_losses(combiner(unseen.scores), unseen.target, unseen.task), unseen.weights).sum()
    return path(held_out, [PRECISIONS[np.argmin(losses)]])[0]
