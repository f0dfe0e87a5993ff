"""What one input holds: the columns of a table, or one array, as its section of the export file wants them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.pixels import scaled
from ...serving.contract.tensors import Array
from ..convert.rows import read_rows
from .problems import Problem
from .schema import Input

FeatureNames = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Table:
    """An input made of the columns of a table.

    Attributes:
        name: the input's name.
        frame: DataFrame of all rows.
    """

    name: str
    frame: Any

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    @property
    def row_bytes(self) -> int:
        """Size of a row, about."""
        return 8 * len(self.frame.columns)

    def take(self, index: Array) -> Any:
        """Return some rows as a DataFrame."""
        return self.frame.iloc[index].reset_index(drop=True)

    def columns(self, index: Array) -> dict[str, Array]:
        """Return column name -> its values in some rows."""
        rows = self.frame.iloc[index]
        return {str(name): np.asarray(rows[name]) for name in rows.columns}

    def arrays(self, index: Array) -> tuple[dict[str, Array], FeatureNames]:
        """Return some rows as tensors, as `convert` makes them of a DataFrame, and their feature names."""
        read = read_rows(self.take(index), input_name=self.name)
        return dict(read.arrays), {name: spec.feature_names for name, spec in read.specs.items() if spec.feature_names}

    def described(self) -> str:
        """Return what it holds, in words."""
        dtypes = dict.fromkeys(str(dtype) for dtype in self.frame.dtypes)
        return f"{len(self.frame.columns)} columns of {', '.join(dtypes)}"


@dataclass(frozen=True, slots=True)
class Stack:
    """An input that is one array already.

    Attributes:
        name: the input's name.
        values: `(n_rows, ...)`: an array, perhaps mapped, or image files.
        features: names of its columns, if any.
        dtype: datatype to cast to, None to leave it.
        scale: what to divide by, None to leave it.
    """

    name: str
    values: Any
    features: tuple[str, ...] = ()
    dtype: str | None = None
    scale: float | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return int(self.take(np.arange(1)).nbytes)

    def take(self, index: Array) -> Array:
        """Return some rows `(n, ...)`.

        Raises:
            Problem: an image file cannot be read.
        """
        rows = np.asarray(self.values[index])
        return rows if self.dtype is None else scaled(rows, self.dtype, self.scale)

    @property
    def pixel_scale(self) -> float | None:
        """What pixels from 0 to 255 are divided by to become its values, None where it does not hold such."""
        first = np.asarray(self.values[np.arange(1)])
        is_uint8 = first.dtype == np.uint8
        if self.scale is not None:
            return self.scale if is_uint8 or first.ndim > 2 else None
        return 1.0 if is_uint8 and self.dtype is not None and np.dtype(self.dtype).kind == "f" else None

    def columns(self, index: Array) -> dict[str, Array]:
        """Return the input's name -> some rows."""
        return {self.name: self.take(index)}

    def arrays(self, index: Array) -> tuple[dict[str, Array], FeatureNames]:
        """Return some rows under the input's name, and their feature names."""
        return self.columns(index), {self.name: self.features} if self.features else {}

    def described(self) -> str:
        """Return what it holds, in words; of image files, one is read."""
        row = self.take(np.arange(1))
        return f"{row.dtype} {list(row.shape[1:])} a row"


Source = Table | Stack


def table(name: str, frame: Any, wish: Input, missing_text: str | None) -> Source:
    """Return the columns of a table as an input: cast, scaled and complete, or joined to one array if `shape` is given.

    Raises:
        Problem: a column holds neither numbers nor text, misses text, or does not fit what is wished for.
    """
    if wish.shape:
        return stack(name, _joined(frame, wish.shape), wish)
    frame = frame.copy()
    for column, categories in wish.categories.items():
        frame[column] = _categorical(frame, column, categories)
    for column in frame.columns:
        frame[column] = _cells(column, frame[column], wish, missing_text)
    return Table(name, frame)


def wider(one: Any, other: Any) -> Any:
    """Return which of two columns a request holds where inputs share one: whole numbers, else the wider floats.

    Binding makes the other of it.
    """
    return max(one, other, key=lambda values: (values.dtype.kind != "f", values.dtype.itemsize))


