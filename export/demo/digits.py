"""The demo's data: scikit-learn's handwritten digits, each row an 8x8 image and the columns derived from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ...serving.contract.tensors import Array

TEST_SHARE = 0.2
_SIDE = 8
MOST_INK = 16.0
"""Levels of ink are whole numbers from 0 to this."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows.

    Attributes:
        inputs: `image` float32 `(n_rows, 8, 8, 1)` in [0, 1] and `tabular` float32 `(n_rows, 84)`.
        labels: int64 `(n_rows,)`, the digits.
    """

    inputs: Mapping[str, Array]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)


def split_digits(seed: int) -> tuple[Rows, Rows]:
    """Return the training rows and the test rows, a fifth of all, with the same share of every digit."""
    data = load_digits()
    train, test = train_test_split(
        np.arange(len(data.target)), test_size=TEST_SHARE, stratify=data.target, random_state=seed
    )
    inputs = {
        "image": np.asarray(data.images[..., np.newaxis] / MOST_INK, np.float32),
        "tabular": tabular_columns(data.images),
    }
    labels = np.asarray(data.target, np.int64)
    return _take(inputs, labels, train), _take(inputs, labels, test)


def tabular_columns(images: Array) -> npt.NDArray[np.float32]:
    """Return the columns of images `(n_rows, 8, 8)`: pixels, sums of rows and of columns, means of quadrants.

    Values are whole numbers of ink or sixteenths of them, so that float32 holds them exactly.
    """
    n_rows, half = len(images), _SIDE // 2
    quadrants = images.reshape(n_rows, 2, half, 2, half).mean(axis=(2, 4))
    parts = (images.reshape(n_rows, -1), images.sum(axis=2), images.sum(axis=1), quadrants.reshape(n_rows, -1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def tabular_names() -> tuple[str, ...]:
    """Return the names of the columns of `tabular_columns`, in order."""
    side = range(_SIDE)
    return (
        *(f"pixel_{row}_{column}" for row in side for column in side),
        *(f"row_sum_{row}" for row in side),
        *(f"column_sum_{column}" for column in side),
        *(f"quadrant_mean_{row}_{column}" for row in range(2) for column in range(2)),
    )


def table_of(rows: Rows) -> Any:
    """Return rows as a `pyarrow.Table`: `digit`, the image as a list of 64 values, and the columns by their names."""
    import pyarrow as pa

    image = rows.inputs["image"].reshape(len(rows), -1)
    tabular = rows.inputs["tabular"]
    return pa.table(
        {
            "digit": rows.labels,
            "image": pa.FixedSizeListArray.from_arrays(pa.array(image.reshape(-1)), image.shape[1]),
            **{name: tabular[:, i] for i, name in enumerate(tabular_names())},
        }
    )


def _take(inputs: Mapping[str, Array], labels: npt.NDArray[np.int64], index: Array) -> Rows:
    return Rows({name: array[index] for name, array in inputs.items()}, labels[index])
