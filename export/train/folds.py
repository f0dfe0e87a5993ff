"""Which rows go where: test part, folds, and a part of too many rows. All are stratified, and none loses a class.

Rows are put in the order of their target, at random among equal ones. Dealing such a row of cards round by round gives
every fold its share of each class, and two rows of one class, being neighbours, never the same fold; values of a
regression are dealt in rounds of a random order, so that every fold has low and high ones.
"""

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from .data_error import DataError


def deal(target: Array, task: Task, n_folds: int, seed: int) -> tuple[Array, ...]:
    """Return the rows of each fold, sorted; of a class with two rows or more, some are outside of any fold.

    Args:
        target: class indices int64 or values float64 `(n_rows,)`.
        task: what it is.
        n_folds: from 2 to the number of rows.
        seed: of the order among equals.

    Raises:
        DataError: there are fewer rows than folds, or a class with a single row.
    """
    n_rows = len(target)
    if not 2 <= n_folds <= n_rows:
        raise DataError(f"expected 2 to {n_rows} folds for {n_rows} rows, got {n_folds}")
    generator = np.random.default_rng(seed)
    order = _order(target, generator)
    places = np.arange(n_rows) % n_folds
    if task == "regression":
        rounds = np.arange(n_rows) // n_folds
        places = np.lexsort((generator.random(n_rows), rounds)) % n_folds
    elif (alone := np.flatnonzero(np.bincount(target) == 1)).size:
        raise DataError(f"class index {alone[0]} has a single row; expected two at least, for one to learn from")
    folds = np.empty(n_rows, np.int64)
    folds[order] = places
    return tuple(np.flatnonzero(folds == fold) for fold in range(n_folds))


def part(target: Array, task: Task, n_part: int, seed: int, *, keep: int = 0, least: int = 0) -> Array:
    """Return about `n_part` rows, sorted, drawn from each class, or each range of values, in proportion.

    Args:
        target: class indices int64 or values float64 `(n_rows,)`.
        task: what it is.
        n_part: rows to draw.
        seed: of what is drawn.
        keep: rows of each class that are not drawn.
        least: rows of each class that are, where it has more than `keep`.
    """
    n_rows = len(target)
    generator = np.random.default_rng(seed)
    order = _order(target, generator)
    if task == "regression":
        bounds = np.linspace(0, n_rows, n_part + 1)
        picks = (bounds[:-1] + generator.random(n_part) * np.diff(bounds)).astype(np.int64)
        return np.sort(order[np.minimum(picks, n_rows - 1)])
    counts = np.bincount(target)
    spare = np.maximum(n_part - least * len(counts), 0) / max(1, n_rows - least * len(counts))
    wanted = np.minimum(least, counts) + np.floor(np.maximum(counts - least, 0) * spare + 1e-9).astype(np.int64)
    wanted = np.clip(wanted, 0, np.maximum(counts - keep, 0))
    rank = np.arange(n_rows) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[rank < np.repeat(wanted, counts)])


def _order(target: Array, generator: np.random.Generator) -> Array:
    """Return the rows in the order of their target, at random among equals."""
    return np.lexsort((generator.random(len(target)), target))
