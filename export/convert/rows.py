"""Real rows as the caller has them, turned into the tensors that a member declares, and back again.

An array is one tensor. A dict is input name -> array. Of a DataFrame, the numeric columns of one dtype become one
tensor with feature names, and a string or categorical column becomes a tensor of its own with its categories. The way
back matters as much: the trained model must be asked in the form that it was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...serving.contract.errors import InvalidInput
from ...serving.contract.tensors import Array, DataType, TensorSpec
from ..member import ConversionError
from .graph import INNER_NAME, SCORES, Graph

MISSING = ""
"""What stands for a missing value in a column of strings."""

FeatureNames = Mapping[str, Sequence[str]] | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a two-axis tensor.

    Attributes:
        tensor: name of the tensor that holds it.
        index: its place along axis 1.
        name: its feature name, None where there is none.
    """

    tensor: str
    index: int
    name: str | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Real rows as tensors.

    Attributes:
        specs: tensor name -> declaration; NaN is declared legal until the model has been asked.
        arrays: tensor name -> `(n_rows, d1, ...)`.
        columns: every column of the two-axis tensors, in the caller's order.
        dtypes: column name -> pandas dtype, for rows that came as a DataFrame.
        is_array: whether they came as a bare array, so that its tensor's name is only a default.
        named: whether the model was trained on columns with these names, and is asked with a DataFrame.
        gaps: tensor of strings -> what the caller's rows held for a missing one.
    """

    specs: Mapping[str, TensorSpec]
    arrays: Mapping[str, Array]
    columns: tuple[Column, ...]
    dtypes: Mapping[str, Any] = field(default_factory=dict)
    is_array: bool = False
    named: bool = False
    gaps: Mapping[str, Any] = field(default_factory=dict)

    def only(self, names: Sequence[str]) -> "Rows":
        """Return the rows with only the named tensors, in that order.

        Raises:
            ConversionError: one of them is not there.
        """
        if missing := [name for name in names if name not in self.specs]:
            raise ConversionError(f"inputs names {missing[0]!r}, but the rows hold {', '.join(map(repr, self.specs))}")
        return replace(
            self,
            specs={name: self.specs[name] for name in names},
            arrays={name: self.arrays[name] for name in names},
            columns=tuple(sorted((c for c in self.columns if c.tensor in names), key=lambda c: names.index(c.tensor)))
            if not self.dtypes
            else tuple(c for c in self.columns if c.tensor in names),
        )

    def renamed(self, old: str, new: str) -> "Rows":
        """Return the rows with one tensor under another name."""
        return replace(
            self,
            specs={(new if k == old else k): (replace(s, name=new) if k == old else s) for k, s in self.specs.items()},
            arrays={(new if k == old else k): a for k, a in self.arrays.items()},
            columns=tuple(replace(c, tensor=new) if c.tensor == old else c for c in self.columns),
        )

    def match(self, names: Sequence[str] | None, n_features: int) -> "Rows":
        """Return the rows with exactly the columns that a model takes, in the order in which it takes them.

        Args:
            names: feature names that the model was trained with, if any; used where every column here has a name.
            n_features: features that it was trained with.

        Raises:
            ConversionError: a feature is missing, or the number of columns differs.
        """
        by_name = {column.name: column for column in self.columns if column.name is not None}
        if names is not None and len(by_name) == len(self.columns):
            if missing := [name for name in names if name not in by_name]:
                raise ConversionError(
                    f"the model was trained on a feature {missing[0]!r} that the rows lack; they have "
                    f"{_listed(list(by_name))}. Pass rows with the columns of the training data"
                )
            return self._with([by_name[name] for name in names], named=True)
        if len(self.specs) > 1 and not self.dtypes:
            raise ConversionError(
                f"the rows hold {', '.join(map(repr, self.specs))} and the model takes one table; "
                f"say which: inputs=[...]"
            )
        if len(self.columns) != n_features:
            held = ", ".join(f"{spec.name!r} {list(spec.shape)}" for spec in self.specs.values())
            raise ConversionError(f"the model takes {n_features} features; the rows hold {held}")
        return self._with(self.columns, named=False)

    def _with(self, columns: Sequence[Column], *, named: bool) -> "Rows":
        tensors = dict.fromkeys(column.tensor for column in columns)
        return replace(
            self,
            specs={name: self.specs[name] for name in tensors},
            arrays={name: self.arrays[name] for name in tensors},
            columns=tuple(columns),
            named=named,
        )

    def is_text(self, column: Column) -> bool:
        """Whether a column holds strings."""
        return self.specs[column.tensor].datatype is DataType.BYTES

    def known(self, column: Column) -> tuple[Any, ...] | None:
        """Return the categories of a column's pandas dtype, None where it has another one."""
        categories = getattr(self.dtypes.get(str(column.name)), "categories", None)
        return None if categories is None else tuple(categories.tolist())

    def table(self, arrays: Mapping[str, Array]) -> Any:
        """Return the columns of some rows as training had them: a DataFrame if `named`, else an array."""
        held = {name: self._with_gaps(name, arrays[name]) for name in self.specs}
        if not self.named:
            if len(arrays) == 1 and len(self.columns) == arrays[self.columns[0].tensor].shape[1]:
                return held[self.columns[0].tensor]
            return np.stack([held[column.tensor][:, column.index] for column in self.columns], axis=1)
        import pandas as pd

        if len(self.specs) == 1 and not any(self.is_text(c) for c in self.columns):
            # One block; column by column, wide tables take longer to make than to score.
            numbers = held[self.columns[0].tensor][:, [c.index for c in self.columns]]
            frame = pd.DataFrame(numbers, columns=[c.name for c in self.columns])
        else:
            # Left to itself, pandas would take strings for its own type and None for NaN.
            kinds = {c: object if self.is_text(c) else None for c in self.columns}
            frame = pd.DataFrame({c.name: pd.Series(held[c.tensor][:, c.index], dtype=kinds[c]) for c in self.columns})
        own = [str(c.name) for c in self.columns if self.is_text(c) or self.known(c) is not None]
        dtypes = {name: self.dtypes[name] for name in own if name in self.dtypes}
        return frame.astype(dtypes) if dtypes else frame

    def _with_gaps(self, name: str, array: Array) -> Array:
        """Return a tensor with missing values where the string that stands for them is."""
        if self.specs[name].missing is None:
            return array
        out = array.copy()
        out[array == self.specs[name].missing] = self.gaps.get(name)
        return out


