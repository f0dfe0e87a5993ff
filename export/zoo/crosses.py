"""Which pairs of coded columns are worth a crossed feature: those that tell more of the target than either alone."""

import itertools

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array

_MOST_COLUMNS = 24
"""Columns whose pairs are looked at: those that tell most alone."""

_ROWS = 20_000
_PARTS_OF_VALUES = 8
_SURE = 3.0
"""Standard deviations by which a pair must tell more than by chance."""


def worth_crossing(codes: Array, target: Array, n_pairs: int, *, is_classifier: bool) -> list[tuple[int, int]]:
    """Return the pairs of columns whose codes together tell most about the target beyond what the better one does.

    Args:
        codes: whole numbers from 0, `(n_rows, n_columns)`.
        target: class indices or values `(n_rows,)`; values are taken in eighths.
        n_pairs: pairs at most; a pair that tells nothing more is never among them.
        is_classifier: whether the target holds classes.
    """
    if n_pairs < 1 or codes.shape[1] < 2:
        return []
    step = -(-len(codes) // _ROWS)
    codes, target = codes[::step], target[::step]
    classes = np.asarray(target, np.int64) if is_classifier else _parts(target)
    alone = np.array([information(codes[:, i], classes)[0] for i in range(codes.shape[1])])
    looked_at = np.sort(np.argsort(-alone, kind="stable")[:_MOST_COLUMNS])
    gains: list[tuple[float, tuple[int, int]]] = []
    for a, b in itertools.combinations(looked_at.tolist(), 2):
        together, by_chance = information(codes[:, a] * (codes[:, b].max() + 1) + codes[:, b], classes)
        gain = together - max(alone[a], alone[b])
        if gain > _SURE * by_chance:
            gains.append((gain, (a, b)))
    gains.sort(key=lambda each: (-each[0], each[1]))
    return [pair for _, pair in gains[:n_pairs]]


def information(codes: Array, classes: Array) -> tuple[float, float]:
    """Return the mutual information of codes and classes in nats, and its standard deviation if there is none.

    What as many codes tell by chance alone is taken off: 2 n_rows times it follows a chi-squared distribution.

    Source: Miller, Note on the bias of information estimates, 1955.
    """
    _, code = np.unique(codes, return_inverse=True)
    _, kind = np.unique(classes, return_inverse=True)
    table = np.zeros((code.max() + 1, kind.max() + 1))
    np.add.at(table, (code, kind), 1.0)
    by_code, by_kind = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    some = table > 0
    told = (table[some] * np.log((table * len(code) / (by_code * by_kind))[some])).sum() / len(code)
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(told - freedom / (2 * len(code))), float(np.sqrt(freedom / 2) / len(code))


def _parts(values: Array) -> npt.NDArray[np.int64]:
    edges = np.quantile(values, np.arange(1, _PARTS_OF_VALUES) / _PARTS_OF_VALUES)
    return np.searchsorted(np.unique(edges), values, side="right").astype(np.int64)
