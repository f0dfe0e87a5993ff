"""Decision trees and the columns that they branch by: what a converter tells of them, and the numbers on either side.

A tree compares features; rows hold columns. Between them lie casts, scalers and lists of categories. Probes are rows,
so a threshold is taken back to the column that its feature is made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array, TensorSpec
from ..batches import Arrays
from ..odd_values import as_dtype
from ..probes import UNSEEN
from .rows import Column
from .trees import Trees


@dataclass(frozen=True, slots=True)
class Feature:
    """Where the values of a feature come from.

    Attributes:
        column: place among the columns of the rows.
        back: from values of the feature to those of the column, step by step: rising or falling functions.
        labels: values of the column in the order of the codes that the feature has for them; empty where it has none.
    """

    column: int
    back: tuple[Callable[[Array], Array], ...] = ()
    labels: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Grown:
    """Trees and the columns that their features are made of.

    Attributes:
        trees: as the trained model grew them.
        features: of each feature; None where it is not made of one column.
        dtype: type that features are cast to before they are compared, None for that of the trees.
    """

    trees: Trees
    features: Sequence[Feature | None]
    dtype: Any = None

    @property
    def n_splits(self) -> int:
        """Splits of all trees."""
        return sum(len(tree.feature) for tree in self.trees.trees)

    @property
    def compared(self) -> np.dtype[Any]:
        """Type of the features when they are compared."""
        compared: np.dtype[Any] = np.dtype(self.trees.dtype if self.dtype is None else self.dtype)
        return compared


class Place:
    """A column as the trees see it: its real values and the way from a feature's value to the column's."""

    def __init__(self, feature: Feature, column: Column, values: Array, compared: Any, *, nan: bool) -> None:
        self.tensor, self.index, self.dtype, self.nan = column.tensor, column.index, values.dtype, nan
        self._feature, self._compared = feature, np.dtype(compared)
        self.falls = False
        if feature.labels:
            codes = {label: float(code) for code, label in enumerate(feature.labels)}
            self.seen = np.array([codes.get(value, np.nan) for value in values.tolist()])
            return
        with np.errstate(over="ignore"):
            seen = values.astype(np.float64) if feature.back else values.astype(compared)
        self.seen = seen.astype(np.float64)

    def back(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the numbers of the column that give those of the feature."""
        for step in self._feature.back:
            values = np.asarray(step(values), np.float64)
        return values

    def bound(self, threshold: Any) -> tuple[Any, bool]:
        """Return a threshold as one of the column, and whether what is below it there is above it here."""
        if not self._feature.back:
            return threshold, False
        wide = float(threshold)
        at, above = self.back(np.array([wide, wide + max(1e-3, abs(wide) * 1e-3)]))
        return at, bool(above < at)

    def around(self, threshold: Any) -> list[float]:
        """Return the numbers of the column at a threshold and next to it."""
        if self.dtype.kind == "b":
            return [0.0, 1.0]
        exact = self._compared.type(threshold)
        here = [float(value) for value in _steps(exact)]
        if self.dtype.kind in "iu":
            below = np.floor(self.back(np.array([float(threshold)]))[0])
            return [below - 1, below, below + 1]
        if not self._feature.back:
            return list(dict.fromkeys([*here, *map(float, _steps(self.dtype.type(threshold)))]))
        with np.errstate(all="ignore"):
            back = self.back(np.array(here)).astype(self.dtype)
        return list(dict.fromkeys(float(value) for at in back for value in _steps(at)))

    def cells(self, values: npt.NDArray[np.float64]) -> Array:
        """Return numbers as cells of the column, codes as the labels that they stand for."""
        labels = self._feature.labels
        if not labels:
            return as_dtype(self.dtype, values)
        odd: Any = UNSEEN if self.dtype == object else 0 if self.dtype.kind in "biu" else np.nan
        known = [labels[int(code)] if 0 <= code < len(labels) else odd for code in np.nan_to_num(values, nan=-1)]
        return np.array(known, self.dtype)


def place_of(
    feature: Feature | None, columns: Sequence[Column], specs: Mapping[str, TensorSpec], rows: Arrays, compared: Any
) -> Place | None:
    """Return the column of a feature as the trees see it; None where a row cannot be changed for it.

    Args:
        feature: what it is made of.
        columns: columns of the rows that the model takes.
        specs: declarations of those rows.
        rows: to change.
        compared: type that features are cast to before they are compared.
    """
    if feature is None or columns[feature.column].tensor not in specs:
        return None
    column = columns[feature.column]
    spec, values = specs[column.tensor], rows[column.tensor][:, column.index]
    if values.dtype == object and not feature.labels:
        return None
    return Place(feature, column, values, compared, nan=spec.allow_nan and spec.datatype.is_float)


def _steps(value: Any) -> tuple[Any, Any, Any]:
    kind = type(value)
    return np.nextafter(value, kind(-np.inf)), value, np.nextafter(value, kind(np.inf))
