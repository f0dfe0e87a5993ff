"""A net as the gate may ask it: only where its answer is determined to the gate's tolerance.

A net is a sum of products, and two right runs of it round in other places. On rows like those that it was trained on
that hardly shows. On others a deep net can amplify a rounding error to any size, and sums overflow, by their order.
Such rows have no answer here, and the gate leaves them out. Measured on an EfficientNetB0 after 16 steps, against
the same net in double: on real rows its own answer is off by 4e-6 and that of the graph by 6e-6; on rows with half of
the pixels far outside, its own by 0.02 and that of the graph by 0.02, to other sides.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from ...serving.contract.certificate import DEFAULT_TOLERANCES, OTHER_TOLERANCE
from ...serving.contract.tensors import Array
from ...serving.engine.runtime import CPU
from ..batches import only_rows, spread
from ..native import Native
from .rows import Rows

_BATCH_ROWS = 256

_FARTHEST = 1e6
"""How far outside the real rows a number may be, in the size of their largest."""

_STEPS = (2.0**-22, 2.0**-19, 2.0**-16)
"""By which share of itself each number is moved, at most, to see whether the answer stays: two roundings of FP32, and
more, since gates inside a net that are torn open and shut far outside need not turn at the first try."""

_STAYS = 0.2
"""How far the answer may move at the first step, in tolerances; at the others in proportion."""

_ROUNDING_ROWS = 128
_LEAST_ROUNDING, _MOST_ROUNDING = DEFAULT_TOLERANCES[CPU], OTHER_TOLERANCE

Ask = Callable[[Mapping[str, Array]], Array]
"""Tensor name -> a batch of rows, to scores `(n_rows, n_outputs)`."""


def rounding(ask: Ask, rows: Rows, floats: Collection[str] = ()) -> float:
    """Return how far two right runs of a net may part on real rows, 0 if by less than the gate's tolerance.

    Deep nets part by more, above all after few steps of training. Measured against the same nets in double, the answers
    of Keras itself are off by up to 1.9e-5 (MobileNetV2), 1.2e-5 (MobileNet), 6e-6 (EfficientNetB0), 2e-8 (Xception).
    Taken is twice the largest change of an answer when each number is moved by at most 2^-21 of itself, up to what is
    tolerated on a GPU.
    """
    real = only_rows(rows.arrays, spread(len(next(iter(rows.arrays.values()))), _ROUNDING_ROWS))
    try:
        scores = _by_batches(ask, real)
        moved = _by_batches(ask, {name: _moved(array, 2 * _STEPS[0], name in floats) for name, array in real.items()})
    except Exception:  # the gate asks about the same rows and says what is wrong
        return 0.0
    change = 2 * float((np.abs(moved - scores) / np.maximum(1, np.abs(scores))).max())
    return min(change, _MOST_ROUNDING) if change > _LEAST_ROUNDING else 0.0


def steady(
    ask: Ask, rows: Rows, floats: Collection[str] = (), *, tolerance: float = 0.0, is_large: bool = False
) -> Native:
    """Return the function that asks a net by batches; rows without a determined answer get NaN.

    Args:
        ask: the net.
        rows: real rows; they always have an answer.
        floats: inputs of whole numbers that the net takes as floating point ones.
        tolerance: from `rounding`.
        is_large: whether it is a large net. Those are chaotic outside the range of the real rows: the gates of an
            EfficientNetB0 are torn open and shut at random there, and its answers, 0 and 1, hide that from `_STEPS`.
    """
    stays = _STAYS * max(_LEAST_ROUNDING, tolerance)
    real = set(_identities(rows.arrays))
    limits = {name: _limits(array, 0.0 if is_large else _FARTHEST) for name, array in rows.arrays.items()}

    def answer(arrays: Mapping[str, Array]) -> Array:
        scores = _by_batches(ask, arrays)
        probes = np.array([identity not in real for identity in _identities(arrays)])
        without = probes & _any(_is_far(arrays[name], *within) for name, within in limits.items())
        doubtful = np.flatnonzero(probes & ~without)
        for step in _STEPS if len(doubtful) else ():
            moved = {name: _moved(array[doubtful], step, name in floats) for name, array in arrays.items()}
            change = np.abs(_by_batches(ask, moved) - scores[doubtful]) / np.maximum(1, np.abs(scores[doubtful]))
            without[doubtful] |= ~(change <= stays * step / _STEPS[0]).all(axis=1)
        return np.where(without[:, np.newaxis], np.asarray(np.nan, scores.dtype), scores)

    return answer


def _by_batches(ask: Ask, arrays: Mapping[str, Array]) -> Array:
    n_rows = len(next(iter(arrays.values())))
    starts = range(0, n_rows, _BATCH_ROWS)
    return np.concatenate([ask({name: array[i : i + _BATCH_ROWS] for name, array in arrays.items()}) for i in starts])


def _identities(arrays: Mapping[str, Array]) -> list[int]:
    """Return for each row a number that only rows of the same bytes share."""
    return [hash(b"".join(value.tobytes() for value in row)) for row in zip(*arrays.values(), strict=True)]


def _any(marks: Iterable[npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce(list(marks)))


def _limits(array: Array, margin: float) -> tuple[float, float]:
    """Return the smallest and the largest number of real rows, or 0, with a margin in the size of the larger one."""
    wide = array.astype(np.float64)
    lowest = float(wide.min(initial=0, where=np.isfinite(wide)))
    highest = float(wide.max(initial=0, where=np.isfinite(wide)))
    size = max(1.0, -lowest, highest)
    return lowest - margin * size, highest + margin * size


def _is_far(array: Array, lowest: float, highest: float) -> npt.NDArray[np.bool_]:
    """Return which rows hold NaN, a number beyond the limits or one too small for a normal FP32.

    Of those TensorFlow takes some as zero and some not.
    """
    wide = array.astype(np.float64).reshape(len(array), -1)
    tiny = (wide != 0) & (np.abs(wide) < np.finfo(np.float32).tiny)
    return np.asarray((~((wide >= lowest) & (wide <= highest)) | tiny).any(axis=1))


def _moved(array: Array, step: float, as_floats: bool) -> Array:
    """Return rows with each floating point number a little farther from zero."""
    if array.dtype.kind != "f" and not as_floats:
        return array
    share = np.random.default_rng(0).random(array.shape) * step
    return np.asarray(array * (1 + share), array.dtype if array.dtype.kind == "f" else np.float32)
