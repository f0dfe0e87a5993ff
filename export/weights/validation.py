"""Cross-validation of a learner on held-out rows."""

from collections.abc import MutableMapping, Sequence

import numpy as np

from ...serving.contract.combiner import Combiner, Float64Array
from ...serving.contract.tensors import Array
from .folds import rest
from .held_out import HeldOut
from .learner import AnyLearner, fit


def cross_validate(
    learner: AnyLearner,
    held_out: HeldOut,
    folds: Sequence[Array],
    seed: int,
    memory: Sequence[MutableMapping[str, Combiner]],
) -> Float64Array:
    """Return predictions `(n_rows, n_outputs)`, each row's by the learner's combiner fitted without its fold.

    Args:
        learner: the learner to judge.
        held_out: the rows.
        folds: row indices held out together; every row is in exactly one fold.
        seed: of the learner.
        memory: for each fold the combiners that learners have given already, so that a mean need not learn its parts
            again; filled here.
    """
    predictions = np.empty(held_out.scores.shape[1:])
    for fold, fitted in zip(folds, memory, strict=False):
        combiner = fit(learner, held_out.take(rest(fold, held_out.n_rows)), seed, fitted)
        predictions[fold] = combiner(held_out.scores[:, fold])
    return predictions
