"""Questions to a trained model, whichever library it is of: its scores, checked, and where it has none.

A trained model may refuse odd rows, or answer them with what no score can be; then it has no answer that a graph
could be held to.
"""

import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..serving.contract.tensors import Array
from .batches import Arrays, Probe
from .member import ConversionError

Native = Callable[[Arrays], Array]
"""Tensor name -> rows, to the trained model's own scores `(n_rows, n_outputs)`."""

MAX_SCORE = float(np.finfo(np.float32).max)
"""Scores are served in FP32."""

_MOST_REFUSALS, _MOST_IN_VAIN = 128, 16
"""Questions that a probe may cost: with some answers, and without any."""


def ask(native: Native, rows: Arrays, n_outputs: int, what: str) -> npt.NDArray[np.float64]:
    """Return the trained model's scores `(n_rows, n_outputs)`.

    Args:
        native: the model.
        rows: tensor name -> rows.
        n_outputs: columns that the scores must have.
        what: the rows, for messages.

    Raises:
        ConversionError: it refuses the rows, or answers in another shape or with scores that are not finite.
    """
    scores = _asked(native, rows, n_outputs, what)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise ConversionError(f"the model itself answers {scores[row].tolist()} for {what}, row {row}")
    return scores


def ask_each(native: Native, probe: Probe, n_outputs: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Return which rows of a probe the trained model answers, `(n_rows,)`, and the answers to them.

    Of an optional probe those rows have no answer that it refuses, or whose scores are not finite or too large for
    FP32; of any other they must have one.

    Raises:
        ConversionError: it refuses a probe that is not optional, or answers in another shape or with NaN.
    """
    what = f"probes with {probe.kind}"
    n_rows = len(next(iter(probe.rows.values())))
    if not probe.optional:
        return np.ones(n_rows, np.bool_), ask(native, probe.rows, n_outputs, what)
    scores = np.full((n_rows, n_outputs), np.nan)
    waiting, refusals, n_answered = [(0, n_rows)], 0, 0
    while waiting and refusals < (_MOST_REFUSALS if n_answered else _MOST_IN_VAIN):
        start, stop = waiting.pop()
        try:
            part = {name: array[start:stop] for name, array in probe.rows.items()}
            scores[start:stop] = _asked(native, part, n_outputs, what)
            n_answered += stop - start
        except ConversionError:
            refusals += 1
            if stop - start > 1:
                waiting += [((start + stop) // 2, stop), (start, (start + stop) // 2)]
    has_answer = (np.abs(scores) <= MAX_SCORE).all(axis=1)
    return has_answer, scores[has_answer]


def _asked(native: Native, rows: Arrays, n_outputs: int, what: str) -> npt.NDArray[np.float64]:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # Probes are odd on purpose, and a library may warn of the form in which its own rows come back.
            warnings.simplefilter("ignore")
            scores = np.asarray(native(rows), np.float64)
    except Exception as error:  # whatever class the library chose
        raise ConversionError(f"the model itself cannot score {what}: {type(error).__name__}: {error}") from error
    expected = (len(next(iter(rows.values()))), n_outputs)
    if scores.shape != expected:
        raise ConversionError(f"the model itself answers {list(scores.shape)} for {what}; expected {list(expected)}")
    return scores
