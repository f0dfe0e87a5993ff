from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.tensors import DataType, TensorSpec, check_rows

IMAGE = TensorSpec("image", DataType.FP32, (-1, 2, 2))
TABULAR = TensorSpec("tabular", DataType.FP32, (-1, 3), feature_names=("a", "b", "c"))
COLOUR = TensorSpec("colour", DataType.BYTES, (-1, 1))


def one(datatype: DataType, column: Any) -> Any:
    """Bind one plain column `x` and return its values `(n_rows,)`."""
    return bind_columns([TensorSpec("x", datatype, (-1, 1))], {"x": column})["x"][:, 0]


def test_the_columns_that_features_name_are_stacked_in_their_order() -> None:
    bound = bind_columns([TABULAR], {"c": [5.0, 6.0], "a": [1.0, 2.0], "b": [3.0, 4.0]})
    np.testing.assert_array_equal(bound["tabular"], np.array([[1, 3, 5], [2, 4, 6]], np.float32))
    assert check_rows([TABULAR], bound) == 2


@pytest.mark.parametrize(
    "column",
    [
        np.arange(8).reshape(2, 4),
        np.arange(8.0).reshape(2, 2, 2),
        [[0, 1, 2, 3], [4, 5, 6, 7]],
        [[[0, 1], [2, 3]], [[4, 5], [6, 7]]],
        [np.arange(4), np.arange(4, 8)],
        np.array([np.arange(4), np.arange(4.0, 8.0), None], dtype=object)[:2],
    ],
)
def test_a_list_column_of_the_inputs_name_is_read_row_major(column: Any) -> None:
    bound = bind_columns([IMAGE], {"image": column})["image"]
    assert bound.dtype == np.float32
    np.testing.assert_array_equal(bound, np.arange(8, dtype=np.float32).reshape(2, 2, 2))


def test_the_inputs_own_column_comes_before_its_features() -> None:
    columns = {"tabular": [[7, 8, 9]], "a": [1], "b": [2], "c": [3]}
    np.testing.assert_array_equal(bind_columns([TABULAR], columns)["tabular"], [[7, 8, 9]])


def test_a_feature_named_like_its_input_is_one_of_several_columns() -> None:
    spec = TensorSpec("a", DataType.FP32, (-1, 2), feature_names=("a", "b"))
    np.testing.assert_array_equal(bind_columns([spec], {"a": [1], "b": [2]})["a"], [[1, 2]])


def test_columns_that_no_input_names_are_ignored() -> None:
    bound = bind_columns([COLOUR], {"colour": ["red"], "id": [object()]})
    assert list(bound) == ["colour"]


def test_an_array_that_fits_is_not_copied() -> None:
    image = np.zeros((2, 2, 2), np.float32)
    assert np.shares_memory(bind_columns([IMAGE], {"image": image})["image"], image)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "input 'tabular': expected a column 'tabular' or the columns 'a', 'b', 'c', got $"),
        ({"a": [1], "c": [1]}, "input 'tabular': column 'b' is missing; expected the columns 'a', 'b', 'c'"),
        ({"a": [1, 2], "b": [1, 2, 3], "c": [1, 2]}, "column 'b' has 3 rows, column 'a' has 2"),
        ({"a": 1, "b": [1], "c": [1]}, r"column 'a': expected one value a row, got 1 \(int\)"),
        ({"tabular": [[1, 2, 3], [1, 2]]}, r"column 'tabular': expected cells of shape \[3\], got \[2\] in row 1"),
        ({"tabular": np.zeros((2, 4))}, r"column 'tabular': expected cells of shape \[3\], got \[4\] in row 0"),
        ({"a": ["1.5"], "b": [1], "c": [1]}, r"column 'a': expected FP32, got '1.5' \(str\) in row 0"),
        ({"a": np.array(["x"]), "b": [1], "c": [1]}, r"column 'a': expected FP32, got 'x' \(str_\) in row 0"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        bind_columns([TABULAR], columns)


def test_an_input_without_features_asks_for_its_own_column() -> None:
    with pytest.raises(InvalidInput, match="input 'colour': expected a column 'colour', got 'color'"):
        bind_columns([COLOUR], {"color": ["red"]})


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), np.ma.masked])
def test_a_missing_cell_becomes_nan_in_a_float(missing: object) -> None:
    np.testing.assert_array_equal(one(DataType.FP32, [1, missing, 3]), np.array([1, np.nan, 3], np.float32))


def test_a_missing_cell_becomes_the_string_that_stands_for_one_if_text_has_such_a_string() -> None:
    spec = TensorSpec("x", DataType.BYTES, (-1, 1), missing="")
    cells = ["a", None, float("nan"), "b"]
    assert bind_columns([spec], {"x": cells})["x"].tolist() == [["a"], [""], [""], ["b"]]
    assert TensorSpec.from_json(spec.to_json()) == spec


def test_masked_cells_are_missing() -> None:
    column = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    np.testing.assert_array_equal(one(DataType.FP64, column), [1, np.nan, 3])


