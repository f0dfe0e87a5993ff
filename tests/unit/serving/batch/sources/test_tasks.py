"""From files to tasks."""

import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.batch.sources import discover, plan
from widedeep.serving.batch.spec import InputFile
from widedeep.serving.batch.task import Range
from widedeep.serving.contract.errors import InvalidInput


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of ten row groups of the same size."""
    folder = tmp_path_factory.mktemp("in")
    pq.write_table(
        pa.table({"x": range(10_000)}),
        folder / "a.parquet",
        row_group_size=1000,
        use_dictionary=False,
        compression="none",
    )
    return folder


def test_row_groups_go_together_up_to_the_size_of_a_task(folder: Path) -> None:
    spec, files = discover(str(folder), types={})
    tasks = list(plan(spec, files, files[0].size * 35 // 100))
    bounds = [(part.start, part.stop) for task in tasks for part in task.ranges]
    assert bounds == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert [task.number for task in tasks] == [0, 1, 2, 3]
    assert sum(task.n_bytes for task in tasks) == pytest.approx(files[0].size, abs=10)


def test_a_file_that_is_small_enough_is_not_opened(folder: Path) -> None:
    spec, _ = discover(str(folder), types={})
    files = [InputFile(f"missing{i}.parquet", 400, 0) for i in range(5)]
    tasks = list(plan(spec, files, 1000))
    assert [[part.source for part in task.ranges] for task in tasks] == [
        ["missing0.parquet", "missing1.parquet"],
        ["missing2.parquet", "missing3.parquet"],
        ["missing4.parquet"],
    ]
    assert tasks[0].ranges[0] == Range("missing0.parquet", 0, None)


@given(sizes=st.lists(st.integers(0, 500), max_size=40), task_bytes=st.integers(1, 1000))
def test_tasks_hold_all_files_in_order_and_not_more_than_they_may(
    folder: Path, sizes: list[int], task_bytes: int
) -> None:
    spec, _ = discover(str(folder), types={})
    files = [InputFile(f"{i:02d}.parquet", min(size, task_bytes), 0) for i, size in enumerate(sizes)]
    tasks = list(plan(spec, files, task_bytes))
    assert [part.source for task in tasks for part in task.ranges] == [file.path for file in files]
    assert all(task.n_bytes <= task_bytes for task in tasks)
    for one, other in itertools.pairwise(tasks):
        first = next(file for file in files if file.path == other.ranges[0].source)
        assert one.n_bytes + first.size > task_bytes


def test_a_task_of_tiny_files_has_a_bound(folder: Path) -> None:
    spec, _ = discover(str(folder), types={})
    tasks = list(plan(spec, (InputFile(f"{i}.parquet", 0, 0) for i in range(25_000)), 1 << 20))
    assert [len(task.ranges) for task in tasks] == [10_000, 10_000, 5_000]


def test_large_files_keep_their_order_though_several_are_looked_at_at_once(tmp_path: Path) -> None:
    for i in range(100):
        pq.write_table(pa.table({"x": range(20)}), tmp_path / f"{i:03d}.parquet", row_group_size=10)
    spec, files = discover(str(tmp_path), types={})
    sources = [(part.source, part.start) for task in plan(spec, files, 1) for part in task.ranges]
    assert sources == [(f"{i:03d}.parquet", start) for i in range(100) for start in (0, 1)]


def test_planning_that_is_given_up_ends_its_threads(tmp_path: Path) -> None:
    for i in range(100):
        pq.write_table(pa.table({"x": range(20)}), tmp_path / f"{i:03d}.parquet", row_group_size=10)
    spec, files = discover(str(tmp_path), types={})
    tasks = plan(spec, files, 1)
    assert next(tasks).number == 0
    tasks.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_large_file_that_is_damaged_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes((folder / "a.parquet").read_bytes())
    (tmp_path / "b.parquet").write_bytes(bytes(5000))
    spec, files = discover(str(tmp_path), types={})
    with pytest.raises(InvalidInput, match=r"b\.parquet: expected a Parquet file"):
        list(plan(spec, files, 1000))


def test_empty_files_of_text_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x\n1\n")
    spec, files = discover(str(tmp_path), types={})
    assert [part.source for task in plan(spec, files, 1000) for part in task.ranges] == ["b.csv"]
