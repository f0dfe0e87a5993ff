import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from widedeep.serving.client.tables import bind
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.tensors import DataType, TensorSpec

IMAGE = TensorSpec("image", DataType.FP32, (-1, 2, 2))
TABULAR = TensorSpec("tabular", DataType.FP64, (-1, 2), feature_names=("age", "fare"))
COLOUR = TensorSpec("colour", DataType.BYTES, (-1, 1))
COUNT = TensorSpec("count", DataType.INT64, (-1, 1))

AGES, FARES, COLOURS = [30, None, 50], [7.5, 8.5, float("nan")], ["red", "blue", "red"]


def pandas_frame() -> Any:
    return pd.DataFrame({"age": AGES, "fare": FARES, "colour": COLOURS, "ignored": pd.Timestamp("2020-01-01")})


def pandas_nullable() -> Any:
    return pandas_frame().astype({"age": "Int64", "colour": "category"})


def pandas_on_arrow() -> Any:
    return pa_table().to_pandas(types_mapper=pd.ArrowDtype)


def pa_table() -> Any:
    return pa.table({"colour": COLOURS, "age": AGES, "fare": FARES, "ignored": [b"", b"", b""]})


def pa_chunks() -> Any:
    return pa.concat_tables([pa_table().slice(0, 1), pa_table().slice(1)])


def pa_batch() -> Any:
    return pa_table().to_batches()[0]


def pa_dictionary() -> Any:
    table = pa_table()
    return table.set_column(0, "colour", table["colour"].dictionary_encode())


@pytest.mark.parametrize(
    "table",
    [
        pandas_frame,
        pandas_nullable,
        pandas_on_arrow,
        pa_table,
        pa_chunks,
        pa_batch,
        pa_dictionary,
        lambda: {"age": AGES, "fare": np.array(FARES), "colour": COLOURS},
        lambda: {"age": pd.Series(AGES, dtype="Int64"), "fare": pa.array(FARES), "colour": pd.Series(COLOURS)},
    ],
)
def test_tables_of_every_kind_become_the_same_inputs(table: Any) -> None:
    inputs, n_rows = bind((TABULAR, COLOUR), table())
    assert n_rows == 3
    np.testing.assert_array_equal(inputs["tabular"], [[30, 7.5], [np.nan, 8.5], [50, np.nan]])
    assert inputs["colour"].tolist() == [["red"], ["blue"], ["red"]]


IMAGES = np.arange(12.0).reshape(3, 2, 2)
FLAT = IMAGES.reshape(3, 4).tolist()


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"image": list(IMAGES)}),
        pd.DataFrame({"image": FLAT}),
        pa.table({"image": FLAT}),
        pa.table({"image": pa.array(FLAT, pa.list_(pa.float32(), 4))}),
        pa.table({"image": pa.array(IMAGES.tolist(), pa.large_list(pa.list_(pa.float64())))}).slice(0, 3),
        pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)}),
        pa.concat_tables([pa.table({"image": FLAT[:1]}), pa.table({"image": FLAT[1:]})]),
        pa.table({"image": [[0.0] * 4, *FLAT]}).slice(1),
        {"image": IMAGES.astype(np.float32)},
        {"image": pa.array(FLAT)},
        IMAGES.astype(np.float32),
        IMAGES.tolist(),
    ],
)
def test_list_columns_of_every_kind_become_the_same_input(table: Any) -> None:
    inputs, _ = bind((IMAGE,), table)
    np.testing.assert_array_equal(inputs["image"], IMAGES.astype(np.float32))


def test_integers_beside_nulls_keep_their_value() -> None:
    spec = TensorSpec("count", DataType.FP64, (-1, 1))
    with pytest.raises(InvalidInput, match="FP64 cannot hold 9007199254740993"):
        bind((spec,), pa.table({"count": [2**53 + 1, None]}))


def test_nulls_where_no_missing_value_can_be_are_refused_by_row() -> None:
    with pytest.raises(InvalidInput, match="column 'count': expected INT64, got a missing value in row 1"):
        bind((COUNT,), pa.table({"count": [1, None]}))
    with pytest.raises(InvalidInput, match="column 'count': expected INT64, got a missing value in row 1"):
        bind((COUNT,), pd.DataFrame({"count": pd.array([1, None], dtype="Int64")}))


@pytest.mark.parametrize("rows", [[[1.0] * 4, [1.0] * 3], [[1.0] * 4, None]])
def test_lists_of_unlike_length_are_refused_by_row(rows: Any) -> None:
    with pytest.raises(InvalidInput, match=r"column 'image': .* in row 1"):
        bind((IMAGE,), pa.table({"image": rows}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((1, 2)), r"takes the inputs \['tabular', 'colour'\]; expected a mapping or a table, got one array"),
        ("text", "expected an array, a mapping of names to arrays, or a pandas or pyarrow table, got str"),
        (pd.Series([1]), "got Series"),
        (pd.DataFrame([[1, 2, "x"]], columns=["age", "age", "colour"]), "column 'age' is there 2 times"),
        (pa.table([[1], [2], ["x"]], names=["age", "age", "colour"]), "column 'age' is there 2 times"),
        (pd.DataFrame({"age": [1], "colour": ["x"]}), "column 'fare' is missing"),
        (pa.table({"age": [], "fare": [], "colour": pa.array([], pa.string())}), "'tabular' has no rows"),
    ],
)
def test_what_does_not_fit_is_refused(data: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        bind((TABULAR, COLOUR), data)


def test_a_row_without_its_axis_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"expected cells of shape \[2, 2\] or \[4\], got \[2\]"):
        bind((IMAGE,), np.zeros((2, 2), np.float32))


def test_number_columns_are_found_by_their_label_as_text() -> None:
    spec = TensorSpec("x", DataType.FP64, (-1, 2), feature_names=("0", "1"))
    np.testing.assert_array_equal(bind((spec,), pd.DataFrame([[1.0, 2.0]]))[0]["x"], [[1, 2]])


def test_the_client_imports_neither_pandas_nor_pyarrow() -> None:
    code = (
        "import sys, numpy as np, widedeep.serving.client as c; from widedeep.serving.client.tables import bind; "
        "from widedeep.serving.contract.tensors import *; "
        "bind((TensorSpec('x', DataType.FP64, (-1, 1)),), {'x': [1.0]}); "
        "sys.exit(bool({'pandas', 'pyarrow', 'onnxruntime'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
