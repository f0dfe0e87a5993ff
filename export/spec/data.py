"""The rows of an export file: what each input holds, the truth, and scores that were given.

A table stays in memory, an NPY file is mapped, and images are decoded a chunk at a time.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...serving.contract.tensors import Array
from . import images
from .inputs import Source, Stack, Table, is_shared, stack, table
from .problems import Problem
from .schema import Input, Place, Sheet
from .tables import DataFile

Where = tuple[str, ...]

DEFAULT_INPUT = "tabular"
DEFAULT_IMAGE = "image"
BARE = Input.model_validate({})


@dataclass(frozen=True, slots=True)
class Dataset:
    """All that an export file says about rows, read.

    Attributes:
        inputs: input name -> its rows.
        target: labels `(n_rows,)`, or values `(n_rows,)` or `(n_rows, n_outputs)`.
        classes: the classes of a folder of images, else empty.
        scores: member -> scores given `(n_rows, n_columns)`.
        expected: member -> the trained model's own answers `(n_rows, n_columns)`.
    """

    inputs: Mapping[str, Source]
    target: Array
    classes: tuple[str, ...]
    scores: Mapping[str, Array]
    expected: Mapping[str, Array]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.target)


def read_data(sheet: Sheet) -> Dataset:
    """Read the rows that an export file names.

    Raises:
        SpecError: a file, column or array is not there or cannot be read, or two differ in their number of rows.
    """
    return _Reader(sheet).read()


class _Reader:
    """Reads the rows of one export file; every file is opened once."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._spec = sheet.spec
        self._open: dict[Path, DataFile] = {}
        self._key = ("data", "held_out" if self._spec.data.held_out else "rows")

    def read(self) -> Dataset:
        with self._sheet.blame(*self._key):
            if not self._path.exists():
                raise Problem(f"{self._path} does not exist")
            if not self._classes:
                self._file(self._path)
            inputs = self._inputs()
        target = self._target()
        for name, source in inputs.items():
            self._check_length(("inputs", name), len(source), len(target))
        read: dict[str, dict[str, Array]] = {"scores": {}, "expected": {}}
        for name, member in self._spec.members.items():
            for key, place in (("scores", member.scores), ("expected", member.expected)):
                if place is not None:
                    read[key][name] = self._given(("members", name, key), place, name, len(target))
        return Dataset(inputs, target, self._classes, read["scores"], read["expected"])

    @cached_property
    def _path(self) -> Path:
        return self._sheet.resolve(self._spec.data.file)

    @cached_property
    def _classes(self) -> tuple[str, ...]:
        """The subfolders of images, if the data file is a folder of them."""
        return images.class_folders(self._path) if self._path.is_dir() else ()

    def _file(self, path: Path) -> DataFile:
        if path not in self._open:
            self._open[path] = DataFile(path)
        return self._open[path]

    def _inputs(self) -> dict[str, Source]:
        declared = dict(self._spec.inputs)
        if not declared:
            if self._classes:
                declared = {DEFAULT_IMAGE: BARE}
            elif self._path.suffix.lower() == ".npz":
                taken = {name for place in self._places() for name in place.columns} | set(self._spec.members)
                declared = {name: BARE for name in self._file(self._path).names if name not in taken}
            else:
                declared = {DEFAULT_INPUT: BARE}
        inputs = {name: self._input(name, declared[name]) for name in declared}
        self._check_names(inputs)
        return inputs

    def _input(self, name: str, wish: Input) -> Source:
        key = next((key for key in ("folder", "file", "columns") if getattr(wish, key)), None)
        where = ("inputs", name, *([key] if key else [])) if name in self._spec.inputs else self._key
        with self._sheet.blame(*where):
            if wish.folder is not None or (self._classes and wish.file is None):
                return stack(name, self._images(wish), wish)
            if unfit := [key for key in ("size", "channels") if getattr(wish, key)]:
                raise Problem(f"{unfit[0]} is for image files; say which by `folder` and `files`")
            file = self._file(self._sheet.resolve(wish.file) if wish.file else self._path)
            if file.is_table:
                return self._table(name, wish, file)
            if wish.categories:
                raise Problem("categories are for the columns of a table; this file has arrays")
            if len(wish.columns) > 1:
                raise Problem(f"columns: expected the one array of {file.path.name}, got {len(wish.columns)}")
            return stack(name, file.array(wish.columns[0] if wish.columns else name), wish)

    def _images(self, wish: Input) -> images.Images:
        if wish.folder is None:
            files, _ = images.files_by_class(self._path, self._classes)
            return images.Images(files, wish.size, wish.channels)
        column = self._column(self._file(self._path), str(wish.files))
        files = images.files_by_name(self._sheet.resolve(wish.folder), list(column))
        return images.Images(files, wish.size, wish.channels)

    def _table(self, name: str, wish: Input, file: DataFile) -> Source:
        if wish.features:
            raise Problem("features are the names of an array's columns; the columns of a table have names")
        taken = {column for place in self._places() if self._is_in(place, file) for column in place.columns}
        if _same(file.path, self._path):
            taken |= {other.files for other in self._spec.inputs.values() if other.files is not None}
        names = wish.columns or tuple(column for column in file.names if column not in taken)
        if not names:
            raise Problem(f"{file.path.name} has no columns beside the target")
        return table(name, file.columns(names), wish, self._spec.data.missing_text)

    def _target(self) -> Array:
        place = self._spec.data.target
        where = ("data", "target")
        if place is None:
            if not self._classes:
                raise self._sheet.problem("data", message="target is missing")
            return np.array(images.files_by_class(self._path, self._classes)[1], object)
        with self._sheet.blame(*where):
            file = self._file(self._sheet.resolve(place.file) if place.file else self._path)
            if file.is_table:
                if not place.columns:
                    raise Problem(f"{file.path.name} is a table; say which column: {{file = ..., columns = [...]}}")
                columns = [self._column(file, name) for name in place.columns]
                target = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
            else:
                target = file.array(place.columns[0] if place.columns else None)
            return _complete(target)

    def _column(self, file: DataFile, name: str) -> Array:
        if not file.is_table:
            return file.array(name)
        values = file.columns([name])[name]
        return np.asarray(values, object) if values.dtype.kind == "O" else values.to_numpy()

    def _given(self, where: Where, place: Place, member: str, n_rows: int) -> Array:
        """Return scores `(n_rows, n_columns)` that a file holds."""
        with self._sheet.blame(*where):
            file = self._file(self._sheet.resolve(place.file) if place.file else self._path)
            if file.is_table and not place.columns:
                raise Problem(f"{file.path.name} is a table; say which columns: {{file = ..., columns = [...]}}")
            read = file.columns(place.columns).to_numpy() if file.is_table else file.array([*place.columns, member][0])
            try:
                scores = np.asarray(read, np.float64).reshape(len(read), -1)
            except (TypeError, ValueError) as error:
                raise Problem(f"{file.path.name}: expected numbers: {error}") from error
        self._check_length(where, len(scores), n_rows)
        if len(bad := np.argwhere(~np.isfinite(scores))):
            raise self._sheet.problem(
                *where, message=f"expected finite scores, got {scores[tuple(bad[0])]} in row {bad[0][0]}"
            )
        return scores

    def _places(self) -> list[Place]:
        """Return where target and given scores are."""
        members = self._spec.members.values()
        found = [self._spec.data.target, *(m.scores for m in members), *(m.expected for m in members)]
        return [place for place in found if place is not None]

    def _is_in(self, place: Place, file: DataFile) -> bool:
        return _same(self._sheet.resolve(place.file) if place.file else self._path, file.path)

    def _check_length(self, where: Where, n_rows: int, expected: int) -> None:
        if n_rows != expected:
            raise self._sheet.problem(*where, message=f"has {n_rows} rows, the target has {expected}")

    def _check_names(self, inputs: Mapping[str, Source]) -> None:
        """Refuse what a request could not tell apart: a column with the name of an array or of another column."""
        arrays = {name for name, source in inputs.items() if isinstance(source, Stack)}
        for name, source in inputs.items():
            if isinstance(source, Table) and (both := [c for c in source.frame.columns if str(c) in arrays]):
                raise self._sheet.problem(
                    "inputs", name, "columns", message=f"column {both[0]!r} has the name of another input; rename one"
                )
        tables = [source for source in inputs.values() if isinstance(source, Table)]
        for one, other in itertools.combinations(tables, 2):
            for column in one.frame.columns.intersection(other.frame.columns):
                first, second = one.frame[column], other.frame[column]
                if not is_shared(first, second):
                    message = (
                        f"column {column!r} ({second.dtype}) is another one in input {one.name!r} ({first.dtype}), and "
                        f"a request holds one of a name; say the same dtype, scale and categories in both, or shape = "
                        f"[{len(other.frame.columns)}] here, which makes one array {other.name!r} of the columns"
                    )
                    raise self._sheet.problem("inputs", other.name, "columns", message=message)


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths are of one file, however each is written: else a target would pass as a feature."""
    return one.resolve() == other.resolve()


def _complete(target: Array) -> Array:
    import pandas as pd

    missing = np.array([pd.isna(cell) for cell in target.ravel().tolist()], np.bool_)
    if len(target) == 0:
        raise Problem("there are no rows")
    if missing.any():
        raise Problem(f"the target is missing in row {int(np.argmax(missing)) // (target.size // len(target))}")
    return np.asarray(target)
