"""Data files: Parquet and CSV by column, NPZ and NPY by array. Nothing here unpickles.

Columns keep their types: numbers as they are, text as text, dictionaries as categories. As in pandas, an integer column
with missing cells is one of floats. In CSV, dates stay the text that they are and an empty cell is a missing one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from .problems import Problem, nearest

TABLES = (".parquet", ".pq", ".csv")
ARRAYS = (".npz", ".npy")


class DataFile:
    """One data file, read where and as far as it is needed."""

    def __init__(self, path: Path) -> None:
        """Look at the file, without reading its rows.

        Raises:
            Problem: there is no such file, or its suffix tells no format that is read here.
        """
        self.path = path
        if not path.exists():
            raise Problem(f"{path} does not exist")
        if path.is_dir() and not any(path.glob("*.parquet")):
            raise Problem(f"{path} is a folder with neither Parquet files nor subfolders of images")
        suffix = ".parquet" if path.is_dir() else path.suffix.lower()
        if suffix not in (*TABLES, *ARRAYS):
            raise Problem(f"{path.name}: expected a file with one of {', '.join((*TABLES, *ARRAYS))}")
        self.is_table = suffix in TABLES
        self._suffix = suffix

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, or of the arrays of an NPZ file; an NPY file has none."""
        with _reading(self.path):
            if self._suffix == ".npy":
                return ()
            if self._suffix == ".npz":
                with np.load(self.path, allow_pickle=False) as archive:
                    return tuple(archive.files)
            if self._suffix == ".csv":
                return tuple(self._csv.column_names)
            import pyarrow.parquet as pq

            schema = pq.ParquetDataset(self.path).schema
            index = {name for name in schema.names if name.startswith("__index_level_")}
            return tuple(name for name in schema.names if name not in index)

    def columns(self, names: Sequence[str]) -> Any:
        """Return columns of a table as a DataFrame.

        Raises:
            Problem: one is not there, or cannot be read.
        """
        self._check(names)
        with _reading(self.path):
            if self._suffix == ".csv":
                table = self._csv.select(list(names))
            else:
                import pyarrow.parquet as pq

                table = pq.read_table(self.path, columns=list(names))
            return _frame(table).loc[:, list(names)]

    def array(self, name: str | None = None) -> Array:
        """Return an array of an NPZ file, or the one of an NPY file, which is mapped and not read.

        Raises:
            Problem: it is not there, or holds Python objects.
        """
        if self._suffix == ".npz":
            if name is None and len(self.names) != 1:
                raise Problem(
                    f"{self.path.name}: say which of {', '.join(self.names)}: {{file = ..., columns = [...]}}"
                )
            name = self.names[0] if name is None else name
            self._check([name])
        what = "the array" if name is None else f"array {name!r}"
        with _reading(self.path):
            try:
                if self._suffix == ".npy":
                    array = np.asanyarray(np.load(self.path, mmap_mode="r", allow_pickle=False))
                else:
                    with np.load(self.path, allow_pickle=False) as archive:
                        array = np.asarray(archive[str(name)])
            except ValueError as error:
                if "pickled data" in str(error):
                    raise Problem(f"{self.path.name} cannot be read: it is no NPY file") from error
                if "Object arrays" not in str(error) and "Python objects" not in str(error):
                    raise
                raise Problem(
                    f"{self.path.name}: {what} holds Python objects, which are never unpickled; save numbers, or text "
                    f"as a numpy array of str"
                ) from error
        if array.ndim == 0:
            raise Problem(f"{self.path.name}: {what} is a single value; expected rows along the first axis")
        return np.asanyarray(array)

    def _check(self, names: Sequence[str]) -> None:
        kind = "column" if self.is_table else "array"
        if missing := [name for name in names if name not in self.names]:
            raise Problem(f"{self.path.name} has no {kind} {missing[0]!r}{nearest(missing[0], self.names)}")
        if twice := [name for name in names if self.names.count(name) > 1]:
            raise Problem(f"{self.path.name} has two columns called {twice[0]!r}")

    @cached_property
    def _csv(self) -> Any:
        import pyarrow as pa
        from pyarrow import csv

        table = csv.read_csv(self.path)
        as_text = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
        empty = {field.name: pa.float64() for field in table.schema if pa.types.is_null(field.type)}
        if as_text or empty:
            table = csv.read_csv(self.path, convert_options=csv.ConvertOptions(column_types=as_text | empty))
        for index, field in enumerate(table.schema):
            if pa.types.is_string(field.type):
                table = table.set_column(index, field.name, _without_empty(table.column(index)))
        return table


def _without_empty(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _frame(table: Any) -> Any:
    """Return an Arrow table as a DataFrame whose columns hold numbers, text, categories or lists."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.float64()))
    frame = table.to_pandas()
    # An index with a name is a column of the file, which pandas takes out of the frame again.
    frame = frame.reset_index(drop=not set(frame.index.names) & set(table.column_names))
    for field in table.schema:
        if pa.types.is_boolean(field.type) and table.column(field.name).null_count:
            frame[field.name] = frame[field.name].astype("boolean")
    return frame


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of what goes wrong inside which file it was about."""
    try:
        yield
    except (Problem, ModuleNotFoundError):
        raise
    except Exception as error:  # pyarrow, numpy and zipfile each have their own
        text = (str(error).strip().splitlines() or [""])[0]
        raise Problem(f"{path.name} cannot be read: {type(error).__name__}: {text}") from error
