"""The table that passes from step to step of a scikit-learn model, while it is written as a graph.

A table is several tensors side by side, each of one type, as numpy and pandas would hold it: a DataFrame's columns
keep their own types until a step makes one array of them. Each column remembers which column of the input it was made
from and how to take a value back there, so that a tree's threshold behind three steps can still be probed in front.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .rows import Rows, assemble
from .values import TEXT, Value, side_by_side

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


Function = Callable[[Array], Array]
"""From values of a column `(n,)` to values of another."""


@dataclass(frozen=True, slots=True)
class Bend:
    """Steps from a column on of which the first cannot be repeated to the last digit.

    Attributes:
        source: the column in front of them, `(n_rows, 1)`.
        steps: what the original makes of its values, step by step; each rises.
    """

    source: Value
    steps: tuple[Function, ...]

    def forward(self, values: Array) -> Array:
        """Return what the steps make of values."""
        for step in self.steps:
            values = step(values)
        return values


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a column comes from.

    Attributes:
        column: its place among the columns of the input.
        back: from values of the column to those of the input, step by step.
        bend: the steps from the first inexact one on, None where there is none.
    """

    column: int
    back: tuple[Function, ...] = ()
    bend: Bend | None = None

    def behind(self, back: Function, forward: Function, source: Value | None = None) -> "Origin":
        """Return the origin of a column made from this one by a rising step; `source` is this one, if inexactly."""
        bend = self.bend
        if bend is not None:
            bend = Bend(bend.source, (*bend.steps, forward))
        elif source is not None:
            bend = Bend(source, (forward,))
        return Origin(self.column, (back, *self.back), bend)

    def take_back(self, values: Array) -> Array:
        """Return the values of the input that give these values here; what has none is left out."""
        for step in self.back:
            values = np.asarray(step(values), np.float64)
        return np.unique(values[np.isfinite(values)])


@dataclass(frozen=True, slots=True)
class Part:
    """Columns of one type.

    Attributes:
        value: `(n_rows, n_columns)`.
        origins: of each column, None where it is not made from a single one by a rising or falling function.
        known: the categories of a pandas dtype; what is not among them counts as missing.
        missing: the string that stands for a missing value.
    """

    value: Value
    origins: tuple[Origin | None, ...]
    known: tuple[Any, ...] | None = None
    missing: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return self.value.dtype == TEXT

    def pick(self, places: Sequence[int]) -> "Part":
        """Return some of the columns."""
        if list(places) == list(range(len(self.origins))):
            return self
        return replace(self, value=self.value.columns(places), origins=tuple(self.origins[i] for i in places))


@dataclass(frozen=True, slots=True)
class Table:
    """What a step takes and gives.

    Attributes:
        parts: side by side.
        is_frame: whether it still is the caller's DataFrame or a selection of its columns.
        is_sparse: whether it is a sparse matrix, whose zeros some libraries take as missing.
    """

    parts: tuple[Part, ...]
    is_frame: bool = False
    is_sparse: bool = False

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(len(part.origins) for part in self.parts)

    @property
    def origins(self) -> tuple[Origin | None, ...]:
        """Of all columns."""
        return tuple(origin for part in self.parts for origin in part.origins)

    @property
    def columns(self) -> list[Part]:
        """Every column as a part of its own."""
        return [part.pick([i]) for part in self.parts for i in range(len(part.origins))]

    def select(self, places: Sequence[int]) -> "Table":
        """Return some of the columns, in that order."""
        where = [(p, i) for p, part in enumerate(self.parts) for i in range(len(part.origins))]
        runs: list[tuple[int, list[int]]] = []
        for p, i in (where[place] for place in places):
            if not runs or runs[-1][0] != p:
                runs.append((p, []))
            runs[-1][1].append(i)
        return replace(self, parts=tuple(self.parts[p].pick(chosen) for p, chosen in runs))

    def array(self, who: str) -> Value:
        """Return all columns as one array in the type that numpy would give it.

        Raises:
            ConversionError: it holds strings; `who` is named as the one that wants numbers.
        """
        if text := [part for part in self.parts if part.is_text]:
            raise ConversionError(
                f"a column of strings reaches {who}, which computes with numbers"
                f"{_named(text[0])}; encode it before (OneHotEncoder, OrdinalEncoder, TargetEncoder)"
            )
        if not self.parts:
            raise ConversionError(f"no column is left for {who}; keep at least one")
        return side_by_side([_known_only(part) for part in self.parts])

    def numbers(self, who: str) -> Value:
        """Return all columns as one array of float32 where numpy would keep that, else of float64.

        Raises:
            ConversionError: it holds strings.
        """
        array = self.array(who)
        if array.dtype == np.float16:
            return array.astype(np.float32)
        return array if array.dtype in FLOATS else array.astype(np.float64)

    def through(
        self,
        value: Value,
        back: Callable[[int], Function],
        forward: Callable[[int], Function],
        *,
        source: Value | None = None,
    ) -> "Table":
        """Return a table of `value`, whose columns are made from those here one by one by rising steps.

        Args:
            value: `(n_rows, n_columns)`.
            back: column -> function from values there to values here.
            forward: column -> function from values here to values there, as the original computes them.
            source: the columns here, if the steps cannot be repeated to the last digit.
        """
        origins = [
            None if o is None else o.behind(back(i), forward(i), None if source is None else source.columns([i]))
            for i, o in enumerate(self.origins)
        ]
        return replace(self.made(value, 0), parts=(Part(value, tuple(origins)),))

    def made(self, value: Value, width: int) -> "Table":
        """Return a table of new columns."""
        return Table((Part(value, (None,) * width),), is_sparse=self.is_sparse)


