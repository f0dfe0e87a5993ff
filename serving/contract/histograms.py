"""Histograms of the rows that a bundle was made with: what the inputs of later rows are compared with.

Export writes them into the bundle as evidence, `evidence/inputs.json`; batch evaluation reads them, no server does.

- A numeric input of one axis has a histogram a column: about `N_BINS` bins of equal mass, or a bin for each value where
  there are fewer, and cells for values below the least, above the largest, and for missing ones (NaN).
- A numeric input of more axes, such as an image, or of more than `MAX_COLUMNS` columns has two: of the means and of the
  standard deviations of its rows.
- A text input of one axis has the counts of each column's `MAX_VALUES` most frequent values, told apart by their first
  `MAX_TEXT` characters. One of more axes, or of more than `MAX_TEXT_COLUMNS` columns, has none.

So the file holds about 0.4 kB a numeric column and at most `MAX_COLUMNS` of them an input.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .bundle import EVIDENCE_FOLDER, Bundle
from .errors import BundleError
from .tensors import Array, DataType, TensorSpec

HISTOGRAMS_FILE = "inputs.json"
FORMAT = 1

N_BINS = 20
N_CELLS = N_BINS + 3
"""Of a numeric column: missing, below the least value, the bins, above the largest."""
MISSING, BELOW, ABOVE = 0, 1, N_CELLS - 1

N_TEXT_CELLS = 3
"""Of a text column, before those of its values: missing, unseen, and seen but not among the most frequent."""
UNSEEN, REST = 1, 2

MAX_COLUMNS = 2048
MAX_TEXT_COLUMNS = 64
MAX_VALUES = 100
MAX_TEXT = 100

_BLOCK_VALUES = 1 << 17
"""Values counted at once: few enough that what is made of them stays in the cache."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class NumericHistograms:
    """Of the columns of one input. A bin holds the values above the edge before it, up to its own.

    Attributes:
        names: of the columns, for people.
        least: each column's least value, `(n_columns,)`.
        edges: between its bins, ascending, `(n_columns, N_BINS - 1)`; where there are fewer bins, `most` fills it up.
        most: its largest value.
        counts: rows by cell, `(n_columns, N_CELLS)`.
    """

    names: tuple[str, ...]
    least: Array
    edges: Array
    most: Array
    counts: Counts

    def count(self, cells: Array) -> Counts:
        """Return how many rows of `cells`, `(n_rows, n_columns)` as `numeric_cells` gives them, fall into each cell.

        Returns:
            `(n_columns, N_CELLS)`.
        """
        n_rows, n_columns = cells.shape
        bounds = [(np.greater_equal, self.least), *((np.greater, edge) for edge in self.edges.T)]
        bounds.append((np.greater, self.most))
        offsets = np.arange(n_columns)[:, None] * N_CELLS
        out = np.zeros(n_columns * N_CELLS, np.int64)
        step = max(1, _BLOCK_VALUES // n_columns)
        for start in range(0, n_rows, step):
            # Turned, so that the innermost loops run over rows: measured 1.4 to 5 times faster, at 4 and 1000 columns.
            block = np.ascontiguousarray(cells[start : start + step].T)
            cell = np.full(block.shape, BELOW, np.uint8)
            for compare, bound in bounds:
                cell += compare(block, bound[:, None]).view(np.uint8)
            if block.dtype.kind == "f":
                cell *= block == block  # noqa: PLR0124  # false for NaN, whose cell is 0
            out += np.bincount((cell + offsets).reshape(-1), minlength=out.size)
        return out.reshape(n_columns, N_CELLS)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the JSON form, one object a column."""
        return [
            {
                "name": name,
                "least": _number(least),
                "edges": [_number(edge) for edge in edges],
                "most": _number(most),
                "counts": counts.tolist(),
            }
            for name, least, edges, most, counts in zip(
                self.names, self.least, self.edges, self.most, self.counts, strict=True
            )
        ]

    @classmethod
    def from_json(cls, data: list[Mapping[str, Any]], dtype: np.dtype[Any]) -> Self:
        """Read the JSON form of columns of a dtype; a column's numbers must be of the sizes that `to_json` gives."""
        one = int if dtype.kind in "iu" else float

        def numbers(values: list[Any]) -> Array:
            return np.array([one(value) for value in values], dtype)

        out = cls(
            tuple(str(column["name"]) for column in data),
            numbers([column["least"] for column in data]),
            np.array([numbers(column["edges"]) for column in data], dtype),
            numbers([column["most"] for column in data]),
            np.array([column["counts"] for column in data], np.int64),
        )
        if out.edges.shape != (len(data), N_BINS - 1) or out.counts.shape != (len(data), N_CELLS):
            raise ValueError(f"expected {N_BINS - 1} edges and {N_CELLS} counts a column")
        return out


@dataclass(frozen=True, slots=True)
class TextHistogram:
    """Of one column of a text input.

    Attributes:
        name: of the column, for people.
        values: the most frequent values -> rows, in falling order.
        rest: rows with any other value.
        missing: rows without a value.
    """

    name: str
    values: Mapping[str, int]
    rest: int
    missing: int

    def count(self, cells: Array, spec: TensorSpec) -> Counts:
        """Return how many rows of `cells`, `(n_rows,)`, fall into each cell.

        Returns:
            `(N_TEXT_CELLS + n_values,)`. Unseen are values that were not among the rows here, nor are declared as
            categories; where neither says of all values whether they were, those that are unknown count as `REST`.
        """
        out = np.zeros(N_TEXT_CELLS + len(self.values), np.int64)
        places = {value: N_TEXT_CELLS + i for i, value in enumerate(self.values)}
        rare = frozenset(category[:MAX_TEXT] for category in spec.categories)
        unknown = UNSEEN if self.knows_all(spec) else REST
        for value, n in Counter(cells.tolist()).items():
            if value is None or value == spec.missing:
                out[MISSING] += n
            else:
                text = value[:MAX_TEXT]
                out[places.get(text, REST if text in rare else unknown)] += n
        return out

    def knows_all(self, spec: TensorSpec) -> bool:
        """Return whether it can be said of every value whether it was seen in training."""
        return self.rest == 0 or bool(spec.categories)

    @property
    def counts(self) -> Counts:
        """Rows by cell."""
        return np.array([self.missing, 0, self.rest, *self.values.values()], np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"name": self.name, "values": dict(self.values), "rest": self.rest, "missing": self.missing}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form."""
        values = {str(value): int(n) for value, n in data["values"].items()}
        return cls(str(data["name"]), values, int(data["rest"]), int(data["missing"]))


@dataclass(frozen=True, slots=True)
class Histograms:
    """Of all inputs that have some. Immutable.

    Attributes:
        n_rows: rows that they were counted of.
        numeric: input name -> its columns.
        text: input name -> its columns.
    """

    n_rows: int
    numeric: Mapping[str, NumericHistograms] = field(default_factory=dict)
    text: Mapping[str, tuple[TextHistogram, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "format": FORMAT,
            "n_rows": self.n_rows,
            "numeric": {name: columns.to_json() for name, columns in self.numeric.items()},
            "text": {name: [column.to_json() for column in columns] for name, columns in self.text.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> Self:
        """Read the JSON form; what is of no declared input, or of another number of columns, is refused."""
        out = cls(
            int(data["n_rows"]),
            {
                name: NumericHistograms.from_json(columns, cells_dtype(specs[name]))
                for name, columns in data["numeric"].items()
            },
            {name: tuple(map(TextHistogram.from_json, columns)) for name, columns in data["text"].items()},
        )
        names = {name: numeric.names for name, numeric in out.numeric.items()}
        names |= {name: tuple(column.name for column in columns) for name, columns in out.text.items()}
        for name, columns in names.items():
            if len(columns) != len(column_names(specs[name])):
                raise ValueError(f"input {name!r} has {len(column_names(specs[name]))} columns, got {len(columns)}")
        return out


def read_histograms(folder: Path, bundle: Bundle) -> Histograms | None:
    """Read the histograms of the bundle at `folder`; None where it has none that are known here.

    Raises:
        BundleError: the file has changed, or is damaged.
    """
    if HISTOGRAMS_FILE not in bundle.evidence:
        return None
    path = folder / EVIDENCE_FOLDER / HISTOGRAMS_FILE
    try:
        text = path.read_bytes()
        if (actual := hashlib.sha256(text).hexdigest()) != (expected := bundle.evidence[HISTOGRAMS_FILE]):
            raise BundleError(f"{path} has changed: expected SHA-256 {expected}, got {actual}")
        data = json.loads(text)
        if data["format"] != FORMAT:
            return None
        return Histograms.from_json(data, {spec.name: spec for spec in bundle.inputs})
    except (OSError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def column_names(spec: TensorSpec) -> tuple[str, ...]:
    """Return the columns that an input has histograms of, named for people; none where it has no histograms."""
    if spec.datatype is DataType.BYTES:
        if len(spec.row_shape) > 1 or spec.row_shape[0] > MAX_TEXT_COLUMNS:
            return ()
    elif is_summarised(spec):
        return f"{spec.name}: mean", f"{spec.name}: standard deviation"
    if spec.feature_names:
        return spec.feature_names
    return (spec.name,) if spec.row_shape == (1,) else tuple(f"{spec.name}[{i}]" for i in range(spec.row_shape[0]))


def is_summarised(spec: TensorSpec) -> bool:
    """Return whether a numeric input's rows are looked at by their means and standard deviations."""
    return len(spec.row_shape) > 1 or spec.row_shape[0] > MAX_COLUMNS


def cells_dtype(spec: TensorSpec) -> np.dtype[Any]:
    """Return the dtype of `numeric_cells`."""
    if is_summarised(spec) or spec.datatype is DataType.FP16:
        return np.dtype(np.float32)
    return np.dtype(np.uint8) if spec.datatype is DataType.BOOL else spec.datatype.dtype


def numeric_cells(spec: TensorSpec, array: Array) -> Array:
    """Return the values that a numeric input's histograms are of, `(n_rows, n_columns)`; missing ones are NaN."""
    if not is_summarised(spec):
        return array.astype(cells_dtype(spec), copy=False)
    n_values = math.prod(spec.row_shape)
    rows = array.reshape(-1, n_values)
    out = np.empty((len(rows), 2), np.float32)
    step = max(1, _BLOCK_VALUES // n_values)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities have no mean, so they count as missing
        for start in range(0, len(rows), step):
            part = rows[start : start + step].astype(np.float32)
            mean = part.sum(axis=1) / np.float32(n_values)
            part -= mean[:, None]
            spread = np.sqrt(np.einsum("ij,ij->i", part, part) / np.float32(n_values))
            out[start : start + step] = np.stack([mean, spread], axis=1)
    return out


def _number(value: Any) -> int | float | str:
    """Return a number as JSON has it, in the fewest digits that give it back; infinities as text."""
    if isinstance(value, np.integer):
        return int(value)
    return float(str(value)) if np.isfinite(value) else str(value)
