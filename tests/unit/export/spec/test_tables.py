"""Data files, written by the libraries that users write them with."""

import datetime as dt
import decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from widedeep.export.spec.problems import Problem
from widedeep.export.spec.tables import DataFile


def test_parquet_columns_keep_their_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "f": [0.5, 1.5],
            "f32": np.array([1, 2], np.float32),
            "i": [1, 2],
            "b": [True, False],
            "s": ["x", "y"],
            "c": pd.Categorical(["b", "a"], categories=["z", "b", "a"]),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    file = DataFile(tmp_path / "a.parquet")
    read = file.columns(["c", "s", "f", "f32", "i", "b"])
    assert [dtype.kind for dtype in read.dtypes[["f", "f32", "i", "b"]]] == ["f", "f", "i", "b"]
    assert read["f32"].dtype == np.float32
    assert list(read["c"].cat.categories) == ["z", "b", "a"]
    assert list(read["s"]) == ["x", "y"]


def test_an_index_that_pandas_stored_is_no_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 9]).to_parquet(tmp_path / "a.parquet")
    file = DataFile(tmp_path / "a.parquet")
    assert file.names == ("a",)
    assert list(file.columns(["a"]).index) == [0, 1, 2]


def test_an_index_with_a_name_is_a_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, 2]}, index=pd.Index([7, 8], name="customer")).to_parquet(tmp_path / "a.parquet")
    file = DataFile(tmp_path / "a.parquet")
    assert file.names == ("a", "customer")
    pd.testing.assert_frame_equal(file.columns(["customer", "a"]), pd.DataFrame({"customer": [7, 8], "a": [1, 2]}))


def test_a_folder_of_parquet_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name, value in (("b", 2), ("a", 1), ("c", 3)):
        pd.DataFrame({"x": [value]}).to_parquet(tmp_path / f"{name}.parquet")
    assert list(DataFile(tmp_path).columns(["x"])["x"]) == [1, 2, 3]


def test_gaps_make_integers_floats_and_booleans_nullable(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("i,b,x\n1,true,\n,,\n3,false,\n")
    read = DataFile(tmp_path / "a.csv").columns(["i", "b", "x"])
    np.testing.assert_array_equal(read["i"].to_numpy(), [1.0, np.nan, 3.0])
    assert read["b"].dtype == "boolean"
    assert list(read["b"].isna()) == [False, True, False]
    assert np.isnan(read["x"].to_numpy()).all()


def test_dates_in_csv_stay_text_and_an_empty_cell_of_text_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("day,plan\n2026-01-02,basic\n2026-01-03,\n")
    read = DataFile(tmp_path / "a.csv").columns(["day", "plan"])
    assert list(read["day"]) == ["2026-01-02", "2026-01-03"]
    assert list(read["plan"].isna()) == [False, True]


def test_decimals_become_floats(tmp_path: Path) -> None:
    pd.DataFrame({"d": [decimal.Decimal("1.25"), decimal.Decimal("2.50")]}).to_parquet(tmp_path / "a.parquet")
    assert list(DataFile(tmp_path / "a.parquet").columns(["d"])["d"]) == [1.25, 2.5]


def test_an_npy_file_is_mapped_and_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    array = DataFile(tmp_path / "a.npy").array()
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays_of_python_objects_are_never_unpickled(tmp_path: Path, suffix: str) -> None:
    objects = np.array([{"a": dt.date(2026, 1, 1)}], object)
    save = np.save if suffix == ".npy" else np.savez
    save(tmp_path / f"a{suffix}", **{"arr" if suffix == ".npy" else "rows": objects}, allow_pickle=True)
    with pytest.raises(Problem, match="holds Python objects, which are never unpickled"):
        DataFile(tmp_path / f"a{suffix}").array("rows")


def test_a_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("income,age\n1,2\n")
    with pytest.raises(Problem, match=r"a\.csv has no column 'incme'; did you mean 'income'\?"):
        DataFile(tmp_path / "a.csv").columns(["incme"])


@pytest.mark.parametrize(
    ("name", "content"), [("a.parquet", b"PAR1"), ("a.npz", b"PK"), ("a.npy", b"x"), ("a.csv", b"")]
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    file = DataFile(tmp_path / name)
    with pytest.raises(Problem, match=f"{name} cannot be read: "):
        file.columns(["x"]) if file.is_table else file.array("x")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"x")
    with pytest.raises(Problem, match=r"a\.xlsx: expected a file with one of \.parquet, "):
        DataFile(tmp_path / "a.xlsx")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="is a folder with neither Parquet files nor subfolders of images"):
        DataFile(tmp_path)


def test_a_single_value_is_no_column_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array(3.0))
    with pytest.raises(Problem, match=r"a\.npz: array 'x' is a single value; expected rows along the first axis"):
        DataFile(tmp_path / "a.npz").array("x")
