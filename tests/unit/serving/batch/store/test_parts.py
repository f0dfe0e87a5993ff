"""Part files of each format."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from widedeep.serving.batch.spec import OutputFormat
from widedeep.serving.batch.store import groups
from widedeep.serving.batch.store.flat import ELEMENTS
from widedeep.serving.batch.store.output import Output
from widedeep.serving.batch.store.parts import check_schema, part_name, part_writer
from widedeep.serving.contract.errors import ConfigurationError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("probabilities", pa.list_(pa.float32(), 2), metadata={ELEMENTS: json.dumps(["no", "yes"])}),
        pa.field("scores/net", pa.list_(pa.float32(), 2)),
        pa.field("bundle_name", pa.dictionary(pa.int8(), pa.string())),
    ],
    metadata={"widedeep.bundle": "digits"},
)
FORMATS: tuple[OutputFormat, ...] = ("parquet", "csv", "jsonl")


def batch_of(rows: list[tuple[str | None, float | None]]) -> pa.RecordBatch:
    lists = [None if value is None else [value, 1 - value] for _, value in rows]
    return pa.RecordBatch.from_arrays(
        [
            pa.array([name for name, _ in rows], pa.string()),
            pa.array(lists, SCHEMA.field(1).type),
            pa.array(lists, SCHEMA.field(2).type),
            pa.array(["digits"] * len(rows), SCHEMA.field(3).type),
        ],
        schema=SCHEMA,
    )


def written(folder: Path, batches: list[pa.RecordBatch], file_format: OutputFormat) -> bytes:
    with part_writer(Output(str(folder)), "part-000000", SCHEMA, file_format) as part:
        for batch in batches:
            part.write(batch)
    return (folder / part.name).read_bytes()


ROWS = [("a", 0.25), (None, 0.1), ("", None), ('x,"y"\n', 1e-7)]


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.none() | st.text(max_size=5), st.none() | st.floats(0, 1, width=32)), max_size=40),
    sizes=st.lists(st.integers(0, 9), max_size=9),
)
def test_a_part_has_the_same_bytes_however_its_rows_are_cut(
    tmp_path_factory: pytest.TempPathFactory,
    file_format: OutputFormat,
    rows: list[tuple[str | None, float | None]],
    sizes: list[int],
) -> None:
    batches, start = [], 0
    for size in [*sizes, len(rows)]:
        batches.append(batch_of(rows[start : start + size]))
        start += size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups.RowGroups.__init__, "__defaults__", (7, 300))
        folder = tmp_path_factory.mktemp("cut")
        assert written(folder, batches, file_format) == written(folder, [batch_of(rows)], file_format)


def test_a_parquet_part_has_the_rows_the_schema_and_the_bundle(tmp_path: Path) -> None:
    written(tmp_path, [batch_of(ROWS)], "parquet")
    table = pq.read_table(tmp_path / "part-000000.parquet")
    assert table.to_pylist() == batch_of(ROWS).to_pylist()
    assert table.schema.equals(SCHEMA)
    file = pq.ParquetFile(tmp_path / "part-000000.parquet")
    assert file.metadata.metadata[b"widedeep.bundle"] == b"digits"
    assert file.metadata.row_group(0).column(0).statistics.max == 'x,"y"\n'


def test_a_parquet_part_has_row_groups_of_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups.RowGroups.__init__, "__defaults__", (3, 1 << 20))
    written(tmp_path, [batch_of(ROWS * 2)], "parquet")
    metadata = pq.ParquetFile(tmp_path / "part-000000.parquet").metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 3, 2]


def test_a_csv_part_has_a_line_of_names_and_a_column_an_element(tmp_path: Path) -> None:
    written(tmp_path, [batch_of(ROWS)], "csv")
    with (tmp_path / "part-000000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["id", "probabilities.no", "probabilities.yes", "scores/net.0", "scores/net.1", "bundle_name"]
    assert list(rows[0]) == names
    assert list(rows[0].values()) == ["a", "0.25", "0.75", "0.25", "0.75", "digits"]
    assert list(rows[2].values()) == ["", "", "", "", "", "digits"]
    assert rows[3]["id"] == 'x,"y"\n'
    assert float(rows[3]["scores/net.0"]) == 1e-7


def test_a_jsonl_part_has_an_object_a_line(tmp_path: Path) -> None:
    lines = written(tmp_path, [batch_of(ROWS)], "jsonl").decode().splitlines()
    assert json.loads(lines[0]) == {
        "id": "a",
        "probabilities": [0.25, 0.75],
        "scores/net": [0.25, 0.75],
        "bundle_name": "digits",
    }
    assert json.loads(lines[2])["probabilities"] is None
    assert json.loads(lines[3])["id"] == 'x,"y"\n'


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_part_of_no_rows_can_be_read(tmp_path: Path, file_format: OutputFormat) -> None:
    data = written(tmp_path, [], file_format)
    if file_format == "parquet":
        assert pq.read_table(tmp_path / "part-000000.parquet").schema.equals(SCHEMA)
    else:
        assert len(data.splitlines()) == (1 if file_format == "csv" else 0)


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_error_leaves_no_part(tmp_path: Path, file_format: OutputFormat) -> None:
    def fail() -> None:
        with part_writer(Output(str(tmp_path)), "part-000000", SCHEMA, file_format) as part:
            part.write(batch_of(ROWS))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["_tmp"]
    assert list((tmp_path / "_tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("file_format", "datatype", "named"),
    [
        ("csv", pa.binary(), "column 'x': parts in csv cannot hold binary"),
        ("csv", pa.list_(pa.int8()), "cannot hold list"),
        ("csv", pa.list_(pa.list_(pa.int8(), 2), 2), "column 'x.0': .* cannot hold fixed_size_list"),
        ("csv", pa.struct([("a", pa.int8())]), "cannot hold struct"),
        ("jsonl", pa.map_(pa.string(), pa.int8()), "column 'x': parts in jsonl cannot hold map"),
        ("parquet", pa.month_day_nano_interval(), "column 'x': parts in parquet cannot hold month_day_nano"),
    ],
)
def test_a_column_that_a_format_cannot_hold_is_refused_by_name(
    file_format: OutputFormat, datatype: pa.DataType, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        check_schema(pa.schema([("x", datatype)]), file_format)


def test_two_columns_of_one_name_are_refused_where_laying_lists_flat_makes_them() -> None:
    schema = pa.schema([("x.1", pa.int8()), ("x", pa.list_(pa.int8(), 2))])
    check_schema(schema, "parquet")
    with pytest.raises(ConfigurationError, match=r"2 columns of this name"):
        check_schema(schema, "csv")


def test_parts_are_named_by_their_task_and_retry() -> None:
    assert part_name(12) == "part-000012"
    assert part_name(1234567, retry=2) == "part-1234567-retry-2"