def read_rows(rows: Any, *, input_name: str, feature_names: FeatureNames = None) -> Rows:
    """Turn an array, a dict of arrays or a DataFrame into tensors.

    Args:
        rows: the caller's rows.
        input_name: name of an array's tensor and of a DataFrame's numeric columns.
        feature_names: tensor name -> names of its columns, or those of the one tensor there is.

    Raises:
        ConversionError: nothing a tensor can hold, no rows, or inputs that disagree in their number of rows.
    """
    if _is_frame(rows):
        read = _read_frame(rows, input_name)
    else:
        given = rows if isinstance(rows, Mapping) else {input_name: rows}
        names = _by_tensor(feature_names, given)
        gaps: dict[str, Any] = {}
        arrays = {str(name): _tensor(str(name), value, gaps) for name, value in given.items()}
        specs = {name: _spec(name, array, tuple(map(str, names.get(name, ()))), gaps) for name, array in arrays.items()}
        columns = tuple(column for spec in specs.values() for column in _columns(spec))
        read = Rows(specs, arrays, columns, is_array=not isinstance(rows, Mapping), gaps=gaps)
    if SCORES in read.specs:
        raise ConversionError(f"an input cannot be called {SCORES!r}: that is the name of every member's output")
    if taken := [name for name in read.specs if not name or INNER_NAME.fullmatch(name)]:
        raise ConversionError(
            f"an input cannot be called {taken[0]!r}: graphs keep such names for themselves; rename it"
        )
    lengths = {name: len(array) for name, array in read.arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ConversionError(f"expected inputs with the same number of rows, at least one; got {lengths}")
    return read


def assemble(graph: Graph, rows: Rows, *steps: Any, columns: Sequence[Column] | None = None) -> str:
    """Add the tensor `(n_rows, n_columns)` of all or some columns, cast to each of the numpy dtypes `steps` in turn."""
    parts: list[tuple[str, list[int]]] = []
    for column in rows.columns if columns is None else columns:
        if not parts or parts[-1][0] != column.tensor:
            parts.append((column.tensor, []))
        parts[-1][1].append(column.index)
    pieces = []
    for name, indices in parts:
        spec = rows.specs[name]
        piece = graph.input(spec)
        if indices != list(range(spec.shape[1])):
            piece = graph.columns(piece, indices)
        for dtype in steps:
            piece = graph.cast(piece, dtype)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else graph.add("Concat", *pieces, axis=1)


def _read_frame(frame: Any, input_name: str) -> Rows:
    columns = {str(name): frame[name] for name in frame.columns}
    if len(columns) != len(frame.columns):
        raise ConversionError("the DataFrame has two columns of one name; rename one")
    if sparse := [name for name, series in columns.items() if type(series.dtype).__name__ == "SparseDtype"]:
        raise ConversionError(f"column {sparse[0]!r} is sparse; pass dense columns (.sparse.to_dense())")
    numeric = {name: _numeric(name, series) for name, series in columns.items() if series.dtype.kind in "biuf"}
    groups: dict[DataType, list[str]] = {}
    for name, array in numeric.items():
        groups.setdefault(DataType.of(array), []).append(name)
    arrays: dict[str, Array] = {}
    specs: dict[str, TensorSpec] = {}
    gaps: dict[str, Any] = {}
    places: dict[str, Column] = {}
    for datatype, names in groups.items():
        tensor = input_name if len(groups) == 1 else f"{input_name}_{datatype.lower()}"
        if tensor in columns and tensor not in names:
            raise ConversionError(f"column {tensor!r} has the name of the tensor of {_listed(names)}; say input_name=")
        arrays[tensor] = np.stack([numeric[name] for name in names], axis=1)
        specs[tensor] = _spec(tensor, arrays[tensor], tuple(names), gaps)
        places |= {column.name: column for column in _columns(specs[tensor]) if column.name}
    for name in (name for name in columns if name not in numeric):
        if columns[name].dtype.kind in "mM":
            raise ConversionError(_dates(f"column {name!r}", columns[name].dtype))
        arrays[name] = _tensor(name, _category_values(columns[name]), gaps)
        specs[name] = _spec(name, arrays[name], (name,), gaps)
        known = getattr(columns[name].dtype, "categories", None)
        if known is not None and specs[name].datatype is DataType.BYTES:
            missing = () if specs[name].missing is None else (MISSING,)
            specs[name] = replace(specs[name], categories=(*missing, *map(str, known)))
        places[name] = Column(name, 0, name)
    ordered = tuple(places[name] for name in columns)
    return Rows(specs, arrays, ordered, {name: series.dtype for name, series in columns.items()}, gaps=gaps)


def _category_values(series: Any) -> Array:
    """Return the values of a column that is no number: of categories that are numbers those, with NaN for gaps."""
    categories = getattr(series.dtype, "categories", None)
    if categories is None or categories.dtype.kind not in "biuf":
        return np.asarray(series.astype(object).to_numpy())
    return np.asarray(series.astype(np.float64 if series.isna().any() else categories.dtype))


def _numeric(name: str, series: Any) -> Array:
    """Return a numeric column; one of a nullable integer or boolean dtype with gaps becomes float64 with NaN."""
    if series.dtype.kind != "f" and series.isna().any():
        return np.asarray(series.to_numpy(np.float64, na_value=np.nan))
    dtype = np.dtype(getattr(series.dtype, "numpy_dtype", series.dtype))
    return _tensor(name, series.to_numpy(dtype.newbyteorder("=")), {}).reshape(-1)


def _tensor(name: str, value: Any, gaps: dict[str, Any]) -> Array:
    if hasattr(value, "tocsr"):
        raise ConversionError(
            f"input {name!r} is a sparse matrix; pass dense rows (.toarray(), for XGBoost with NaN where the matrix "
            f"holds nothing: it takes that as missing)"
        )
    array = np.asarray(value)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim == 0:
        raise ConversionError(f"input {name!r}: expected rows along the first axis, got the single value {value!r}")
    if array.dtype.kind in "OU":
        return _strings(name, array, gaps)
    if array.dtype.kind in "mM":
        raise ConversionError(_dates(f"input {name!r}", array.dtype))
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    try:
        DataType.of(array)
    except InvalidInput as error:
        raise ConversionError(f"input {name!r}: {error}; convert it to numbers or strings first") from None
    return array


def _strings(name: str, array: Array, gaps: dict[str, Any]) -> Array:
    """Return strings; missing values become `MISSING`, and what stood for them is noted in `gaps`."""
    out, has_empty = array.astype(object), False
    for row, cells in enumerate(out.reshape(len(out), -1)):
        for place, cell in enumerate(cells):
            if cell is None or type(cell).__name__ == "NAType" or (isinstance(cell, float) and np.isnan(cell)):
                if _gap(gaps.setdefault(name, cell)) != _gap(cell):
                    raise ConversionError(
                        f"input {name!r} holds both {gaps[name]!r} and {cell!r} for missing values, which a model may "
                        f"tell apart and a request cannot; train with one of them"
                    )
                cells[place] = MISSING
            elif not isinstance(cell, str):
                raise ConversionError(
                    f"input {name!r}: expected strings, got {cell!r} in row {row}; convert numbers to a numeric dtype, "
                    f"columns of several types to a DataFrame"
                )
            has_empty = has_empty or (isinstance(cell, str) and cell == MISSING)
    if name in gaps and has_empty:
        raise ConversionError(
            f"input {name!r} holds missing values and empty strings; requests write a missing value as an empty "
            f"string, so give one of them a string of its own"
        )
    return out


def _gap(cell: object) -> str:
    """Return the kind of a missing value: NaN in whichever float type, None, or pandas' NA."""
    return "NaN" if isinstance(cell, float) else type(cell).__name__


def _spec(name: str, array: Array, feature_names: tuple[str, ...], gaps: Mapping[str, Any]) -> TensorSpec:
    datatype = DataType.of(array)
    if array.ndim > 1 and feature_names and len(feature_names) != array.shape[1]:
        raise ConversionError(f"input {name!r}: {len(feature_names)} feature names for {array.shape[1]} columns")
    categories = tuple(np.unique(array.astype(str)).tolist()) if datatype is DataType.BYTES else ()
    missing = MISSING if name in gaps else None
    return TensorSpec(name, datatype, (-1, *array.shape[1:]), feature_names, categories, missing=missing)


def _dates(what: str, dtype: Any) -> str:
    return (
        f"{what} holds dates or times ({dtype}); a tensor holds numbers or strings: make features of them before "
        f"training, such as days since a date, the hour or the weekday"
    )


def _columns(spec: TensorSpec) -> list[Column]:
    if len(spec.shape) != 2:
        return []
    single = (spec.name,) if spec.datatype is DataType.BYTES and spec.shape[1] == 1 else (None,) * spec.shape[1]
    names: Sequence[str | None] = spec.feature_names or single
    return [Column(spec.name, index, name) for index, name in enumerate(names)]


def _by_tensor(feature_names: FeatureNames, rows: Mapping[str, Any]) -> Mapping[str, Sequence[str]]:
    if feature_names is None:
        return {}
    if not isinstance(feature_names, Mapping):
        if len(rows) != 1:
            raise ConversionError(f"feature_names: say of which of {sorted(rows)}: feature_names={{input: [...]}}")
        return {next(iter(rows)): feature_names}
    return {name: names for name, names in feature_names.items() if name in rows}


def _is_frame(rows: Any) -> bool:
    return type(rows).__module__.partition(".")[0] == "pandas" and type(rows).__name__ == "DataFrame"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
