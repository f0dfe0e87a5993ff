"""A data set to train on: read from a file, typed, checked, with its target and the weights of its rows.

    file -> tables: typed columns, arrays -> target: rows that have one -> columns, stacks: values -> checks -> Dataset

Everything that was left out or changed stands in the notes; what cannot be learned from is a `DataError`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array, listed
from ..zoo.kind import Float64Array
from ..zoo.problem import Problem
from ..zoo.rows import Rows
from .checks import check_input_names, leak
from .columns import Column, Typed, is_list, type_column
from .data_error import DataError
from .folds import deal, part
from .stacks import MOST_INK, Stack, decode_images, is_encoded, stack_array, stack_lists
from .tables import Source, read_source
from .target import Target, read_target
from .weights import read_weights, with_mean_one

LEAST_ROWS = 10

_TOLD = 5
"""Columns that a note tells of; all stand in `Dataset.columns`."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Rows to learn from or to be tested on. Values are never changed; safe to share between threads.

    Attributes:
        problem: their shape; `n_rows` is the number of these rows.
        rows: without the target.
        target: class indices `(n_rows,)` int64, or values `(n_rows,)` float64 of a regression.
        classes: labels in the order of the indices; empty for a regression.
        weights: of the rows `(n_rows,)`, mean 1; None where all count the same.
        columns: each column of the file and what became of it.
        notes: what a reader should know.
        pixel_scale: array of images -> what pixels from 0 to 255 were divided by.
        target_name: name of the predicted column.
    """

    problem: Problem
    rows: Rows
    target: Array
    classes: tuple[str, ...] | tuple[int, ...]
    weights: Float64Array | None
    columns: tuple[Column, ...]
    notes: tuple[str, ...]
    pixel_scale: Mapping[str, float]
    target_name: str

    def take(self, index: Array) -> "Dataset":
        """Return the data set of these rows; weights get the mean 1 again."""
        weights = None if self.weights is None else with_mean_one(self.weights[index])
        target = self.target[index]
        problem = replace(self.problem, n_rows=len(target))
        return replace(self, problem=problem, rows=self.rows.take(index), target=target, weights=weights)


def read_dataset(
    path: Path,
    *,
    target: str,
    image_column: str | None = None,
    image_size: tuple[int, int] | None = None,
    weight_column: str | None = None,
    class_weight: Literal["balanced"] | None = None,
    drop: Sequence[str] = (),
    task: Task | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read a data set.

    Args:
        path: Parquet (a file or a folder), CSV (`.csv`, `.csv.gz`) or NPZ.
        target: name of the column to predict.
        image_column: column of images: encoded, names of files beside the data, or numbers.
        image_size: height and width that encoded images are resized to, or that flat numbers have.
        weight_column: column of the rows' weights.
        class_weight: "balanced" gives each class the same weight in all.
        drop: columns to leave out.
        task: classification or regression, where the target does not tell.
        max_rows: rows to keep at most, drawn from each class in proportion.
        seed: of what is drawn.

    Raises:
        DataError: the file cannot be read, or nothing can be learned from it; says what was found where.
    """
    wholes = () if image_column is None else (image_column,)
    source = read_source(Path(path), drop=drop, whole=wholes)
    _check_named(source, target, image_column, weight_column)
    notes: list[str] = []
    stacks, dropped = _stacks(source, {target, weight_column}, image_column, image_size)
    usable = _usable(source, stacks, image_column, notes)
    found = read_target(target, source.columns[target].take(usable), task)
    kept, found, sampled = _sampled(usable[found.kept], found, max_rows, seed)
    notes += [*found.notes, *sampled]
    if len(kept) < LEAST_ROWS:
        raise DataError(f"{source.path.name} has {len(kept)} rows to learn from; expected {LEAST_ROWS} at least")
    weights = read_weights(weight_column, source.columns, kept, found, class_weight)
    names = [name for name in source.columns if name not in {target, weight_column, image_column, *stacks, *dropped}]
    typed = {name: _checked(type_column(name, _take(source.columns[name], kept)), found, notes) for name in names}
    arrays, scales = _arrays(source, stacks, kept, image_column, image_size)
    facts = {**{name: each.column for name, each in typed.items()}, **dropped}
    facts |= {name: Column(name, "array", f"shape {list(values.shape[1:])}") for name, values in arrays.items()}
    facts |= {name: Column(name, "dropped", "left out as asked") for name in source.left_out}
    facts |= {target: Column(target, "target")} | (
        {weight_column: Column(weight_column, "weight")} if weight_column else {}
    )
    rows, problem = _rows(source.path, [each for each in typed.values() if each.values is not None], arrays, found)
    columns = tuple(facts[name] for name in (*source.names, *source.left_out))
    if lost := [column for column in columns if column.role == "dropped" and column.name not in source.left_out]:
        told = "; ".join(f"{column.name!r} {column.note}" for column in lost[:_TOLD])
        notes.append(f"left out: {told}" + (f"; and {len(lost) - _TOLD:,} more" if len(lost) > _TOLD else ""))
    return Dataset(problem, rows, found.values, found.classes, weights, columns, tuple(notes), scales, target)


