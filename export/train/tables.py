"""Data files as they are: Parquet and CSV as typed Arrow columns, NPZ as columns and arrays. Nothing is unpickled.

What a cell of CSV is follows the rules by which batch jobs read one, so that a bundle scores the file it learned from:
numbers may be missing in any of their spellings, text stays as written, and only an empty text is a missing one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

from ...serving.batch.sources.cells import NULL_SPELLINGS
from ...serving.contract.tensors import Array, listed
from .data_error import DataError

_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz", ".npz")
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a data file holds.

    Attributes:
        path: the file or folder.
        columns: name -> `pyarrow.ChunkedArray` `(n_rows,)`.
        arrays: name -> `(n_rows, d1, ...)` of numbers.
        left_out: names that were asked to be left out.
    """

    path: Path
    columns: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of columns and arrays."""
        return (*self.columns, *self.arrays)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter({**self.columns, **self.arrays}.values())))

    @property
    def folder(self) -> Path:
        """Where names of files in cells begin."""
        return self.path if self.path.is_dir() else self.path.parent


def read_source(path: Path, *, drop: Sequence[str] = (), whole: Sequence[str] = ()) -> Source:
    """Read a Parquet file, a folder of them, a CSV file (`.csv`, `.csv.gz`) or an NPZ file.

    Args:
        path: file or folder.
        drop: columns to leave out.
        whole: arrays of two axes that are not to become columns.

    Raises:
        DataError: it is not there, of another type, damaged or empty; or has a column twice, or not a dropped one.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    suffix = ".parquet" if path.is_dir() else next((end for end in _SUFFIXES if path.name.lower().endswith(end)), None)
    if suffix is None:
        raise DataError(f"{path.name}: expected a folder of Parquet files or a file with one of {', '.join(_SUFFIXES)}")
    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise DataError(f"{path} is a folder without Parquet files")
    read = _npz if suffix == ".npz" else _csv if suffix.startswith(".csv") else _parquet
    with _reading(path):
        source = read(path, frozenset(drop), frozenset(whole))
    if unknown := [name for name in drop if name not in source.left_out]:
        raise DataError(f"{path.name} has no column {unknown[0]!r} to drop; it has {listed(source.names)}")
    if not source.names:
        raise DataError(f"{path.name} has no columns")
    if not source.n_rows:
        raise DataError(f"{path.name} has no rows")
    return source


def _parquet(path: Path, drop: frozenset[str], _: frozenset[str]) -> Source:
    import pyarrow.parquet as pq

    first = sorted(path.rglob("*.parquet"))[0] if path.is_dir() else path
    _check_once(path, pq.read_schema(first).names)
    names = [name for name in pq.ParquetDataset(path).schema.names if not name.startswith("__index_level_")]
    table = pq.read_table(path, columns=[name for name in names if name not in drop])
    return Source(path, _by_name(table), left_out=tuple(name for name in names if name in drop))


def _csv(path: Path, drop: frozenset[str], _: frozenset[str]) -> Source:
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, parse_options=parse) as opened:
        names = opened.schema.names
    _check_once(path, names)
    kept = [name for name in names if name not in drop]
    convert = csv.ConvertOptions(column_types=dict.fromkeys(kept, pa.string()), include_columns=kept)
    table = csv.read_csv(path, parse_options=parse, convert_options=convert)
    columns = {name: typed_text(cells) for name, cells in _by_name(table).items()}
    return Source(path, columns, left_out=tuple(name for name in names if name in drop))


def typed_text(cells: Any) -> Any:
    """Return a column of text as whole numbers, numbers or times if all its cells are, else as text; null is missing.

    Args:
        cells: `pyarrow.ChunkedArray` of text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(cells)
    is_null = pc.is_in(trimmed, value_set=pa.array(NULL_SPELLINGS))
    present = pc.if_else(is_null, pa.scalar(None, cells.type), trimmed)
    if present.null_count < len(present):
        for kind in (pa.int64(), pa.float64(), pa.timestamp("us")):
            try:
                return present.cast(kind)
            except pa.ArrowInvalid:
                continue
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, cells.type), cells)


def _by_name(table: Any) -> dict[str, Any]:
    return dict(zip(table.column_names, table.columns, strict=True))


def _check_once(path: Path, names: Sequence[str]) -> None:
    if twice := list(dict.fromkeys(name for name in names if names.count(name) > 1)):
        raise DataError(f"{path.name} has more than one column called {listed(twice)}; each needs a name of its own")


def _npz(path: Path, drop: frozenset[str], whole: frozenset[str]) -> Source:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    arrays: dict[str, Array] = {}
    with ZipFile(path) as archive:
        infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for name, info in infos.items():
            if name in drop:
                continue
            array = _array(path, archive, info)
            if array.ndim == 0 or array.dtype.kind not in "biufU":
                raise DataError(
                    f"{path.name}: array {name!r} is {array.dtype} of shape {list(array.shape)}; expected numbers or "
                    f"text with rows along the first axis. Leave it out with --drop, or save it so"
                )
            if array.dtype.kind != "U":
                array = array.view() if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
            if array.ndim > 2 or name in whole:
                arrays[name] = array
            elif array.ndim == 2:
                parts = {f"{name}_{i}": pa.chunked_array([pa.array(array[:, i])]) for i in range(array.shape[1])}
                _check_once(path, [*parts, *(other for other in infos if other in parts)])
                columns |= parts
            else:
                columns[name] = pa.chunked_array([pa.array(array)])
    lengths = {name: len(values) for name, values in {**columns, **arrays}.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{path.name}: expected arrays with the same number of rows, got {lengths}")
    return Source(path, columns, arrays, tuple(name for name in infos if name in drop))


def _array(path: Path, archive: ZipFile, info: ZipInfo) -> Array:
    """Return an array of an archive, mapped where it is stored as it is."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, column_major, dtype = read_header(stream)
        start = stream.tell()
    if dtype.hasobject:
        raise DataError(f"{path.name}: array {info.filename!r} holds Python objects, which are never unpickled")
    if info.compress_type != ZIP_STORED or 0 in shape or not shape:
        with archive.open(info) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(_LOCAL_HEADER_BYTES)
    n_name, n_extra = (int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
    offset = info.header_offset + _LOCAL_HEADER_BYTES + n_name + n_extra + start
    return np.memmap(path, dtype, "r", offset, shape, "F" if column_major else "C")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of what goes wrong inside which file it was about."""
    try:
        yield
    except (DataError, ModuleNotFoundError):
        raise
    except Exception as error:  # pyarrow, numpy and zipfile each have their own
        text = (str(error).strip().splitlines() or [""])[0]
        raise DataError(f"{path.name} cannot be read: {type(error).__name__}: {text}") from error
