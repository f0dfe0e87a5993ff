"""Reading what tasks name: every row once, in order, with the job's columns and types."""

import io
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from widedeep.serving.batch.rows import Block, Place, Unread
from widedeep.serving.batch.sources import discover, open_reader, plan
from widedeep.serving.batch.task import Range
from widedeep.serving.contract.errors import InvalidInput

Writer = Callable[[pa.Table, Path, int], None]


def write_parquet(table: pa.Table, path: Path, rows: int) -> None:
    pq.write_table(table, path, row_group_size=rows, data_page_size=200)


def write_ipc(table: pa.Table, path: Path, rows: int) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_stream(table: pa.Table, path: Path, rows: int) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_npz(table: pa.Table, path: Path, rows: int) -> None:
    np.savez(path, **{name: np.asarray(table.column(name)) for name in table.column_names})


WRITERS = {".parquet": write_parquet, ".arrow": write_ipc, ".arrows": write_stream, ".npz": write_npz}


def read(url: object, columns: list[str] | None = None, *, task_bytes: int = 1 << 30, batch_rows: int = 1000) -> Any:
    """Return the rows of all tasks as a table, their places, and those that are unread."""
    spec, files = discover(str(url), types={})
    reader = open_reader(spec)
    names = columns or spec.schema.names
    batches, places, unread = [], [], []
    for task in plan(spec, files, task_bytes):
        for part in task.ranges:
            for item in reader.read(part, names, batch_rows):
                if isinstance(item, Unread):
                    unread.append(item)
                    continue
                assert item.batch.num_rows <= batch_rows
                batches.append(item.batch)
                places += [item.locate(i) for i in range(item.batch.num_rows)]
    schema = pa.schema([spec.schema.field(name) for name in names])
    return pa.Table.from_batches(batches, schema), places, unread


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    rows=st.integers(1, 30),
    task_bytes=st.integers(1, 6000),
    batch_rows=st.integers(1, 50),
)
def test_tasks_of_any_size_read_every_row_once_and_in_order(  # noqa: PLR0917  # fixtures and drawn values
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    lengths: list[int],
    rows: int,
    task_bytes: int,
    batch_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("in")
    n, expected = 0, []
    for i, length in enumerate(lengths):
        WRITERS[suffix](pa.table({"x": pa.array(range(n, n + length), pa.int64())}), folder / f"{i}{suffix}", rows)
        expected += [Place(f"{i}{suffix}", row) for row in range(length)]
        n += length
    table, places, unread = read(folder, task_bytes=task_bytes, batch_rows=batch_rows)
    assert table.column("x").to_pylist() == list(range(n))
    assert places == expected
    assert unread == []


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_store_behind_fsspec_is_read_as_a_local_one(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"x": np.arange(1000), "y": np.arange(1000) / 7})
    for i in range(2):
        WRITERS[suffix](table.slice(500 * i, 500), tmp_path / f"{i}{suffix}", 100)
        MemoryFileSystem().put_file(tmp_path / f"{i}{suffix}", f"/read{suffix}/{i}{suffix}")
    got, places, _ = read(f"memory://read{suffix}", ["y"], task_bytes=1500)
    assert got.equals(table.select(["y"]))
    assert places[501] == Place(f"1{suffix}", 1)


def nested() -> pa.Table:
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(30, dtype=np.float32).reshape(5, 2, 3))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10.0)), 2)
    return pa.table(
        {
            "tensor": tensors,
            "fixed": fixed,
            "fixed_nulls": pa.array([[1, 2], None, [3, None], [5, 6], None], pa.list_(pa.int16(), 2)),
            "list": pa.array([[], None, ["a", None], ["b"], []], pa.list_(pa.string())),
            "dictionary": pa.array(["a", None, "b", "a", "c"]).dictionary_encode(),
            "large": pa.array(["a", None, "ä", "", "c"], pa.large_string()),
            "decimal": pa.array([Decimal("1.50"), None, Decimal("-2.25"), Decimal(0), Decimal(7)], pa.decimal128(9, 2)),
            "a.b": pa.array([1, 2, 3, 4, 5], pa.uint8()),
            "a": pa.array([b"1", b"", None, b"\xff", b"5"], pa.binary()),
            "struct": pa.array([{"p": 1}, None, {"p": None}, {"p": 4}, {"p": 5}]),
            "time": pa.array([0, 1, None, 3, 4], pa.timestamp("us", "UTC")),
            "half": pa.array(np.arange(5, dtype=np.float16)),
        }
    )


