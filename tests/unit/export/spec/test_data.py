"""The rows of an export file, read from real files; no model is looked at."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from widedeep.export.spec.data import Dataset, read_data
from widedeep.export.spec.inputs import Stack, Table
from widedeep.export.spec.problems import SpecError
from widedeep.export.spec.schema import read_spec

MEMBER = '[members.m]\nfile = "m.onnx"\n'


def read(folder: Path, data: str, *sections: str, member: str = MEMBER) -> Dataset:
    (folder / "spec.toml").write_text("\n".join(['name = "x"', "[data]", data, *sections, member]))
    return read_data(read_spec(folder / "spec.toml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`rows.csv` of three rows, `image.npy` of as many, and an archive of both kinds."""
    (tmp_path / "rows.csv").write_text("age,plan,p0,p1,y\n30,a,0.9,0.1,no\n40,b,0.2,0.8,yes\n50,a,0.3,0.7,yes\n")
    np.save(tmp_path / "image.npy", np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1))
    np.savez(tmp_path / "all.npz", x=np.ones((3, 2)), z=np.zeros((3, 4)), y=[0, 1, 1], m=[0.1, 0.8, 0.7])
    return tmp_path


def table_of(data: Dataset, name: str) -> pd.DataFrame:
    source = data.inputs[name]
    assert isinstance(source, Table)
    return source.frame


def test_all_columns_but_the_target_are_the_input_by_default(folder: Path) -> None:
    data = read(folder, 'held_out = "rows.csv"\ntarget = "y"')
    assert list(table_of(data, "tabular").columns) == ["age", "plan", "p0", "p1"]
    assert list(data.target) == ["no", "yes", "yes"]


def test_columns_that_hold_scores_are_no_features(folder: Path) -> None:
    member = MEMBER + 'scores = {columns = ["p0", "p1"]}'
    data = read(folder, 'rows = "rows.csv"\ntarget = "y"', member=member)
    assert list(table_of(data, "tabular").columns) == ["age", "plan"]
    np.testing.assert_array_equal(data.scores["m"], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])


def test_every_array_of_an_archive_but_target_and_scores_is_an_input_by_default(folder: Path) -> None:
    data = read(folder, 'held_out = "all.npz"\ntarget = "y"', member=MEMBER + 'scores = "all.npz"')
    assert {name: len(source) for name, source in data.inputs.items()} == {"x": 3, "z": 3}
    np.testing.assert_array_equal(data.scores["m"], [[0.1], [0.8], [0.7]])


def test_several_inputs_may_come_from_several_files(folder: Path) -> None:
    inputs = '[inputs.image]\nfile = "image.npy"\nscale = 2\n[inputs.tabular]\ncolumns = ["age"]'
    data = read(folder, 'held_out = "rows.csv"\ntarget = "y"', inputs)
    assert list(table_of(data, "tabular").columns) == ["age"]
    image = data.inputs["image"].take(np.array([2]))
    np.testing.assert_array_equal(image, np.array([[[[4], [4.5]], [[5], [5.5]]]], np.float32))


def test_a_folder_of_one_folder_a_class_holds_images_and_target(folder: Path) -> None:
    for label, value in (("dog", 7), ("cat", 5)):
        (folder / "pets" / label).mkdir(parents=True)
        Image.fromarray(np.full((2, 3), value, np.uint8)).save(folder / "pets" / label / "1.png")
    data = read(folder, 'held_out = "pets"')
    assert (data.classes, list(data.target)) == (("cat", "dog"), ["cat", "dog"])
    image = data.inputs["image"]
    assert isinstance(image, Stack)
    assert image.take(np.arange(2))[:, 0, 0, 0].tolist() == [5, 7]


