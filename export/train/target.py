"""What is to be predicted: classes or values, and which rows say it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array, listed
from .columns import to_floats
from .data_error import DataError

MOST_CLASSES = 1000
_WHOLE_CLASSES = 20
_WHOLE_ROWS = 5
_DISTINCT_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A target.

    Attributes:
        task: classification or regression.
        values: class indices `(n_kept,)` int64, or float64 `(n_kept,)`.
        classes: labels in the order of the indices; empty for a regression.
        kept: rows of the file that the values are of `(n_kept,)`.
        notes: what was left out, and how the task was found.
    """

    task: Task
    values: Array
    classes: tuple[str, ...] | tuple[int, ...]
    kept: Array
    notes: tuple[str, ...]


def read_target(name: str, cells: Any, task: Task | None = None) -> Target:
    """Return what a column says is to be predicted.

    Text, categories and booleans are classes; whole numbers are where there are few different ones (two, or up to 20
    with five rows each on average); other numbers are values, but for two different whole ones. `task` overrules it.

    Args:
        name: the column's name.
        cells: `pyarrow.ChunkedArray`.
        task: what it is, where that is known.

    Raises:
        DataError: it holds nothing to predict: one class or value, no rows, infinity, names instead of classes.
    """
    import pyarrow as pa

    is_category = pa.types.is_dictionary(cells.type)
    if is_category:
        cells = cells.cast(cells.type.value_type)
    labels, is_number = _labels(name, cells)
    kept = np.flatnonzero(~_missing(labels))
    notes = []
    if n_missing := len(labels) - len(kept):
        notes.append(f"{n_missing:,} rows without a target are left out")
    if not len(kept):
        raise DataError(f"target {name!r} holds no value")
    labels = labels[kept]
    if is_number and np.isinf(labels).any():
        row = int(kept[np.argmax(np.isinf(labels))])
        raise DataError(f"target {name!r} is infinite in row {row}; expected a value, or nothing where there is none")
    if task is None:
        task, why = _task(labels, is_number and not is_category, pa.types.is_integer(cells.type))
        notes += [why] if why else []
    if task == "regression":
        return _values(name, labels, is_number, kept, notes)
    if pa.types.is_boolean(cells.type):
        labels = np.where(labels == 1, "True", "False").astype(object)
    return _classes(name, labels, kept, notes)


def _labels(name: str, cells: Any) -> tuple[Array, bool]:
    """Return the target as float64 with NaN, as int64, or as words with "", and whether they are numbers."""
    import pyarrow as pa

    kind = cells.type
    if pa.types.is_integer(kind) and not cells.null_count:
        return np.array(cells.cast(pa.int64()).to_numpy()), True
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        return to_floats(cells), True
    if pa.types.is_null(kind):
        return np.full(len(cells), np.nan), True
    if any(is_kind(kind) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        return np.asarray(cells.cast(pa.large_string()).fill_null("").to_numpy(), object), False
    raise DataError(f"target {name!r} holds {kind}; expected numbers, text or booleans")


def _missing(labels: Array) -> Array:
    return (labels == "").astype(bool) if labels.dtype == object else np.isnan(labels)


def _task(labels: Array, is_number: bool, is_whole: bool) -> tuple[Task, str]:
    if not is_number:
        return "classification", ""
    different = np.unique(labels)
    n, all_whole = len(different), bool((different == np.trunc(different)).all())
    if all_whole and n <= 2:
        return "classification", ""
    if is_whole and n <= _WHOLE_CLASSES and n * _WHOLE_ROWS <= len(labels):
        return (
            "classification",
            f"the {n} whole numbers of the target are taken as classes; --task regression for values",
        )
    return "regression", ""


def _values(name: str, labels: Array, is_number: bool, kept: Array, notes: list[str]) -> Target:
    if not is_number:
        try:
            labels = labels.astype(np.float64)
        except ValueError as error:
            raise DataError(f"target {name!r} holds text, which no regression can predict: {error}") from error
        if not np.isfinite(labels).all():
            raise DataError(f"target {name!r}: expected finite numbers")
    values = labels.astype(np.float64)
    if values.min() == values.max():
        raise DataError(f"target {name!r} is {values[0]:g} in every row; expected different values to learn from")
    return Target("regression", values, (), kept, tuple(notes))


def _classes(name: str, labels: Array, kept: Array, notes: list[str]) -> Target:
    different, values = np.unique(labels, return_inverse=True)
    counts = np.bincount(values)
    if len(different) > _WHOLE_CLASSES and len(different) > _DISTINCT_SHARE * len(labels):
        raise DataError(
            f"target {name!r} has {len(different)} different classes in {len(labels)} rows; expected classes with "
            f"several rows each" + ("" if labels.dtype == object else "; for values, say --task regression")
        )
    if (counts < 2).any():
        alone = [str(label) for label in different[counts < 2]]
        notes.append(f"classes with a single row are left out: {listed(alone)}")
        mask = counts[values] >= 2
        different, values, kept = different[counts >= 2], (np.cumsum(counts >= 2) - 1)[values[mask]], kept[mask]
    if len(different) < 2:
        found = f"only the class {different[0]!s}" if len(different) else "no class with two rows"
        raise DataError(f"target {name!r} has {found}; expected at least two classes with two rows each")
    if len(different) > MOST_CLASSES:
        raise DataError(f"target {name!r} has {len(different)} classes; expected at most {MOST_CLASSES}")
    return Target("classification", values.astype(np.int64), _names(different), kept, tuple(notes))


def _names(different: Array) -> tuple[str, ...] | tuple[int, ...]:
    """Return labels as a bundle has them: whole numbers stay such, others become text."""
    if different.dtype == object:
        return tuple(map(str, different))
    if (different == np.trunc(different)).all():
        return tuple(map(int, different))
    return tuple(f"{label:g}" if float(f"{label:g}") == label else repr(float(label)) for label in different)