@pytest.mark.parametrize("writer", [write_parquet, write_ipc, write_stream])
@pytest.mark.parametrize("batch_rows", [2, 100])
def test_columns_of_every_kind_come_as_they_are(tmp_path: Path, writer: Writer, batch_rows: int) -> None:
    suffix = ".parquet" if writer is write_parquet else ".arrow"
    writer(nested(), tmp_path / f"rows{suffix}", 3)
    for names in (nested().column_names, ["a"], ["a.b", "tensor"], ["struct", "list"]):
        table, _, _ = read(tmp_path, names, task_bytes=1, batch_rows=batch_rows)
        for name in names:
            assert table.column(name).to_pylist() == nested().column(name).to_pylist(), name
    assert isinstance(table.schema.field("struct").type, pa.StructType)
    assert read(tmp_path, ["tensor"])[0].schema.field("tensor").type.shape == [2, 3]


def test_columns_come_in_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    for suffix, writer in WRITERS.items():
        writer(pa.table({"a": [1], "b": [2], "c": [3]}), tmp_path / f"rows{suffix}", 1)
        assert read(tmp_path / f"rows{suffix}", ["c", "a"])[0].column_names == ["c", "a"]


def test_folders_give_columns(tmp_path: Path) -> None:
    for year, land in [("2025", "a%2Fb"), ("2026", "__HIVE_DEFAULT_PARTITION__")]:
        folder = tmp_path / f"year={year}" / f"land={land}"
        folder.mkdir(parents=True)
        write_parquet(pa.table({"x": [1, 2]}), folder / "rows.parquet", 1)
    table, _, _ = read(tmp_path, ["land", "x", "year"])
    assert table.to_pydict() == {"land": ["a/b"] * 2 + [None] * 2, "x": [1, 2, 1, 2], "year": [2025] * 2 + [2026] * 2}
    assert table.schema.field("year").type == pa.int64()
    assert read(tmp_path, ["year"])[0].column("year").to_pylist() == [2025, 2025, 2026, 2026]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (pa.array([1], pa.int64()), pa.array([2], pa.int16())),
        (pa.array([1], pa.int16()), pa.array([2], pa.int64())),
        (pa.array([1.0]), pa.array([2], pa.int32())),
        (pa.array([1.0]), pa.array([2], pa.float32())),
        (pa.array(["a"]), pa.array(["b"], pa.large_string())),
        (pa.array(["a"]), pa.array(["b"]).dictionary_encode()),
        (pa.array(["a"]).dictionary_encode(), pa.array(["b"])),
        (pa.array([1.0]), pa.array([None], pa.null())),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)), pa.array([[1, 2]])),
        (pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((1, 2, 2))), pa.array([[1, 2, 3, 4]])),
    ],
)
def test_a_type_that_differs_but_fits_is_that_of_the_first_file(
    tmp_path: Path, first: pa.Array, then: pa.Array
) -> None:
    write_parquet(pa.table({"x": first}), tmp_path / "0.parquet", 1)
    write_parquet(pa.table({"x": then}), tmp_path / "1.parquet", 1)
    table, _, unread = read(tmp_path)
    assert (table.schema.field("x").type, unread) == (first.type, [])
    storage = getattr(then, "storage", then)
    assert table.column("x").to_pylist()[1] == storage.to_pylist()[0]


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ([1], ["a"], r"1.parquet: column 'x' is string, expected int64 as in the input's first file"),
        (pa.array([1.0], pa.float32()), [1.5], r"1.parquet: column 'x' is double, expected float"),
        ([1], [1.5], r"1.parquet: column 'x' is double, expected int64"),
        ([[1]], [["a"]], r"1.parquet: column 'x' is list<.*string>, expected list<.*int64>"),
        ([True], [1], r"1.parquet: column 'x' is int64, expected bool"),
    ],
)
def test_a_type_that_cannot_fit_names_file_column_and_both_types(
    tmp_path: Path, first: Any, then: Any, message: str
) -> None:
    write_parquet(pa.table({"x": first}), tmp_path / "0.parquet", 1)
    write_parquet(pa.table({"x": then}), tmp_path / "1.parquet", 1)
    with pytest.raises(InvalidInput, match=message):
        read(tmp_path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_that_lacks_a_column_is_named(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](pa.table({"x": [1], "y": [1]}), tmp_path / f"0{suffix}", 1)
    WRITERS[suffix](pa.table({"x": [1], "z": [1]}), tmp_path / f"1{suffix}", 1)
    with pytest.raises(InvalidInput, match=rf"1\{suffix}: expected one column 'y', got none; it has \['x', 'z'\]"):
        read(tmp_path)
    assert read(tmp_path, ["x"])[0].num_rows == 2


def test_rows_whose_values_the_job_s_type_cannot_hold_are_unread_and_the_others_keep_their_places(
    tmp_path: Path,
) -> None:
    write_parquet(pa.table({"x": pa.array([0], pa.int8()), "y": [0]}), tmp_path / "0.parquet", 1)
    values = [1, 200, 3, -129, 4, 127]
    write_parquet(pa.table({"x": values, "y": range(6)}), tmp_path / "1.parquet", 4)
    table, places, unread = read(tmp_path)
    assert table.column("x").to_pylist() == [0, 1, 3, 4, 127]
    assert table.column("y").to_pylist() == [0, 0, 2, 4, 5]
    assert [place.row for place in places] == [0, 0, 2, 4, 5]
    assert [(item.place.row, item.reason) for item in unread] == [
        (1, "column 'x': expected int8, got 200"),
        (3, "column 'x': expected int8, got -129"),
    ]


def test_arrays_of_an_npz_file_become_columns(tmp_path: Path) -> None:
    image = np.arange(4 * 2 * 3, dtype=np.uint8).reshape(4, 2, 3)
    arrays: dict[str, Any] = {
        "plain": np.arange(4, dtype=">i4"),
        "matrix": np.arange(8.0).reshape(4, 2),
        "image": image,
        "fortran": np.asfortranarray(np.arange(24.0).reshape(4, 3, 2)),
        "text": np.array(["a", "ä", "", "long text"], ">U9"),
        "bytes": np.array([b"a", b"", b"c", b"d"]),
        "flags": np.array([[True, False]] * 4),
        "days": np.array(["2026-01-01", "NaT", "2026-01-03", "2026-01-04"], "M8[D]"),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "rows.npz", **arrays)
        table, places, _ = read(tmp_path, task_bytes=1, batch_rows=3)
        assert table.column("plain").to_pylist() == [0, 1, 2, 3]
        assert table.schema.field("matrix").type == pa.list_(pa.float64(), 2)
        assert np.array_equal(table.column("matrix").to_pylist(), arrays["matrix"])
        assert table.schema.field("image").type == pa.fixed_shape_tensor(pa.uint8(), (2, 3))
        for name in ("image", "fortran"):
            tensors = table.column(name).combine_chunks()
            whole = tensors.chunk(0) if isinstance(tensors, pa.ChunkedArray) else tensors
            assert np.array_equal(whole.to_numpy_ndarray(), arrays[name]), name
        assert table.column("text").to_pylist() == arrays["text"].tolist()
        assert table.column("bytes").to_pylist() == arrays["bytes"].tolist()
        assert table.column("flags").to_pylist() == arrays["flags"].tolist()
        assert table.column("days").to_pylist() == arrays["days"].tolist()
        assert places == [Place("rows.npz", row) for row in range(4)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([{}, []], object)}, "array 'x' holds Python objects, which are not unpickled"),
        ({"x": np.arange(3), "y": np.arange(4)}, r"expected arrays of one length, got \{'x': 3, 'y': 4\}"),
        ({"x": np.float64(1)}, "array 'x': expected rows, got a single value"),
        ({"x": np.ones(2, complex)}, "array 'x': expected numbers, text, bytes or times, got dtype complex128"),
        ({"x": np.ones(2, [("a", "f4")])}, r"array 'x': expected numbers, text, bytes or times, got dtype \["),
        ({"x": np.ones((2, 0))}, r"array 'x': expected rows of values, got shape \(2, 0\)"),
        ({"x": np.zeros(1, "M8")}, "array 'x': expected numbers, text, bytes or times, got dtype datetime64"),
        ({}, "expected an NPZ file"),
    ],
)
def test_an_npz_file_that_is_no_table_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(InvalidInput, match=rf"rows.npz: .*{message}"):
        read(tmp_path)