@pytest.mark.parametrize(
    ("data", "sections", "said"),
    [
        ('held_out = "rows.csv"', "", "[data]: target is missing"),
        ('held_out = "none.csv"\ntarget = "y"', "", "[data] held_out: .*none.csv does not exist"),
        ('held_out = "rows.csv"\ntarget = {file = "all.npz"}', "", "[data] target: all.npz: say which of x, z, y, m"),
        (
            'held_out = "rows.csv"\ntarget = "y"',
            '[inputs.t]\ncolumns = ["agee"]',
            "[inputs.t] columns: rows.csv has no",
        ),
        (
            'held_out = "rows.csv"\ntarget = "y"',
            '[inputs.t]\nfile = "all.npz"',
            "[inputs.t] file: all.npz has no array",
        ),
        (
            'held_out = "rows.csv"\ntarget = "y"',
            '[inputs.age]\nfile = "image.npy"\n[inputs.t]',
            "[inputs.t] columns: col",
        ),
        ('held_out = "rows.csv"\ntarget = "y"', "[inputs.t]\nsize = [2, 2]", "[inputs.t]: size is for image files"),
        (
            'held_out = "rows.csv"\ntarget = "y"',
            '[inputs.a]\ncolumns = ["age"]\n[inputs.b]\ncolumns = ["age"]\nscale = 10',
            "[inputs.b] columns: column 'age' (float32) is another one in input 'a' (int64)",
        ),
    ],
)
def test_what_is_not_there_is_named_with_its_place(folder: Path, data: str, sections: str, said: str) -> None:
    with pytest.raises(SpecError, match=re.escape(said).replace(r"\.\*", ".*")):
        read(folder, data, sections)


def test_inputs_and_target_must_have_the_same_number_of_rows(folder: Path) -> None:
    np.save(folder / "short.npy", np.zeros((2, 4)))
    with pytest.raises(SpecError, match=r"\[inputs\.image\]: has 2 rows, the target has 3"):
        read(folder, 'held_out = "rows.csv"\ntarget = "y"', '[inputs.image]\nfile = "short.npy"')


def test_a_missing_target_is_named_with_its_row(folder: Path) -> None:
    (folder / "gap.csv").write_text("x,y\n1,no\n2,\n")
    with pytest.raises(SpecError, match=r"\[data\] target: the target is missing in row 1"):
        read(folder, 'held_out = "gap.csv"\ntarget = "y"')


def test_scores_must_be_finite(folder: Path) -> None:
    np.save(folder / "oof.npy", [0.1, np.nan, 0.2])
    with pytest.raises(SpecError, match=r"\[members\.m\] scores: expected finite scores, got nan in row 1"):
        read(folder, 'rows = "rows.csv"\ntarget = "y"', member=MEMBER + 'scores = "oof.npy"')


def test_a_target_whose_file_is_written_another_way_is_no_feature(folder: Path) -> None:
    target = f'target = {{file = "../{folder.name}/rows.csv", columns = ["y"]}}'
    data = read(folder, f'held_out = "rows.csv"\n{target}', '[inputs.tabular]\nfile = "./rows.csv"')
    assert "y" not in table_of(data, "tabular").columns


def test_a_column_called_none_is_a_feature(folder: Path) -> None:
    (folder / "none.csv").write_text("None,y\n1,no\n2,yes\n")
    assert list(table_of(read(folder, 'held_out = "none.csv"\ntarget = "y"'), "tabular").columns) == ["None"]


@pytest.mark.parametrize("dtype", ["boolean", "Int64"])
def test_a_missing_target_of_a_nullable_type_is_named_with_its_row(folder: Path, dtype: str) -> None:
    pd.DataFrame({"x": [1, 2, 3], "y": pd.array([1, 0, None], dtype)}).to_parquet(folder / "gap.parquet")
    with pytest.raises(SpecError, match=r"\[data\] target: the target is missing in row 2"):
        read(folder, 'held_out = "gap.parquet"\ntarget = "y"')


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
def test_inputs_may_share_a_column_that_a_request_holds_once(folder: Path, dtype: str) -> None:
    inputs = f'[inputs.a]\ncolumns = ["age"]\n[inputs.b]\ncolumns = ["age"]\ndtype = "{dtype}"'
    data = read(folder, 'held_out = "rows.csv"\ntarget = "y"', inputs)
    assert [table_of(data, name)["age"].dtype for name in "ab"] == [np.int64, np.dtype(dtype)]
