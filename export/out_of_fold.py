"""Cross-fitting: for every training row, scores by a model that has never seen it.

Combination weights are learned on these scores; on rows that the members were trained on, the member that overfits
most would get all the weight. The model that enters the bundle is then trained on all rows. Which models, which rows
and which folds is the caller's business.

Source: Wolpert (1992), "Stacked generalization".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one member is trained and scored.

    Attributes:
        name: the member's name.
        fit: takes input name -> rows, labels and a seed, and returns a new trained model.
        score: takes such a model and rows, and returns scores `(n_rows, n_outputs)`.
    """

    name: str
    fit: Callable[[Mapping[str, Array], Array, int], Any]
    score: Callable[[Any, Mapping[str, Array]], Array]


@dataclass(frozen=True, slots=True)
class CrossFit:
    """The outcome for one member.

    Attributes:
        model: trained on all rows.
        scores: out-of-fold scores `(n_rows, n_outputs)`, each row's by a model trained without it.
    """

    model: Any
    scores: npt.NDArray[np.float64]


def cross_fit(
    recipe: Recipe,
    inputs: Mapping[str, Array],
    labels: Array,
    folds: Sequence[Array],
    *,
    seed: int = 0,
    on_fit: Callable[[], None] = lambda: None,
) -> CrossFit:
    """Train a member once without each fold and once on all rows.

    Args:
        recipe: the member.
        inputs: input name -> `(n_rows, ...)`.
        labels: `(n_rows,)`.
        folds: row indices held out together; every row is in exactly one fold.
        seed: passed to every training.
        on_fit: called after each of the `len(folds) + 1` trainings, for progress.

    Raises:
        ValueError: the folds do not cover every row exactly once.
    """
    n_rows = len(labels)
    if not np.array_equal(np.sort(np.concatenate([*folds, []])), np.arange(n_rows)):
        raise ValueError(f"expected folds that hold each of {n_rows} rows exactly once")
    parts = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(n_rows), fold)
        model = recipe.fit(_take(inputs, rest), labels[rest], seed)
        parts.append(np.asarray(recipe.score(model, _take(inputs, fold)), np.float64))
        on_fit()
    scores = np.concatenate(parts)[np.argsort(np.concatenate(folds))]
    model = recipe.fit(inputs, labels, seed)
    on_fit()
    return CrossFit(model, scores)


def _take(inputs: Mapping[str, Array], index: Array) -> dict[str, Array]:
    return {name: array[index] for name, array in inputs.items()}