def test_stored_arrays_are_cut_and_compressed_ones_are_not(tmp_path: Path) -> None:
    for save, n_tasks in ((np.savez, 9), (np.savez_compressed, 1)):
        save(tmp_path / "rows.npz", x=np.arange(1000))
        spec, files = discover(str(tmp_path), types={})
        assert len(list(plan(spec, files, 1000))) == n_tasks


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_block_of_large_rows_has_few_of_them(tmp_path: Path, save: Any, order: Any) -> None:
    save(tmp_path / "rows.npz", x=np.asarray(np.zeros((20_000, 1000), np.float32), order=order))
    spec, _ = discover(str(tmp_path), types={})
    tracemalloc.start()
    most = max(item.batch.nbytes for item in open_reader(spec).read(Range("rows.npz"), ["x"], 65_536))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most <= 8 << 20
    assert peak < 40 << 20


@pytest.mark.parametrize("repeated", [True, False])
def test_a_block_of_a_parquet_file_is_small_though_its_rows_are_large(tmp_path: Path, *, repeated: bool) -> None:
    values = np.zeros(4_000_000, np.float32) if repeated else np.random.default_rng(0).random(4_000_000, np.float32)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values), 10_000)
    for column in (lists, lists.cast(pa.list_(pa.float32()))):
        pq.write_table(pa.table({"x": column}), tmp_path / "rows.parquet")
        spec, _ = discover(str(tmp_path), types={})
        blocks = [item.batch.nbytes for item in open_reader(spec).read(Range("rows.parquet"), ["x"], 65_536)]
        assert len(blocks) > 1
        assert max(blocks) <= 9 << 20


