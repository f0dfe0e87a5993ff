"""From what a user has at hand to a model's inputs: arrays, dicts, pandas and pyarrow tables.

pandas and pyarrow are recognised by the classes of what is passed in and never imported, so that the base install does
without them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..contract.columns import Column, bind_columns
from ..contract.errors import InvalidInput
from ..contract.tensors import Array, TensorSpec, check_rows

Data = Any
"""An array or list of rows (models with one input), a mapping of input or column name -> values, or a table."""


def bind(specs: Sequence[TensorSpec], data: Data) -> tuple[dict[str, Array], int]:
    """Return a model's inputs by name, checked, and their number of rows.

    Args:
        specs: the model's inputs.
        data: see `Data`; columns become inputs as `bind_columns` says.

    Raises:
        InvalidInput: the data lacks an input or does not fit one.
    """
    inputs = bind_unchecked(specs, data)
    return inputs, check_rows(specs, inputs)


def bind_unchecked(specs: Sequence[TensorSpec], data: Data) -> dict[str, Array]:
    """Return a model's inputs by name, of the declared datatypes and shapes; which values are legal is not looked at.

    Raises:
        InvalidInput: the data lacks an input or does not fit one.
    """
    wanted = {name for spec in specs for name in (spec.name, *spec.feature_names)}
    return bind_columns(specs, _columns(specs, data, wanted))


def _columns(specs: Sequence[TensorSpec], data: Data, wanted: Collection[str]) -> dict[str, Column]:
    """Return the columns of any data that inputs may be bound from."""
    if isinstance(data, Mapping):
        return {name: _column(data[name]) for name in data if name in wanted}
    if _is(data, "pandas", {"DataFrame"}):
        names = [str(label) for label in data.columns]
        columns = (series for _, series in data.items())
        return {name: _column(series) for name, series in _once(names, columns, wanted)}
    if _is(data, "pyarrow", {"Table", "RecordBatch"}):
        return {name: _arrow(column) for name, column in _once(data.schema.names, data.columns, wanted)}
    if not isinstance(data, np.ndarray | list | tuple):
        raise InvalidInput(
            f"expected an array, a mapping of names to arrays, or a pandas or pyarrow table, got {type(data).__name__}"
        )
    if len(specs) != 1:
        names = [spec.name for spec in specs]
        raise InvalidInput(f"the model takes the inputs {names}; expected a mapping or a table, got one array")
    return {specs[0].name: data}


def _once(names: Sequence[str], columns: Iterable[Any], wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
    """Yield the wanted columns with their names, each of which must be there once at most."""
    times = Counter(names)
    for name, column in zip(names, columns, strict=True):
        if name in wanted:
            if times[name] > 1:
                raise InvalidInput(f"column {name!r} is there {times[name]} times; expected it once")
            yield name, column


def _column(values: Any) -> Column:
    if _is(values, "pyarrow", {"Array", "ChunkedArray"}):
        return _arrow(values)
    if _is(values, "pandas", {"Series"}):
        # Without a dtype, integers beside a missing value would pass through a float.
        whole = isinstance(values.dtype, np.dtype) or not values.hasnans
        return np.asarray(values.to_numpy() if whole else values.to_numpy(dtype=object))
    return values  # type: ignore[no-any-return]  # bind_columns takes whatever numpy takes


def _arrow(values: Any) -> Column:
    """Return an Arrow column; integers with nulls keep their values, and lists of one length become further axes."""
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    if hasattr(values, "chunks"):  # some versions leave an empty column chunked
        values = values.to_pylist()
        return np.fromiter(values, object, len(values))
    if hasattr(values, "to_numpy_ndarray"):  # the canonical tensor type
        return np.asarray(values.to_numpy_ndarray())
    if hasattr(values, "dictionary_decode"):
        values = values.dictionary_decode()
    if hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        return _arrow_lists(values)
    kind = str(values.type)
    is_whole = kind.startswith(("int", "uint", "bool"))
    if kind in {"halffloat", "float", "double"} or (is_whole and values.null_count == 0):
        return np.asarray(values.to_numpy(zero_copy_only=False))
    if is_whole:
        numbers = values.fill_null(False if kind == "bool" else 0).to_numpy(zero_copy_only=False)
        return np.ma.MaskedArray(numbers, values.is_null().to_numpy(zero_copy_only=False))
    cells = values.to_pylist()
    return np.fromiter(cells, object, len(cells))


def _arrow_lists(lists: Any) -> Column:
    lengths = set(lists.value_lengths().to_pylist())
    if len(lengths) != 1 or lists.null_count:
        cells = lists.to_pylist()
        return np.fromiter(cells, object, len(cells))
    inner = np.asanyarray(_arrow(lists.flatten()))  # masked where whole numbers are missing
    return inner.reshape((len(lists), *lengths, *inner.shape[1:]))


def _is(data: object, package: str, names: Collection[str]) -> bool:
    """Return whether an object is of one of a package's classes, or of one derived from it."""
    return any(cls.__name__ in names and cls.__module__.partition(".")[0] == package for cls in type(data).__mro__)
