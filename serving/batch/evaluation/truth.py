"""From a label column to what predictions are compared with; what cannot be is counted, never an error.

- Classes: a label is matched by its text, so whole numbers match from columns of integers, of floats and of text. Where
  classes are names, a whole number is a place among them, as in training.
- Values: numbers, or text that spells one; for several outputs a list of them a row.
- Null, NaN and empty text say that a row has no label; any other value that does not fit is an unknown label.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...contract.errors import ConfigurationError
from .moments import Ints

UNLABELLED = -1
UNKNOWN = -2


@dataclass(frozen=True, slots=True)
class Labels:
    """The truth of some rows.

    Attributes:
        status: 0 where a row has a truth, else `UNLABELLED` or `UNKNOWN`, `(n_rows,)`.
        truth: of the rows that have one: class places `(n_evaluated,)`, or values `(n_evaluated, n_outputs)`.
        unknown: texts of labels that do not fit, each once.
    """

    status: Ints
    truth: Any
    unknown: tuple[str, ...] = ()


def check_class_type(name: str, kind: Any) -> None:
    """Refuse a label column of a `pyarrow.DataType` that holds no classes.

    Raises:
        ConfigurationError: it names the column.
    """
    if pa.types.is_nested(kind):
        raise ConfigurationError(f"column {name!r} holds {kind}; expected one label a row to evaluate by")


def check_value_type(name: str, kind: Any, n_outputs: int) -> None:
    """Refuse a label column of a `pyarrow.DataType` that holds no values of so many outputs.

    Raises:
        ConfigurationError: it names the column.
    """
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_plain = pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_string(kind)
    is_plain |= pa.types.is_large_string(kind) or pa.types.is_dictionary(kind) or pa.types.is_null(kind)
    if not (is_list or (is_plain and n_outputs == 1)) or pa.types.is_temporal(kind):
        expected = "one number a row" if n_outputs == 1 else f"a list of {n_outputs} numbers a row"
        raise ConfigurationError(f"column {name!r} holds {kind}; expected {expected} to evaluate by")


def check_slice_type(name: str, kind: Any) -> None:
    """Refuse a slice column of a `pyarrow.DataType` that has no plain values.

    Raises:
        ConfigurationError: it names the column.
    """
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ConfigurationError(f"column {name!r} holds {kind}; expected text, numbers, truth values or times")


def distinct(column: Any) -> tuple[Ints, list[Any]]:
    """Return the place of each cell of a `pyarrow.Array` among its distinct values, and these; None is one of them."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64), [None]
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    values = [*column.dictionary.to_pylist(), None]
    places = column.indices.cast(pa.int64()).fill_null(len(values) - 1)
    return np.asarray(places.to_numpy(zero_copy_only=False), np.int64), values


def class_labels(column: Any, classes: Sequence[str]) -> Labels:
    """Return the class places of a label column; `classes` are the labels' texts."""
    places, values = distinct(column)
    known = {text: i for i, text in enumerate(classes)}
    are_places = not any(_is_whole(text) for text in classes)

    def place_of(value: Any) -> int:
        texts = _spellings(value)
        if not texts:
            return UNLABELLED
        for text in texts:
            if text in known:
                return known[text]
        place = texts[-1]
        is_place = are_places and _is_whole(place) and not isinstance(value, bool) and 0 <= int(place) < len(classes)
        return int(place) if is_place else UNKNOWN

    return _labels(places, values, place_of)


def value_labels(column: Any, n_outputs: int) -> Labels:
    """Return the values of a label column, `(n_evaluated, n_outputs)`."""
    if pa.types.is_nested(column.type):
        return _listed_values(column, n_outputs)
    places, values = distinct(column)
    numbers = np.array([math.nan if value is None else _number(value) for value in values])
    labels = _labels(places, values, lambda value: 0 if math.isfinite(_number(value)) else _missing_or_unknown(value))
    return Labels(labels.status, numbers[places[labels.status == 0]][:, None], labels.unknown)


def _labels(places: Ints, values: list[Any], place_of: Callable[[Any], int]) -> Labels:
    found = np.array([place_of(value) for value in values], np.int64)
    truth = found[places]
    met = np.unique(places[truth == UNKNOWN])
    return Labels(np.minimum(truth, 0), truth[truth >= 0], tuple(sorted({str(values[i]) for i in met})))


def _listed_values(column: Any, n_outputs: int) -> Labels:
    values = column.flatten()
    is_plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if is_plain and not column.null_count and pc.all(pc.equal(pc.list_value_length(column), n_outputs)).as_py():
        numbers = np.asarray(values.to_numpy(zero_copy_only=False), np.float64).reshape(-1, n_outputs)
        if np.isfinite(numbers).all():
            return Labels(np.zeros(len(column), np.int64), numbers)
    return _cell_by_cell(column.to_pylist(), n_outputs)


def _cell_by_cell(cells: list[Any], n_outputs: int) -> Labels:
    status, truth, unknown = np.zeros(len(cells), np.int64), [], []
    for row, cell in enumerate(cells):
        numbers = [_number(value) for value in cell] if isinstance(cell, list) else []
        if len(numbers) == n_outputs and all(map(math.isfinite, numbers)):
            truth.append(numbers)
        elif cell is None or (len(numbers) == n_outputs and all(_missing_or_unknown(v) == UNLABELLED for v in cell)):
            status[row] = UNLABELLED
        else:
            status[row] = UNKNOWN
            unknown.append(str(cell)[:_MOST_TEXT])
    return Labels(status, np.array(truth, np.float64).reshape(-1, n_outputs), tuple(sorted(set(unknown))))


_MOST_TEXT = 100

_WHOLE = re.compile(r"(-?[0-9]{1,100})(?:\.0*)?")
"""Also as columns of floats are written to text: `7.0`."""


def _spellings(value: Any) -> tuple[str, ...]:
    """Return the texts that a label may have as a class; none where it is no label."""
    if _missing_or_unknown(value) == UNLABELLED:
        return ()
    if isinstance(value, bool):
        return str(value), str(value).lower(), str(int(value))
    if isinstance(value, float) and value.is_integer():
        return (str(int(value)),)
    text = str(value)
    whole = _WHOLE.fullmatch(text.strip()) if isinstance(value, str) else None
    return text, text.strip(), *((str(int(whole[1])),) if whole else ())


def _is_whole(text: str) -> bool:
    return len(text) <= _MOST_TEXT and text.removeprefix("-").isascii() and text.removeprefix("-").isdecimal()


def _missing_or_unknown(value: Any) -> int:
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return UNLABELLED if is_missing or (isinstance(value, str) and not value.strip()) else UNKNOWN


def _number(value: Any) -> float:
    """Return a number, NaN where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