def test_images_are_rows_with_path_and_label(tmp_path: Path) -> None:
    for path in ("a.png", "cat/b.jpg", "cat/deep/c.JPG"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    spec, files = discover(str(tmp_path), types={}, image_column="pixels")
    assert spec.schema.names == ["pixels", "path", "label"]
    (task,) = plan(spec, files, 1000)
    blocks = [item for part in task.ranges for item in open_reader(spec).read(part, spec.schema.names, 10)]
    rows = [row for block in blocks if isinstance(block, Block) for row in block.batch.to_pylist()]
    assert [(row["pixels"], row["path"], row["label"]) for row in rows] == [
        (b"a.png", "a.png", ""),
        (b"cat/b.jpg", "cat/b.jpg", "cat"),
        (b"cat/deep/c.JPG", "cat/deep/c.JPG", "deep"),
    ]
    assert [block.locate(0) for block in blocks if isinstance(block, Block)][1] == Place("cat/b.jpg")


def test_an_image_that_cannot_be_read_is_unread(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    spec, _ = discover(str(tmp_path), types={})
    (tmp_path / "b.png").unlink()
    (item,) = open_reader(spec).read(Range("b.png"), ["image"], 10)
    assert isinstance(item, Unread)
    assert item.place == Place("b.png")
    assert "expected a readable image file" in item.reason
    (item,) = open_reader(spec).read(Range("b.png"), ["path"], 10)
    assert isinstance(item, Block)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_that_is_gone_is_named(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](pa.table({"x": [1]}), tmp_path / f"0{suffix}", 1)
    spec, _ = discover(str(tmp_path), types={})
    (tmp_path / f"0{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"0\{suffix}"):
        list(open_reader(spec).read(Range(f"0{suffix}"), ["x"], 10))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npz"])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    WRITERS[suffix](pa.table({"x": range(5000)}), tmp_path / f"0{suffix}", 1000)
    spec, _ = discover(str(tmp_path), types={})
    whole = (tmp_path / f"0{suffix}").read_bytes()
    (tmp_path / f"0{suffix}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((InvalidInput, OSError), match=rf"0\{suffix}"):
        list(open_reader(spec).read(Range(f"0{suffix}"), ["x"], 10))


def test_a_compressed_array_that_is_damaged_is_named(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.random.default_rng(0).random(5000))
    damaged = bytearray(stream.getvalue())
    damaged[20_000:20_100] = bytes(100)
    (tmp_path / "0.npz").write_bytes(damaged)
    with pytest.raises(InvalidInput, match=r"0\.npz: expected an NPZ file of plain arrays: "):
        read(tmp_path)


def test_a_file_of_ipc_is_told_by_its_bytes(tmp_path: Path) -> None:
    write_stream(pa.table({"x": [1, 2, 3]}), tmp_path / "a.arrow", 1)
    write_ipc(pa.table({"x": [4, 5]}), tmp_path / "b.arrows", 1)
    assert read(tmp_path, task_bytes=1)[0].column("x").to_pylist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_only_what_is_asked_for_is_loaded_of_an_ipc_file(tmp_path: Path, compression: str | None) -> None:
    wide = {f"c{i}": np.random.default_rng(i).random(200_000) for i in range(10)}
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.table(wide).schema, options=options(compression)) as writer:
        writer.write_table(pa.table(wide))
    spec, _ = discover(str(tmp_path), types={})
    before = pa.total_allocated_bytes()
    blocks = list(open_reader(spec).read(Range("a.arrow"), ["c7", "c2"], 65_536))
    assert pa.total_allocated_bytes() - before < (1 << 20 if compression is None else 4 << 20)
    table = pa.Table.from_batches([block.batch for block in blocks if isinstance(block, Block)])
    assert table.equals(pa.table({name: wide[name] for name in ("c7", "c2")}))


def options(compression: str | None) -> Any:
    return pa.ipc.IpcWriteOptions(compression=compression)


def test_blocks_of_a_mapped_file_outlive_the_reading(tmp_path: Path) -> None:
    write_ipc(pa.table({"x": range(1000)}), tmp_path / "a.arrow", 10)
    spec, _ = discover(str(tmp_path), types={})
    blocks = list(open_reader(spec).read(Range("a.arrow", 90), ["x"], 100))
    (tmp_path / "a.arrow").unlink()
    assert blocks[-1].batch.column("x").to_pylist() == list(range(990, 1000))
