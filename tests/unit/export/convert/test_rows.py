import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.rows import Rows, assemble, read_rows
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import DataType
from widedeep.serving.engine.runtime import ort

FRAME = pd.DataFrame(
    {
        "age": [20.5, 31.0, np.nan],
        "city": ["rome", "oslo", "rome"],
        "rooms": [1, 2, 3],
        "income": [1e3, 2e3, 3e3],
        "size": pd.Categorical(["s", "m", "s"], categories=["s", "m", "l"]),
    }
)


def read(rows: object, **options: object) -> Rows:
    return read_rows(rows, **({"input_name": "tabular"} | options))  # type: ignore[arg-type]  # checked by the test


def test_an_array_is_one_tensor_under_the_given_name() -> None:
    rows = read(np.zeros((4, 3), np.float32), input_name="pixels")
    assert {name: (spec.datatype, spec.shape) for name, spec in rows.specs.items()} == {
        "pixels": (DataType.FP32, (-1, 3))
    }
    assert rows.is_array


def test_a_dict_keeps_its_names_and_shapes_and_a_flat_array_is_a_column() -> None:
    rows = read({"image": np.zeros((4, 8, 8, 1), np.uint8), "age": np.zeros(4)})
    assert {name: (spec.datatype, spec.shape) for name, spec in rows.specs.items()} == {
        "image": (DataType.UINT8, (-1, 8, 8, 1)),
        "age": (DataType.FP64, (-1, 1)),
    }
    assert not rows.is_array


def test_numeric_columns_of_a_frame_are_stacked_by_dtype_and_others_stand_alone() -> None:
    rows = read(FRAME)
    assert {name: (spec.datatype, spec.feature_names) for name, spec in rows.specs.items()} == {
        "tabular_fp64": (DataType.FP64, ("age", "income")),
        "tabular_int64": (DataType.INT64, ("rooms",)),
        "city": (DataType.BYTES, ("city",)),
        "size": (DataType.BYTES, ("size",)),
    }
    assert rows.specs["city"].categories == ("oslo", "rome")
    assert rows.specs["size"].categories == ("s", "m", "l")
    assert [column.name for column in rows.columns] == list(FRAME.columns)


def test_numeric_columns_of_one_dtype_are_called_as_an_array_would_be() -> None:
    assert list(read(FRAME[["age", "income"]]).specs) == ["tabular"]


def test_a_nullable_integer_with_gaps_becomes_float64() -> None:
    rows = read(pd.DataFrame({"n": pd.array([1, None, 3], "Int64"), "m": pd.array([1, 2, 3], "Int64")}))
    np.testing.assert_array_equal(rows.arrays["tabular_fp64"], [[1], [np.nan], [3]])
    np.testing.assert_array_equal(rows.arrays["tabular_int64"], [[1], [2], [3]])


def test_a_frame_comes_back_as_it_was() -> None:
    rows = read(FRAME).match(list(FRAME.columns), 5)
    pd.testing.assert_frame_equal(rows.table(rows.arrays), FRAME)


def test_columns_are_matched_by_name_in_the_order_of_the_model() -> None:
    rows = read(FRAME).match(["income", "rooms"], 2)
    assert list(rows.specs) == ["tabular_fp64", "tabular_int64"]
    assert list(rows.table(rows.arrays).columns) == ["income", "rooms"]
    with pytest.raises(ConversionError, match="trained on a feature 'height' that the rows lack"):
        read(FRAME).match(["height"], 1)


def test_feature_names_of_a_dict_serve_the_same_purpose() -> None:
    array = np.arange(6.0).reshape(3, 2)
    for names in ({"tabular": ["a", "b"]}, ["a", "b"]):
        rows = read({"tabular": array}, feature_names=names).match(["b"], 1)
        np.testing.assert_array_equal(rows.table(rows.arrays)["b"], array[:, 1])


def test_without_names_the_number_of_columns_must_agree() -> None:
    rows = read(np.zeros((4, 3)))
    assert rows.match(["a", "b", "c"], 3).table(rows.arrays) is rows.arrays["tabular"]
    with pytest.raises(ConversionError, match=r"takes 5 features; the rows hold 'tabular' \[-1, 3\]"):
        rows.match(None, 5)