def is_shared(one: Any, other: Any) -> bool:
    """Return whether one column of a request is enough for two columns of tables, as `bind_columns` binds it."""
    if one.equals(other):
        return True
    if not all(isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf" for column in (one, other)):
        return False
    wide = wider(one, other)
    narrow = other if wide is one else one
    if narrow.dtype.kind != "f" and wide.isna().any():
        return False
    return bool(wide.astype(narrow.dtype).equals(narrow))


def stack(name: str, values: Any, wish: Input) -> Stack:
    """Return an array or image files as an input.

    Raises:
        Problem: the array cannot take the shape wished for.
    """
    if wish.shape and not isinstance(values, np.ndarray):
        raise Problem("shape: images have a shape; size = [height, width] resizes them")
    shaped = shaped_as(values, wish.shape) if wish.shape else values
    return Stack(name, shaped, wish.features, _dtype(wish), wish.scale)


def shaped_as(array: Array, shape: Sequence[int]) -> Array:
    """Return `(n_rows, ...)` as `(n_rows, *shape)`.

    Raises:
        Problem: the sizes differ.
    """
    if array.size != len(array) * int(np.prod(shape)):
        raise Problem(f"shape: rows of {list(array.shape[1:])} cannot take the shape {list(shape)}")
    return array.reshape(len(array), *shape)


def _dtype(wish: Input) -> str | None:
    return wish.dtype or ("float32" if wish.scale is not None else None)


def _cells(name: str, series: Any, wish: Input, missing_text: str | None) -> Any:
    """Return a column of a table as a model may take it."""
    if series.dtype.kind in "biuf":
        dtype = _dtype(wish)
        if dtype and np.dtype(dtype).kind in "iub" and series.isna().any():
            raise Problem(f"column {name!r} has missing cells, which {dtype} cannot hold")
        if dtype and series.dtype.kind == "b":
            series = series.astype("float64")  # nullable booleans with gaps cast to nothing else
        series = series if dtype is None else series.astype(dtype)
        return series if wish.scale is None else (series / wish.scale).astype(dtype)
    if series.dtype.kind != "O":
        raise Problem(
            f"column {name!r} holds {series.dtype}, and a model takes numbers or text; name the columns to take in "
            f"`columns`"
        )
    missing = series.isna()
    if not hasattr(series, "cat"):
        _check_text(name, series[~missing])
    elif series.cat.categories.dtype.kind in "iu":
        return series  # a missing one is NaN in the tensor
    if not missing.any():
        return series
    if missing_text is None:
        raise Problem(
            f"column {name!r} has no text in row {int(np.argmax(missing))}, and requests must hold some; say "
            f'missing_text = "..." in [data] for such cells, as the model was trained'
        )
    if hasattr(series, "cat") and missing_text not in series.cat.categories:
        series = series.cat.add_categories([missing_text])
    return series.fillna(missing_text)


def _check_text(name: str, cells: Any) -> None:
    """Refuse dates, lists and other objects in a column of text."""
    for row, cell in cells.items():
        if not isinstance(cell, str):
            raise Problem(
                f"column {name!r} holds {type(cell).__name__} in row {row}, and a model takes numbers or text; name "
                f"the columns to take in `columns`, or say `shape` where cells are lists of numbers"
            )


def _categorical(frame: Any, column: str, categories: Sequence[str] | Sequence[int]) -> Any:
    import pandas as pd

    if column not in frame.columns:
        raise Problem(f"categories: there is no column {column!r} here; there are {', '.join(map(str, frame.columns))}")
    series = frame[column]
    if unknown := [cell for cell in series.dropna().unique().tolist() if cell not in categories]:
        raise Problem(
            f"categories: column {column!r} holds {unknown[0]!r}, which is none of {', '.join(map(repr, categories))}"
        )
    return series.astype(pd.CategoricalDtype(list(categories)))


def _joined(frame: Any, shape: Sequence[int]) -> Array:
    """Return the columns, or the one column of lists, as one array `(n_rows, *shape)`."""
    try:
        if len(frame.columns) == 1 and frame.iloc[:, 0].dtype == object:
            cells = [np.concatenate([np.ravel(part) for part in np.atleast_1d(cell)]) for cell in frame.iloc[:, 0]]
            return shaped_as(np.stack(cells), shape)
        return shaped_as(frame.to_numpy(), shape)
    except (TypeError, ValueError) as error:
        raise Problem(f"shape: the cells are no lists of numbers of one length: {error}") from error
