"""Real tables, cut into rows to train on and others to judge by; some with gaps or with columns cut to categories."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from widedeep.serving.contract.tensors import Array


@cache
def iris() -> tuple[Array, Array]:
    """Three classes, 150 rows, 4 columns, in float32."""
    return _shuffled(*load_iris(return_X_y=True))


@cache
def cancer() -> tuple[Array, Array]:
    """Two classes, 569 rows, 10 columns, in float32."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return _shuffled(rows[:, :10], labels)


@cache
def diabetes() -> tuple[Array, Array]:
    """A target between 25 and 346, 442 rows, 10 columns, in float32."""
    return _shuffled(*load_diabetes(return_X_y=True))


@cache
def digits() -> tuple[Array, Array]:
    """Ten classes, 600 images `(8, 8, 1)` of numbers 0 to 16, in float32."""
    data = load_digits()
    return data.images[:600, ..., np.newaxis].astype(np.float32), data.target[:600]


def halves(rows: Any) -> tuple[Any, Any]:
    """Return every other row, and the others."""
    return (rows.iloc[::2], rows.iloc[1::2]) if hasattr(rows, "iloc") else (rows[::2], rows[1::2])


def with_gaps(rows: Array) -> Array:
    """Return the rows with a tenth of the values missing."""
    return np.where(np.random.default_rng(0).random(rows.shape) < 0.1, np.float32(np.nan), rows)


def with_codes(rows: Array, n_codes: int = 9) -> Array:
    """Return the rows with the first column cut to whole numbers from 0, in an order that says nothing."""
    ranks = rows[:, 0].argsort().argsort() * n_codes // len(rows)
    out = rows.copy()
    out[:, 0] = (ranks * 5) % n_codes
    return out


def frame(rows: Array, *, categorical: bool = True) -> Any:
    """Return a DataFrame `c0 ...` whose first column is cut to nine words, as a categorical column or as strings."""
    words = np.array(["ash", "beech", "cedar", "elm", "fir", "larch", "oak", "pine", "yew"], object)
    out = pd.DataFrame({f"c{i}": rows[:, i] for i in range(1, rows.shape[1])})
    column = words[with_codes(rows)[:, 0].astype(int)]
    out.insert(0, "c0", pd.Categorical(column, words) if categorical else column)
    return out


def seconds(rows: Array) -> Array:
    """Return float64 rows whose first column is a time in seconds, finer than float32 tells apart."""
    out = rows.astype(np.float64)
    ranks = rows[:, 0].argsort().argsort()
    out[:, 0] = 1_700_000_000 + 7.0 * ranks
    return out


def _shuffled(rows: Array, target: Array) -> tuple[Array, Array]:
    order = np.random.default_rng(0).permutation(len(rows))
    return rows[order].astype(np.float32), target[order]