def split_test(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Return rows to learn from and a test part of about `fraction` of the rows, or None if that is 0.

    At least two rows of each class stay to learn from, and one of any with three is tested on.

    Raises:
        DataError: the fraction leaves no row on one of the sides.
    """
    if fraction == 0:
        return dataset, None
    n_rows = len(dataset.target)
    n_test = max(1, round(n_rows * fraction))
    index = part(dataset.target, dataset.problem.task, n_test, seed, keep=2, least=1)
    rest = np.setdiff1d(np.arange(n_rows), index)
    if not len(index) or len(rest) < LEAST_ROWS:
        raise DataError(
            f"a test part of {fraction:g} of {n_rows} rows would have {len(index)} rows and leave {len(rest)} to learn "
            f"from; expected 1 and {LEAST_ROWS} at least. Set none aside with --test-fraction 0, or bring more rows"
        )
    return dataset.take(rest), dataset.take(index)


def deal_folds(dataset: Dataset, n_folds: int, seed: int) -> tuple[Array, ...]:
    """Return the rows that each fold holds out `(n_held_out,)`, stratified; every class is among the rest of each.

    Raises:
        DataError: there are fewer rows than folds.
    """
    return deal(dataset.target, dataset.problem.task, n_folds, seed)


def _check_named(source: Source, target: str, image_column: str | None, weight_column: str | None) -> None:
    for what, name in (("target", target), ("image column", image_column), ("weight column", weight_column)):
        if name is not None and name not in source.names:
            raise DataError(f"{source.path.name} has no column {name!r} for the {what}; it has {listed(source.names)}")
        if name in source.arrays and what != "image column":
            raise DataError(f"{what} {name!r} is an array of several axes; expected one value a row")
    if len({target, image_column, weight_column} - {None}) < 1 + (image_column is not None) + (
        weight_column is not None
    ):
        raise DataError(f"target {target!r}, image and weight columns must be different columns")


def _stacks(
    source: Source, other: set[str | None], image_column: str | None, size: tuple[int, int] | None
) -> tuple[dict[str, Stack], dict[str, Column]]:
    """Return the columns of arrays, and those that would be but for their shape."""
    stacks: dict[str, Stack] = {}
    dropped: dict[str, Column] = {}
    lists = {name: cells for name, cells in source.columns.items() if is_list(cells.type) and name not in other}
    for name, values in {**lists, **source.arrays}.items():
        is_image = name == image_column
        stack = stack_lists if name in lists else stack_array
        try:
            stacks[name] = stack(name, values, size, is_image=is_image)
        except DataError as error:
            if is_image:
                raise
            dropped[name] = Column(name, "dropped", str(error).removeprefix(f"column {name!r} "))
    return stacks, dropped


def _usable(source: Source, stacks: Mapping[str, Stack], image_column: str | None, notes: list[str]) -> Array:
    """Return the rows whose arrays are whole."""
    is_usable = np.ones(source.n_rows, bool)
    whole = {name: stack.is_whole for name, stack in stacks.items()}
    if image_column is not None and image_column not in stacks:
        cells = source.columns[image_column]
        if not is_encoded(cells.type):
            raise DataError(
                f"image column {image_column!r} holds {cells.type}; expected images, names of files, or numbers"
            )
        whole[image_column] = cells.is_valid().to_numpy()
    for name, mask in whole.items():
        if not mask.all():
            notes.append(f"{int((~mask).sum()):,} rows are left out: {name!r} is missing there, or not finite")
            is_usable &= mask
    if not is_usable.any():
        raise DataError(f"{source.path.name} has no row in which {listed(list(whole))} are all there and finite")
    return np.flatnonzero(is_usable)


def _sampled(kept: Array, target: Target, max_rows: int | None, seed: int) -> tuple[Array, Target, list[str]]:
    """Return rows and target, of no more than `max_rows`."""
    if max_rows is None or len(kept) <= max_rows:
        return kept, target, []
    if 2 * len(target.classes) > max_rows:
        raise DataError(
            f"--max-rows {max_rows} is too few for {len(target.classes)} classes; expected two rows of each"
        )
    index = part(target.values, target.task, max_rows, seed, least=2)
    note = f"{len(index):,} of {len(kept):,} rows are used, drawn at random"
    return kept[index], replace(target, values=target.values[index], kept=target.kept[index]), [note]


def _take(cells: Any, kept: Array) -> Any:
    return cells if len(kept) == len(cells) else cells.take(kept)


def _checked(typed: Typed, target: Target, notes: list[str]) -> Typed:
    """Return a column, dropped if it gives the target away."""
    if not (why := leak(typed, target)):
        return typed
    name = typed.column.name
    notes.append(f"LEAK: column {name!r} {why}; it is left out, for no model could be judged beside it")
    return Typed(Column(name, "dropped", why))


def _arrays(
    source: Source, stacks: Mapping[str, Stack], kept: Array, image_column: str | None, size: tuple[int, int] | None
) -> tuple[dict[str, Array], dict[str, float]]:
    """Return array -> its values of the kept rows, and what pixels were divided by."""
    arrays = {
        name: stack.values if len(kept) == len(stack.values) else stack.values[kept] for name, stack in stacks.items()
    }
    scales = {name: stack.pixel_scale for name, stack in stacks.items() if stack.pixel_scale is not None}
    if image_column is not None and image_column not in stacks:
        cells = _take(source.columns[image_column], kept)
        arrays[image_column] = decode_images(image_column, cells, source.folder, size, kept)
        scales[image_column] = MOST_INK
    return arrays, scales


def _rows(path: Path, typed: Sequence[Typed], arrays: Mapping[str, Array], target: Target) -> tuple[Rows, Problem]:
    import pandas as pd

    numbers = [each for each in typed if each.column.role == "numbers"]
    words = [each for each in typed if each.column.role == "words"]
    check_input_names([*(each.column.name for each in words), *arrays])
    if not typed and not arrays:
        raise DataError(f"{path.name}: no column is left to learn from")
    dtype = np.float64 if any(each.needs_double for each in numbers) else np.float32
    cells: dict[str, Any] = {}
    for each in typed:
        kind = dtype if each.column.role == "numbers" else object
        cells[each.column.name] = pd.Series(each.values, dtype=kind, copy=False)
    problem = Problem(
        task=target.task,
        n_outputs=len(target.classes) or 1,
        n_rows=len(target.values),
        numeric=tuple(each.column.name for each in numbers),
        text=tuple(each.column.name for each in words),
        n_words={each.column.name: each.n_words for each in words},
        arrays={name: values.shape[1:] for name, values in arrays.items()},
    )
    return Rows(pd.DataFrame(cells) if cells else None, arrays), problem
