"""What must not be learned from: copies of the target, and names that a bundle cannot have."""

from collections.abc import Sequence

import numpy as np

from ...serving.contract.tensors import Array
from ..convert.graph import INNER_NAME
from .columns import Typed
from .data_error import DataError
from .target import Target

_RESERVED = frozenset({"scores", "probabilities", "prediction", "label", "tabular"})
_LEAST_ROWS = 20
_FIRST_ROWS = 2000
_LEAST_PRESENT = 0.5
_TOLERANCE = 1e-6


def check_input_names(names: Sequence[str]) -> None:
    """Refuse names that columns of words and arrays cannot have: each becomes an input of its own.

    Raises:
        DataError: one is empty, or what a bundle or its graphs call something else.
    """
    if taken := [name for name in names if not name or name in _RESERVED or INNER_NAME.fullmatch(name)]:
        raise DataError(
            f"column {taken[0]!r} cannot be called so: bundles keep the name for themselves; rename it, or leave it "
            f"out with --drop"
        )


def leak(typed: Typed, target: Target) -> str:
    """Return how a column gives the target away, or "": as a relabelling of it, or a straight line of it.

    Args:
        typed: a column with values `(n_rows,)`.
        target: of the same rows.
    """
    if typed.values is None or len(target.values) < _LEAST_ROWS:
        return ""
    if _is_relabelled(typed.values, target):
        return "is the target by other names: each of its values stands for one of the target's"
    if target.task == "regression" and typed.column.role == "numbers" and _is_line(typed.values, target.values):
        return "is the target itself, but for scale and offset"
    return ""


def _is_relabelled(values: Array, target: Target) -> bool:
    """Return whether each value of a column goes with one target and the other way round, with rows to tell by."""
    import pandas as pd

    head = slice(0, _FIRST_ROWS)
    for rows in (head, slice(None)):
        codes, different = pd.factorize(values[rows], use_na_sentinel=False)
        truths, truth = pd.factorize(target.values[rows])
        n = len(truth)
        if len(different) != n or len(np.unique(codes.astype(np.int64) * n + truths)) != n:
            return False
    return n > 1 and 2 * n <= len(values)


def _is_line(values: Array, target: Array) -> bool:
    for rows in (slice(0, _FIRST_ROWS), slice(None)):
        present = ~np.isnan(values[rows])
        x, y = values[rows][present], target[rows][present]
        if len(x) < max(_LEAST_ROWS, _LEAST_PRESENT * len(present)) or x.std() == 0 or y.std() == 0:
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            scaled, wanted = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
            slope = float(np.mean(scaled * wanted))
            if not np.abs(wanted - slope * scaled).max() <= _TOLERANCE * np.ptp(wanted):
                return False
    return True