def test_of_two_tables_one_must_be_named() -> None:
    rows = read({"a": np.zeros((4, 3)), "b": np.zeros((4, 2))})
    with pytest.raises(ConversionError, match=r"hold 'a', 'b' and the model takes one table; say which: inputs="):
        rows.match(None, 3)
    assert list(rows.only(["b"]).match(None, 2).specs) == ["b"]
    with pytest.raises(ConversionError, match="inputs names 'c', but the rows hold 'a', 'b'"):
        rows.only(["c"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 3)), "at least one"),
        ({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))}, r"same number of rows.*'a': 2, 'b': 3"),
        ({}, "at least one"),
        (5.0, "expected rows along the first axis"),
        (sparse.csr_matrix(np.eye(3)), "sparse matrix; pass dense rows"),
        (np.array([["a"], [3]], object), "expected strings, got 3 in row 1; convert numbers to a numeric dtype"),
        (np.array([1j]), "convert it to numbers or strings first"),
        ({"scores": np.zeros((2, 1))}, "cannot be called 'scores'"),
        ({"#1": np.zeros((2, 1))}, "cannot be called '#1'"),
        ({".1": np.zeros((2, 1))}, r"cannot be called '\.1'"),
        (pd.DataFrame({"": ["a"]}), "cannot be called ''"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns of one name"),
        (
            pd.DataFrame({"tabular": ["a"], "b": [1.0]}),
            "column 'tabular' has the name of the tensor of 'b'; say input_name=",
        ),
        (
            np.array([["a"], [None], [np.nan]], object),
            "both None and nan for missing values, which a model may tell apart",
        ),
        (pd.DataFrame({"s": pd.arrays.SparseArray([0.0, 1.0])}), "column 's' is sparse; pass dense columns"),
    ],
)
def test_rows_that_no_tensor_can_hold_are_refused(rows: object, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        read(rows)


def test_feature_names_must_fit() -> None:
    with pytest.raises(ConversionError, match="2 feature names for 3 columns"):
        read(np.zeros((4, 3)), feature_names=["a", "b"])
    with pytest.raises(ConversionError, match="say of which"):
        read({"a": np.zeros((4, 1)), "b": np.zeros((4, 1))}, feature_names=["a"])


def test_columns_of_several_tensors_are_assembled_in_order_and_cast() -> None:
    rows = read(FRAME).match(["income", "rooms", "age"], 3)
    graph = Graph()
    data = graph.finish(assemble(graph, rows, np.float32), 3).data
    answer = ort.InferenceSession(data).run(None, dict(rows.arrays))[0]
    np.testing.assert_array_equal(answer, FRAME[["income", "rooms", "age"]].to_numpy(np.float32))


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA])
def test_missing_strings_are_written_as_empty_ones_and_come_back_as_they_were(gap: object) -> None:
    frame = pd.DataFrame({"city": pd.Series(["rome", gap], dtype=object), "size": pd.Categorical(["s", None])})
    rows = read(frame)
    assert rows.arrays["city"].tolist() == [["rome"], [""]]
    assert {name: (spec.missing, spec.categories) for name, spec in rows.specs.items()} == {
        "city": ("", ("", "rome")),
        "size": ("", ("", "s")),
    }
    table = rows.match(["city", "size"], 2).table(rows.arrays)
    assert table["city"][1] is gap
    assert table["size"].isna().tolist() == [False, True]
    assert table["size"].dtype == frame["size"].dtype


def test_categories_that_are_numbers_become_a_tensor_of_numbers_of_their_own() -> None:
    frame = pd.DataFrame({"kind": pd.Categorical([10, 20, 10]), "zip": pd.Categorical([1, None, 2]), "age": [1, 2, 3]})
    rows = read(frame)
    assert {name: spec.datatype for name, spec in rows.specs.items()} == {
        "tabular": DataType.INT64,
        "kind": DataType.INT64,
        "zip": DataType.FP64,
    }
    assert (rows.match(["kind", "zip", "age"], 3).table(rows.arrays).dtypes == frame.dtypes).all()


def test_dates_are_refused_by_name() -> None:
    with pytest.raises(ConversionError, match=r"column 'day' holds dates or times \(datetime64"):
        read(pd.DataFrame({"day": pd.to_datetime(["2001-01-01"])}))
    with pytest.raises(ConversionError, match=r"input 'tabular' holds dates or times \(timedelta64"):
        read(np.array([[3]], "timedelta64[s]"))


def test_the_byte_order_of_numbers_is_the_machines() -> None:
    rows = read(np.array([[1.5]], ">f8"))
    assert rows.arrays["tabular"].dtype == np.dtype(np.float64)
    assert rows.arrays["tabular"].tolist() == [[1.5]]
