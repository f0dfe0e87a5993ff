"""Data sets are read from real files, and what cannot be learned from is refused or left out, with a word on it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from widedeep.export.train.data_error import DataError
from widedeep.export.train.dataset import Dataset, deal_folds, read_dataset, split_test

N = 60


def _frame(**more: Any) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": generator.normal(size=N),
            "count": generator.integers(0, 9, N),
            "town": generator.choice(["Bonn", "Köln", "Ulm"], N),
            "y": np.where(np.arange(N) % 3 == 0, "yes", "no"),
        }
    )
    return frame.assign(**more)


def _read(frame: pd.DataFrame, folder: Path, ending: str = ".parquet", **options: Any) -> Dataset:
    path = folder / f"data{ending}"
    if ending == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    return read_dataset(path, **{"target": "y", **options})


def _column(data: Dataset, name: str) -> tuple[str, str]:
    return next((column.role, column.note) for column in data.columns if column.name == name)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".csv.gz"])
def test_a_table_is_the_same_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    frame = _frame()
    frame.loc[3, "size"] = np.nan
    frame.loc[4, "town"] = None
    data = _read(frame, tmp_path, ending)
    assert data.problem.numeric == ("size", "count")
    assert data.problem.text == ("town",)
    assert dict(data.problem.n_words) == {"town": 3}
    assert data.classes == ("no", "yes")
    assert data.target.tolist() == (frame["y"] == "yes").astype(int).tolist()
    assert [str(kind) for kind in data.rows.table.dtypes] == ["float32", "float32", "object"]
    assert np.array_equal(data.rows.table["size"], frame["size"].astype(np.float32), equal_nan=True)
    assert data.rows.table["town"][4] == ""
    assert [type(word) for word in data.rows.table["town"]] == [str] * N
    assert data.weights is None


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    frame = _frame()
    (tmp_path / "rows").mkdir()
    frame[:40].to_parquet(tmp_path / "rows" / "a.parquet")
    frame[40:].to_parquet(tmp_path / "rows" / "b.parquet")
    assert len(read_dataset(tmp_path / "rows", target="y").rows) == N


def test_arrays_of_two_axes_become_columns_and_of_more_become_inputs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, image = generator.normal(size=(N, 2)), generator.integers(0, 256, (N, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "d.npz", x=x, image=image, y=np.arange(N) % 2)
    data = read_dataset(tmp_path / "d.npz", target="y")
    assert data.problem.numeric == ("x_0", "x_1")
    assert dict(data.problem.arrays) == {"image": (4, 4, 3)}
    assert data.classes == (0, 1)
    assert np.array_equal(data.rows.arrays["image"], image.astype(np.float32))
    assert dict(data.pixel_scale) == {"image": 1.0}, "nothing divides numbers that are sent to a bundle"


def test_an_array_of_float32_stays_on_disk(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).normal(size=(N, 8, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", signal=signal, y=np.arange(N) % 2)
    array = read_dataset(tmp_path / "d.npz", target="y").rows.arrays["signal"]
    base: Any = array
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert np.array_equal(array, signal)


def test_a_compressed_archive_is_read_too(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.arange(N) ** 2.0, y=np.array(["a", "b"] * (N // 2)))
    assert read_dataset(tmp_path / "d.npz", target="y").classes == ("a", "b")


def test_lists_of_one_length_are_signals_and_ragged_ones_are_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    flat = [row.tolist() for row in generator.normal(size=(N, 5))]
    deep = [row.tolist() for row in generator.normal(size=(N, 4, 2))]
    ragged = [[1.0] * (1 + i % 3) for i in range(N)]
    data = _read(_frame(flat=flat, deep=deep, ragged=ragged), tmp_path)
    assert dict(data.problem.arrays) == {"flat": (5, 1), "deep": (4, 2)}
    assert np.allclose(data.rows.arrays["deep"], np.array(deep))
    assert _column(data, "ragged")[0] == "dropped"
    assert "different lengths: 1 to 3" in _column(data, "ragged")[1]


def test_rows_whose_array_is_missing_or_not_finite_are_left_out(tmp_path: Path) -> None:
    lists: list[Any] = [[float(i), 1.0] for i in range(N)]
    lists[5], lists[7] = None, [float("nan"), 1.0]
    data = _read(_frame(signal=lists), tmp_path)
    assert len(data.rows) == N - 2
    assert data.rows.arrays["signal"][5:6, 0, 0].tolist() == [6.0]
    assert any("2 rows are left out: 'signal'" in note for note in data.notes)


def test_columns_that_say_nothing_are_dropped_with_a_note(tmp_path: Path) -> None:
    data = _read(
        _frame(
            same=7,
            empty=np.full(N, np.nan),
            none=[None] * N,
            word="x",
            born=pd.date_range("2020-01-01", periods=N),
            name=[f"person {i}" for i in range(N)],
            huge=np.arange(N) + (1 << 60),
            id=range(N),
        ),
        tmp_path,
    )
    reasons = {column.name: column.note for column in data.columns if column.role == "dropped"}
    assert set(reasons) == {"same", "empty", "none", "word", "born", "name", "huge", "id"}
    assert "7 throughout" in reasons["same"]
    assert "no value" in reasons["empty"]
    assert "dates" in reasons["born"]
    assert "60 different words" in reasons["name"]
    assert "2**53" in reasons["huge"]
    assert any("'same' is 7 throughout" in note for note in data.notes)


def test_infinite_values_are_taken_as_missing(tmp_path: Path) -> None:
    frame = _frame()
    frame.loc[[2, 9], "size"] = [np.inf, -np.inf]
    data = _read(frame, tmp_path)
    assert np.flatnonzero(np.isnan(data.rows.table["size"])).tolist() == [2, 9]
    assert _column(data, "size") == ("numbers", "2 infinite values are taken as missing")


def test_whole_numbers_beyond_float32_make_the_table_double(tmp_path: Path) -> None:
    large = np.arange(N) * 3 + (1 << 24)
    table = _read(_frame(large=large), tmp_path).rows.table
    assert {str(kind) for kind in table.dtypes} == {"float64", "object"}
    assert table["large"].tolist() == large.tolist()


def test_booleans_categories_and_nullable_types_are_read_as_requests_bind_them(tmp_path: Path) -> None:
    flags = pd.array([True, False, None] * (N // 3), "boolean")
    whole = pd.array([1, None, 3] * (N // 3), "Int64")
    grade = pd.Categorical(["a", None, "b"] * (N // 3))
    data = _read(_frame(flag=flags, whole=whole, grade=grade, rank=pd.Categorical([3, 1] * (N // 2))), tmp_path)
    assert data.problem.numeric == ("size", "count", "flag", "whole", "rank")
    assert data.rows.table["flag"][:2].tolist() == [1, 0]
    assert np.isnan(data.rows.table["whole"][1])
    assert data.rows.table["grade"][:3].tolist() == ["a", "", "b"]


def test_numbers_and_words_in_one_column_are_words(tmp_path: Path) -> None:
    data = _read(_frame(mixed=["3", "4.5", "many"] * (N // 3)), tmp_path, ".csv")
    assert "mixed" in data.problem.text
    assert _column(data, "mixed")[1].endswith("2 of 3 are numbers")
    assert data.rows.table["mixed"][:3].tolist() == ["3", "4.5", "many"]


def test_a_column_of_csv_that_turns_to_words_late_is_words(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{i % 2}" for i in range(400_000))
    (tmp_path / "d.csv").write_text(f"x,y\n{rows}\nmany,1\n")
    assert read_dataset(tmp_path / "d.csv", target="y").problem.text == ("x",)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_copies_of_the_target_are_dropped_loudly(tmp_path: Path, ending: str) -> None:
    frame = _frame()
    frame["copy"], frame["code"] = frame["y"], np.where(frame["y"] == "yes", 5, 3)
    data = _read(frame, tmp_path, ending)
    assert {column.name for column in data.columns if column.role == "dropped"} == {"copy", "code"}
    assert sum(note.startswith("LEAK") for note in data.notes) == 2


def test_a_straight_line_of_a_regressions_target_is_dropped(tmp_path: Path) -> None:
    value = np.random.default_rng(1).normal(size=N)
    noisy = value + 0.01 * np.random.default_rng(2).normal(size=N)
    data = _read(_frame(y=value, fahrenheit=1.8 * value + 32, noisy=noisy), tmp_path)
    assert data.problem.task == "regression"
    assert data.classes == ()
    assert data.target.dtype == np.float64
    assert _column(data, "fahrenheit")[0] == "dropped"
    assert _column(data, "noisy")[0] == "numbers"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("x,y\n", "has no rows"),
        ("x,y\n1,2\n1,2,3\n", "Expected 2 columns, got 3"),
        ("x,x,y\n1,2,3\n", "more than one column called 'x'"),
        ("x,z\n1,2\n", "no column 'y' for the target; it has 'x', 'z'"),
        ("x,y\n1,a\n2,b\n1,a\n2,b\n", "4 rows to learn from; expected 10"),
        ("x,y\n" + "1,a\n2,a\n" * 9, "only the class a"),
        ("x,y\n" + "1,1.5\n2,1.5\n" * 9, "1.5 in every row"),
        ("x,y\n" + "1,1.5\n2,inf\n" * 9, "infinite in row 1"),
        ("x,y\n" + "1,a\n1,b\n" * 9, "no column is left"),
        ("scores,y\n" + "a,a\nb,a\nb,b\na,b\n" * 9, "'scores' cannot be called so"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        read_dataset(tmp_path / "d.csv", target="y")


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_dataset(tmp_path / "none.csv", target="y")
    (tmp_path / "d.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"expected a folder of Parquet files or a file with one of \.parquet"):
        read_dataset(tmp_path / "d.xlsx", target="y")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="without Parquet"):
        read_dataset(tmp_path / "empty", target="y")
    (tmp_path / "d.parquet").write_bytes(b"not one")
    with pytest.raises(DataError, match=r"d\.parquet cannot be read"):
        read_dataset(tmp_path / "d.parquet", target="y")
    np.savez(tmp_path / "o.npz", y=np.array([{}], object))
    with pytest.raises(DataError, match="never unpickled"):
        read_dataset(tmp_path / "o.npz", target="y")


def test_a_column_that_parquet_has_twice_is_refused(tmp_path: Path) -> None:
    column = pa.array(range(N))
    pq.write_table(pa.table([column, column], names=["x", "x"]), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="more than one column called 'x'"):
        read_dataset(tmp_path / "d.parquet", target="y")


def test_an_array_whose_columns_would_take_the_name_of_another_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.ones((N, 2)), x_1=np.ones(N), y=np.arange(N) % 2)
    with pytest.raises(DataError, match="more than one column called 'x_1'"):
        read_dataset(tmp_path / "d.npz", target="y")


def test_columns_are_left_out_as_asked(tmp_path: Path) -> None:
    data = _read(_frame(), tmp_path, drop=["town"])
    assert _column(data, "town") == ("dropped", "left out as asked")
    with pytest.raises(DataError, match="no column 'street' to drop"):
        _read(_frame(), tmp_path, drop=["street"])


def test_rows_without_a_target_and_classes_of_a_single_row_are_left_out(tmp_path: Path) -> None:
    frame = _frame()
    frame.loc[[1, 2], "y"] = None
    frame.loc[4, "y"] = "perhaps"
    data = _read(frame, tmp_path)
    assert data.problem.n_rows == len(data.rows) == N - 3
    assert data.classes == ("no", "yes")
    assert data.rows.table["size"].tolist() == frame["size"].astype(np.float32).drop([1, 2, 4]).tolist()
    assert any("2 rows without a target" in note for note in data.notes)
    assert any("'perhaps'" in note for note in data.notes)


def test_at_most_so_many_rows_are_kept_of_every_class(tmp_path: Path) -> None:
    y = np.array(["often"] * (N - 2) + ["rare"] * 2)
    data = _read(_frame(y=y), tmp_path, max_rows=20)
    assert len(data.rows) <= 20
    assert np.bincount(data.target)[1] == 2
    assert any("of 60 rows are used" in note for note in data.notes)


def test_weights_follow_the_rows_and_compose_with_balanced_classes(tmp_path: Path) -> None:
    frame = _frame(w=np.arange(N) + 1.0)
    frame.loc[0, "y"] = None
    data = _read(frame, tmp_path, weight_column="w")
    assert data.weights is not None
    assert np.allclose(data.weights, np.arange(2, N + 1) / np.arange(2, N + 1).mean())
    assert "w" not in data.problem.numeric
    balanced = _read(frame, tmp_path, weight_column="w", class_weight="balanced")
    assert balanced.weights is not None
    sums = np.bincount(balanced.target, balanced.weights)
    assert np.allclose(sums, sums.mean())
    assert np.isclose(balanced.weights.mean(), 1)


def test_the_test_part_is_stratified_and_every_class_stays_on_both_sides(tmp_path: Path) -> None:
    y = np.array(["a"] * 40 + ["b"] * 17 + ["c"] * 3)
    data = _read(_frame(y=y), tmp_path)
    learn, test = split_test(data, 0.2, seed=3)
    assert test is not None
    assert len(learn.rows) + len(test.rows) == N
    assert learn.problem.n_rows == len(learn.target)
    assert np.bincount(test.target).tolist() == [7, 3, 1]
    both = sorted([*learn.rows.table["size"], *test.rows.table["size"]])
    assert both == sorted(data.rows.table["size"])
    assert split_test(data, 0, seed=3) == (data, None)
    with pytest.raises(DataError, match="expected 1 and 10 at least"):
        split_test(data, 0.95, seed=0)


def test_folds_of_a_data_set_hold_out_each_row_once(tmp_path: Path) -> None:
    data = _read(_frame(), tmp_path)
    folds = deal_folds(data, 5, seed=0)
    assert sorted(np.concatenate(folds)) == list(range(N))


def test_a_data_set_survives_the_way_to_another_process(tmp_path: Path) -> None:
    data = _read(_frame(), tmp_path)
    again = pickle.loads(pickle.dumps(data))  # noqa: S301 - it is our own
    assert again.rows.table.equals(data.rows.table)
    assert again.problem == data.problem
