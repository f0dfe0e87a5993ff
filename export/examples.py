"""Rows that an ensemble gets right where its members fail: which to keep, and the bundle's file of them."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Task
from ..serving.contract.tensors import Array

EXAMPLES_FILE = "examples.npz"
"""Evidence: `index`, `target`, `ensemble`, `scores/<member>` and `inputs/<input>` of a few test rows."""


def pick_examples(target: Array, ensemble: Array, member_scores: Array, n: int, *, task: Task) -> npt.NDArray[np.int64]:
    """Return the rows that show best what the ensemble adds, the most telling first.

    Of a classification: rows whose label the ensemble has right and at least one member wrong, those with the most
    members wrong first and the ensemble surest among equals; each class has its turn before any has a second one.
    Of a regression: rows where the ensemble errs less than every member and no more than in the middle of all rows, by
    how much nearer it is than the members' mean error, each member's as large as it is.

    Args:
        target: class indices `(n_rows,)`, or values `(n_rows,)` or `(n_rows, n_outputs)`.
        ensemble: its answers `(n_rows, n_outputs)`.
        member_scores: `(n_members, n_rows, n_outputs)`.
        n: most rows to return.
        task: what the numbers are.

    Returns:
        Row numbers, `n` of them or as many as there are.
    """
    if task == "classification":
        return _labelled(np.asarray(target), ensemble, member_scores)[:n]
    truth = np.asarray(target, np.float64).reshape(ensemble.shape)
    error = np.abs(ensemble - truth).mean(axis=1)
    errors = np.abs(member_scores - truth).mean(axis=2)
    better = np.flatnonzero((error < errors.min(axis=0)) & (error <= np.median(error)))
    gain = errors[:, better].mean(axis=0) - error[better]
    return np.asarray(better[np.argsort(-gain, kind="stable")][:n], np.int64)


def examples_bytes(
    index: Array,
    *,
    target: Array,
    ensemble: Array,
    scores: Mapping[str, Array],
    inputs: Mapping[str, Array],
) -> bytes:
    """Return the content of `EXAMPLES_FILE`.

    Args:
        index: the rows' numbers among the test rows, `(n_examples,)`.
        target: of all test rows, as `scores` and `inputs` are.
        ensemble: its answers `(n_rows, n_outputs)`.
        scores: member name -> `(n_rows, n_outputs)`.
        inputs: input name -> rows as they are served; text as `str`.
    """
    arrays: dict[str, Any] = {"index": np.asarray(index, np.int64)}
    arrays |= {"target": target[index], "ensemble": ensemble[index]}
    arrays |= {f"scores/{name}": array[index] for name, array in scores.items()}
    arrays |= {f"inputs/{name}": _plain(array[index]) for name, array in inputs.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _labelled(target: Array, ensemble: Array, member_scores: Array) -> npt.NDArray[np.int64]:
    n_wrong = (member_scores.argmax(axis=2) != target).sum(axis=0)
    telling = np.flatnonzero((ensemble.argmax(axis=1) == target) & (n_wrong > 0))
    sureness = ensemble[telling, target[telling]]
    telling = telling[np.lexsort((-sureness, -n_wrong[telling]))]
    turn = np.zeros(len(telling), np.int64)
    seen: dict[int, int] = {}
    for place, label in enumerate(target[telling].tolist()):
        turn[place] = seen.get(label, 0)
        seen[label] = turn[place] + 1
    return np.asarray(telling[np.argsort(turn, kind="stable")], np.int64)


def _plain(array: Array) -> Array:
    return array.astype(np.str_) if array.dtype == object else array