@pytest.mark.parametrize(
    ("datatype", "column", "expected"),
    [
        (DataType.FP32, np.array([1, 2**24]), [1.0, 2.0**24]),
        (DataType.FP32, np.array([0.1]), [np.float32(0.1)]),
        (DataType.FP32, np.array([np.inf, -np.inf]), [np.inf, -np.inf]),
        (DataType.FP32, [True, False], [1.0, 0.0]),
        (DataType.FP64, [Decimal("0.5"), None], [0.5, np.nan]),
        (DataType.INT64, np.array([3.0, -4.0]), [3, -4]),
        (DataType.INT64, [2**53 + 1], [2**53 + 1]),
        (DataType.UINT8, np.array([0, 255]), [0, 255]),
        (DataType.UINT64, [2**64 - 1], [2**64 - 1]),
        (DataType.INT32, [np.int8(-5), True], [-5, 1]),
        (DataType.BOOL, np.array([0, 1]), [False, True]),
        (DataType.BYTES, ["a", b"\xc3\xa4"], ["a", "ä"]),
        (DataType.BYTES, np.array([b"x", b""]), ["x", ""]),
    ],
)
def test_values_that_survive_are_cast(datatype: DataType, column: Any, expected: list[Any]) -> None:
    bound = one(datatype, column)
    assert bound.dtype == datatype.dtype
    np.testing.assert_array_equal(bound, np.array(expected, datatype.dtype))


@pytest.mark.parametrize(
    ("datatype", "column", "message"),
    [
        (DataType.FP32, np.array([0, 2**24 + 1]), r"FP32 cannot hold 16777217 \(int64\) of row 1"),
        (DataType.FP32, [1.0, 1e39], r"FP32 cannot hold 1e\+39 \(float64\) of row 1"),
        (DataType.INT64, [1.0, 1.5], r"INT64 cannot hold 1.5 \(float64\) of row 1"),
        (DataType.INT64, np.array([2.0**63]), "INT64 cannot hold"),
        (DataType.INT64, np.array([np.nan]), "INT64 cannot hold nan"),
        (DataType.INT64, [1, None], "expected INT64, got a missing value in row 1"),
        (DataType.UINT8, [255, 256], "UINT8 cannot hold 256"),
        (DataType.UINT64, np.array([-1]), "UINT64 cannot hold -1"),
        (DataType.BOOL, [2], "BOOL cannot hold 2"),
        (DataType.BYTES, ["a", 1], r"expected text \(BYTES\), got 1 \(int\) in row 1"),
        (DataType.BYTES, ["a", None], r"expected text \(BYTES\), got a missing value in row 1"),
        (DataType.BYTES, np.array([1.5]), r"expected text \(BYTES\), got 1.5 \(float64\) in row 0"),
        (DataType.BYTES, [b"\xff"], "row 0 is not UTF-8"),
        (DataType.FP32, np.array(["2020-01-01"], "M8[D]"), "expected FP32, got datetime"),
        (DataType.FP64, [1j], "expected FP64, got 1j"),
        (DataType.FP64, [{}], "expected FP64, got {}"),
    ],
)
def test_values_that_would_change_are_refused(datatype: DataType, column: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match="input 'x', column 'x': " + message):
        one(datatype, column)


@pytest.mark.parametrize(
    "column",
    [
        np.zeros((2, 3, 2), np.float32),
        np.zeros((2, 2, 3), np.float32).tolist()[:1] + np.zeros((1, 3, 2)).tolist(),
        [np.zeros((2, 3)), np.zeros((3, 2))],
        [[[1, 2, 3], [4, 5]]],
    ],
)
def test_cells_with_their_axes_in_another_order_are_refused(column: Any) -> None:
    spec = TensorSpec("image", DataType.FP32, (-1, 2, 3))
    with pytest.raises(InvalidInput, match="input 'image', column 'image': expected"):
        bind_columns([spec], {"image": column})


def test_the_row_of_a_bad_value_inside_a_list_cell_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"got 'x' .* in row 1"):
        bind_columns([IMAGE], {"image": [[1, 2, 3, 4], [1, 2, "x", 4]]})


def test_no_rows_bind_to_no_rows() -> None:
    bound = bind_columns([IMAGE, TABULAR, COLOUR], {"image": [], "a": [], "b": [], "c": [], "colour": []})
    assert [array.shape for array in bound.values()] == [(0, 2, 2), (0, 3), (0, 1)]


@given(arrays(np.float32, (5, 3)))
def test_rows_of_floats_come_back_as_they_are(rows: Any) -> None:
    as_columns = bind_columns([TABULAR], {"a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2]})["tabular"]
    as_lists = bind_columns([TABULAR], {"tabular": rows.tolist()})["tabular"]
    np.testing.assert_array_equal(as_columns, rows)
    np.testing.assert_array_equal(as_lists, rows)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1), st.sampled_from(list(DataType)))
def test_an_integer_is_kept_exactly_or_refused(values: list[int], datatype: DataType) -> None:
    try:
        bound = one(datatype, np.array(values))
    except InvalidInput:
        return
    assert [int(value) for value in bound] == values