def table_of(graph: Graph, rows: Rows) -> Table:
    """Return the input as the trained model would see it: a DataFrame if it was trained on one, else one array."""
    parts = []
    for run in _runs(rows):
        name = rows.columns[run[0]].tensor
        columns = [rows.columns[i] for i in run]
        value = Value(graph, assemble(graph, rows, columns=columns), rows.specs[name].datatype.dtype)
        known = rows.known(columns[0]) if rows.named else None
        parts.append(Part(value, tuple(map(Origin, run)), known, rows.specs[name].missing))
    numeric = [part.value.dtype for part in parts if not part.is_text]
    if not rows.named and len(numeric) == len(parts):
        common = np.result_type(*numeric)
        parts = [replace(part, value=part.value.astype(common)) for part in parts]
    return Table(tuple(parts), is_frame=rows.named)


def joined(tables: Sequence[Table], *, is_sparse: bool = False) -> Table:
    """Return tables side by side."""
    return Table(
        tuple(part for table in tables for part in table.parts),
        is_frame=bool(tables) and all(table.is_frame for table in tables),
        is_sparse=is_sparse,
    )


def codes(column: Part, categories: Array, who: str) -> Value:
    """Return each cell's place among categories, `(n_rows, 1)`, -1 where it is none of them.

    Raises:
        ConversionError: the cells are strings and the categories numbers, or the other way round.
    """
    known = categories.tolist()
    missing = next((i for i, category in enumerate(known) if is_missing(category)), -1)
    present = {category: i for i, category in enumerate(known) if not is_missing(category)}
    if column.is_text != all(isinstance(category, str) for category in present):
        came = "strings" if column.is_text else "numbers"
        raise ConversionError(
            f"{who}: the column{_named(column)} holds {came} and the categories of the training data are "
            f"{list(present)[:5]}; pass rows with the types of the training data"
        )
    if column.is_text:
        return _codes_of_text(column, {str(category): i for category, i in present.items()}, missing)
    return _codes_of_numbers(_known_only(column), present, missing)


def is_missing(value: object) -> bool:
    """Whether a cell or category is None, NaN or pandas' NA."""
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value  # noqa: PLR0124  # NaN


def _codes_of_text(column: Part, present: dict[str, int], missing: int) -> Value:
    places = dict.fromkeys(column.known or (), -1) | present
    if column.missing is not None:
        places[column.missing] = missing
    if column.known is not None:
        places = {key: place for key, place in places.items() if key in {*column.known, column.missing}}
    default = -1 if column.known is None else missing
    return column.value.lookup(list(places), list(places.values()), default)


def _codes_of_numbers(value: Value, present: dict[Any, int], missing: int) -> Value:
    if value.dtype.kind in "biu" and all(float(key).is_integer() for key in present):
        return value.lookup([int(key) for key in present], list(present.values()), -1)
    if not present:
        return value.isnan().where(np.int64(missing), np.int64(-1))
    keys = np.array(list(present))
    numbers = value if value.dtype.kind == "f" else value.astype(np.float64)
    same = numbers.equals(keys[np.newaxis].astype(keys.dtype if keys.dtype.kind == "f" else np.float64))
    place = same.astype(np.float32).argmax().gather(np.array(list(present.values()), np.int64))
    found = same.astype(np.float32).max() > 0
    return found.where(place, numbers.isnan().where(np.int64(missing), np.int64(-1)))


def _known_only(part: Part) -> Value:
    """Return numbers with those that a pandas category dtype does not know as missing values."""
    if part.known is None or part.is_text:
        return part.value
    known = np.array([float(category) for category in part.known if not is_missing(category)])
    number = part.value.astype(np.float64)
    return (number.reshape(0, 1).equals(known[np.newaxis]).astype(np.float32).max() > 0).where(number, np.nan)


def _runs(rows: Rows) -> list[list[int]]:
    """Return places of neighbouring columns that come from one tensor and have no pandas categories of their own."""
    runs: list[list[int]] = []
    for i, column in enumerate(rows.columns):
        alone = rows.known(column) is not None
        before = rows.columns[runs[-1][-1]] if runs else None
        if before and not alone and before.tensor == column.tensor and rows.known(before) is None:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


def _named(part: Part) -> str:
    return f" {part.value.name!r}" if not part.value.name.startswith(".") else ""
