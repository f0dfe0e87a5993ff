"""From label columns to classes and values."""

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from widedeep.serving.batch.evaluation.truth import (
    UNKNOWN,
    UNLABELLED,
    check_class_type,
    check_slice_type,
    check_value_type,
    class_labels,
    value_labels,
)
from widedeep.serving.contract.errors import ConfigurationError

ANIMALS = ("cat", "dog", "ibex")
NUMBERS = ("7", "3", "-1")


@pytest.mark.parametrize(
    ("column", "classes", "places"),
    [
        (pa.array(["dog", "cat", "ibex"]), ANIMALS, [1, 0, 2]),
        (pa.array(["dog", "cat", "dog"]).dictionary_encode(), ANIMALS, [1, 0, 1]),
        (pa.array(["dog", "cat"], pa.large_string()), ANIMALS, [1, 0]),
        (pa.array([-1, 7, 3]), NUMBERS, [2, 0, 1]),
        (pa.array([7, 3], pa.uint8()), NUMBERS, [0, 1]),
        (pa.array([-1.0, 7.0]), NUMBERS, [2, 0]),
        (pa.array(["-1", "7", " 3", "07"]), NUMBERS, [2, 0, 1, 0]),
        (pa.array(["-1.0", "7.", "3.5", "7" * 5000]), NUMBERS, [2, 0, -2, -2]),
        (pa.array([Decimal("7"), Decimal("3")]), NUMBERS, [0, 1]),
        (pa.array([2, 0], pa.int64()), ANIMALS, [2, 0]),
        (pa.array([True, False]), ("False", "True"), [1, 0]),
        (pa.array([True, False]), ("0", "1"), [1, 0]),
        (pa.array([True, False]), ("no", "true"), [1, -2]),
    ],
)
def test_a_label_is_matched_by_its_text(column: Any, classes: tuple[str, ...], places: list[int]) -> None:
    found = class_labels(column, classes)
    assert found.truth.tolist() == [place for place in places if place >= 0]
    assert found.status.tolist() == [min(place, 0) for place in places]


def test_missing_and_unknown_labels_are_told_apart() -> None:
    found = class_labels(pa.array(["cat", None, "", "Cat", "cow", "Cat"]), ANIMALS)
    assert found.status.tolist() == [0, UNLABELLED, UNLABELLED, UNKNOWN, UNKNOWN, UNKNOWN]
    assert found.truth.tolist() == [0]
    assert found.unknown == ("Cat", "cow")


def test_whole_numbers_are_places_only_where_no_class_is_a_number() -> None:
    assert class_labels(pa.array([0, 1]), NUMBERS).status.tolist() == [UNKNOWN, UNKNOWN]
    assert class_labels(pa.array([3, 1]), ANIMALS).status.tolist() == [UNKNOWN, 0]


@pytest.mark.parametrize("column", [pa.nulls(3), pa.array([None, np.nan, None], pa.float64())])
def test_a_column_without_labels_has_no_truth(column: Any) -> None:
    assert class_labels(column, ANIMALS).status.tolist() == [UNLABELLED] * 3
    assert value_labels(column, 1).truth.shape == (0, 1)


@pytest.mark.parametrize("value", [0.5, float("inf")])
def test_a_number_between_classes_is_unknown(value: float) -> None:
    assert class_labels(pa.array([value]), ANIMALS).status.tolist() == [UNKNOWN]


def test_a_slice_of_a_column_is_read_where_it_lies() -> None:
    assert class_labels(pa.array(["cat", None, "ibex", "dog"]).slice(2), ANIMALS).truth.tolist() == [2, 1]


def test_values_are_numbers_or_spell_one() -> None:
    found = value_labels(pa.array(["1.5", "-2e3", None, "", "many", "nan"]), 1)
    assert found.truth.tolist() == [[1.5], [-2000.0]]
    assert found.status.tolist() == [0, 0, UNLABELLED, UNLABELLED, UNKNOWN, UNKNOWN]
    assert found.unknown == ("many", "nan")


def test_values_that_are_not_finite_are_no_truth() -> None:
    found = value_labels(pa.array([1.0, float("nan"), float("inf"), None]), 1)
    assert found.status.tolist() == [0, UNLABELLED, UNKNOWN, UNLABELLED]


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2), pa.large_list(pa.float64())])
def test_several_outputs_are_a_list_a_row(kind: Any) -> None:
    found = value_labels(pa.array([[1, 2], None, [3, 4]], kind), 2)
    assert found.truth.tolist() == [[1, 2], [3, 4]]
    assert found.status.tolist() == [0, UNLABELLED, 0]


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.list_(pa.float32(), 2)])
def test_a_slice_of_lists_is_read_where_it_lies(kind: Any) -> None:
    column = pa.array([[1, 2], [3, 4], [5, 6], [7, 8]], kind).slice(1, 2)
    found = value_labels(column, 2)
    assert found.truth.tolist() == [[3, 4], [5, 6]]
    assert found.status.tolist() == [0, 0]


def test_a_list_of_another_size_or_with_gaps_is_no_truth() -> None:
    found = value_labels(pa.array([[1.0], [1.0, None], [None, None], [1.0, 2.0]]), 2)
    assert found.status.tolist() == [UNKNOWN, UNKNOWN, UNLABELLED, 0]


def test_a_label_column_that_never_fits_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"column 'y' holds list<item: string>; expected one label a row"):
        check_class_type("y", pa.list_(pa.string()))
    with pytest.raises(ConfigurationError, match=r"column 'y' holds double; expected a list of 3 numbers a row"):
        check_value_type("y", pa.float64(), 3)
    with pytest.raises(ConfigurationError, match=r"column 'y' holds date32\[day\]; expected one number a row"):
        check_value_type("y", pa.date32(), 1)


def test_a_slice_column_without_plain_values_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"column 's' holds list<item: double>; expected text, numbers"):
        check_slice_type("s", pa.list_(pa.float64()))
    check_slice_type("s", pa.dictionary(pa.int8(), pa.string()))
