"""What becomes of the columns and arrays of an input."""

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pytest
from widedeep.export.spec.inputs import is_shared, stack, table
from widedeep.export.spec.problems import Problem
from widedeep.export.spec.schema import Input

ALL = np.arange(2)


def wish(**keys: Any) -> Input:
    return Input.model_validate(keys)


def test_a_table_without_wishes_stays_as_it_is() -> None:
    frame = pd.DataFrame({"i": [1, 2], "f": [0.5, 1.5], "s": ["x", "y"]})
    pd.testing.assert_frame_equal(table("tabular", frame, wish(), None).take(ALL), frame)


def test_numbers_are_cast_and_text_is_not() -> None:
    frame = pd.DataFrame({"i": [1, 2], "b": [True, False], "s": ["x", "y"]})
    read = table("tabular", frame, wish(dtype="float32"), None).columns(ALL)
    assert (read["i"].dtype, read["b"].dtype) == (np.float32, np.float32)
    assert list(read["s"]) == ["x", "y"]


def test_gaps_cannot_be_cast_to_integers() -> None:
    frame = pd.DataFrame({"i": [1.0, np.nan]})
    with pytest.raises(Problem, match="column 'i' has missing cells, which int64 cannot hold"):
        table("tabular", frame, wish(dtype="int64"), None)


def test_categories_are_in_the_order_given() -> None:
    read = table("tabular", pd.DataFrame({"s": ["x", "y"]}), wish(categories={"s": ["y", "z", "x"]}), None).take(ALL)
    assert list(read["s"].cat.codes) == [2, 0]


def test_a_cell_that_is_no_category_is_named() -> None:
    with pytest.raises(Problem, match="column 's' holds 'y', which is none of 'x', 'z'"):
        table("tabular", pd.DataFrame({"s": ["x", "y"]}), wish(categories={"s": ["x", "z"]}), None)


def test_categories_may_be_whole_numbers() -> None:
    frame = pd.DataFrame({"zip": [30.0, np.nan, 10.0]})
    read = table("tabular", frame, wish(categories={"zip": [30, 20, 10]}), "unknown").take(np.arange(3))
    assert list(read["zip"].cat.codes) == [0, -1, 2]


def test_text_is_no_category_that_is_a_number() -> None:
    with pytest.raises(Problem, match="column 'zip' holds 30, which is none of '30', '20'"):
        table("tabular", pd.DataFrame({"zip": [30, 20]}), wish(categories={"zip": ["30", "20"]}), None)


@pytest.mark.parametrize("cell", [dt.date(2026, 1, 1), [1.0, 2.0]])
def test_cells_that_are_no_text_are_refused_by_name(cell: object) -> None:
    frame = pd.DataFrame({"x": pd.Series([None, cell], dtype=object)})
    with pytest.raises(Problem, match=f"column 'x' holds {type(cell).__name__} in row 1"):
        table("tabular", frame, wish(), "none")


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (np.array([0.1, 0.2]), np.array([0.1, 0.2], np.float32), True),
        (np.array([0.1, 0.2], np.float32), np.array([0.1, 0.2]), True),
        (np.array([1, 2]), np.array([1.0, 2.0], np.float32), True),
        (np.array([1, 0]), np.array([True, False]), True),
        (np.array([0.1, 0.2]), np.array([0.1, 0.25], np.float32), False),
        (np.array([1, 2]), np.array([1.0, np.nan]), False),
        (np.array([1, 2]), np.array(["1", "2"]), False),
    ],
)
def test_one_column_of_a_request_serves_two_inputs_if_binding_makes_both_of_it(
    one: Any, other: Any, shared: bool
) -> None:
    assert is_shared(pd.Series(one), pd.Series(other)) is shared


def test_dates_are_refused_by_name() -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02"])})
    with pytest.raises(Problem, match=r"column 'day' holds datetime64.*name the columns to take in `columns`"):
        table("tabular", frame, wish(), None)


@pytest.mark.parametrize("categorical", [False, True])
def test_missing_text_is_replaced_by_what_stands_for_it(categorical: bool) -> None:
    series = pd.Series(["x", None], dtype="category" if categorical else None)
    read = table("tabular", pd.DataFrame({"s": series}), wish(), "none").take(ALL)
    assert list(read["s"]) == ["x", "none"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"pixels": [[1.0, 2, 3, 4], [5.0, 6, 7, 8]]}),
        pd.DataFrame({"pixels": [[[1.0, 2], [3, 4]], [[5.0, 6], [7, 8]]]}),
        pd.DataFrame([[1.0, 2, 3, 4], [5.0, 6, 7, 8]], columns=list("abcd")),
    ],
)
def test_a_shape_makes_one_array_of_columns_or_of_a_column_of_lists(frame: pd.DataFrame) -> None:
    array = table("image", frame, wish(shape=[2, 2, 1]), None).take(ALL)
    np.testing.assert_array_equal(array, [[[[1], [2]], [[3], [4]]], [[[5], [6]], [[7], [8]]]])


def test_a_shape_of_another_size_is_refused() -> None:
    with pytest.raises(Problem, match=r"shape: rows of \[4\] cannot take the shape \[3\]"):
        stack("image", np.zeros((2, 4)), wish(shape=[3]))


@pytest.mark.parametrize(
    ("keys", "dtype", "value"),
    [
        ({}, np.uint8, 51),
        ({"scale": 255}, np.float32, np.float32(51) / np.float32(255)),
        ({"scale": 255, "dtype": "float64"}, np.float64, 51 / 255),
        ({"dtype": "float32"}, np.float32, 51),
        ({"scale": 17, "dtype": "uint8"}, np.uint8, 3),
    ],
)
def test_an_array_is_divided_in_the_type_that_it_is_cast_to(keys: dict[str, Any], dtype: type, value: float) -> None:
    row = stack("image", np.full((2, 3), 51, np.uint8), wish(**keys)).take(np.array([1]))
    assert row.dtype == dtype
    np.testing.assert_array_equal(row, np.full((1, 3), value, dtype))


@pytest.mark.parametrize(
    ("array", "keys", "pixel_scale"),
    [
        (np.zeros((2, 3, 3), np.uint8), {"scale": 255}, 255),
        (np.zeros((2, 9), np.uint8), {"scale": 255}, 255),
        (np.zeros((2, 3, 3)), {"scale": 255}, 255),
        (np.zeros((2, 3, 3), np.uint8), {"dtype": "float32"}, 1),
        (np.zeros((2, 3, 3), np.uint8), {}, None),
        (np.zeros((2, 3, 3)), {"dtype": "float32"}, None),
        (np.zeros((2, 9)), {"scale": 100}, None),
    ],
)
def test_what_pixels_are_divided_by_is_known_of_arrays_that_hold_pixels(
    array: np.ndarray, keys: dict[str, Any], pixel_scale: float | None
) -> None:
    assert stack("image", array, wish(**keys)).pixel_scale == pixel_scale
