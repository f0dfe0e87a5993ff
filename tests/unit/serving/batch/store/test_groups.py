"""Row groups whose bounds depend on the rows alone."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.batch.store.groups import RowGroups

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("list", pa.list_(pa.int32())),
        ("fixed", pa.list_(pa.float32(), 2)),
        ("record", pa.struct([("a", pa.int8()), ("b", pa.binary())])),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
    ]
)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=12),
        "list": st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=5),
        "fixed": st.none() | st.lists(st.just(0.5), min_size=2, max_size=2),
        "record": st.none() | st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.none() | st.binary(max_size=9)}),
        "kind": st.none() | st.sampled_from(["x", "y", "z"]),
    }
)


def cut(rows: list[dict[str, object]], sizes: list[int]) -> list[pa.RecordBatch]:
    """Return the rows in batches of these sizes, each with dictionaries of its own, then the rest."""
    batches, start = [], 0
    for size in [*sizes, len(rows)]:
        batches.append(pa.RecordBatch.from_pylist(rows[start : start + size], schema=SCHEMA))
        start += size
    return batches


def grouped(batches: list[pa.RecordBatch], rows: int = 7, n_bytes: int = 200) -> list[pa.Table]:
    groups = RowGroups(SCHEMA, rows, n_bytes)
    return [*(group for batch in batches for group in groups.add(batch)), groups.rest()]


@given(st.lists(ROW, max_size=40), st.lists(st.integers(0, 9), max_size=12))
def test_groups_do_not_depend_on_how_the_rows_are_cut(rows: list[dict[str, object]], sizes: list[int]) -> None:
    whole, pieces = grouped(cut(rows, [])), grouped(cut(rows, sizes))
    assert [group.to_pylist() for group in pieces] == [group.to_pylist() for group in whole]
    assert [row for group in pieces for row in group.to_pylist()] == rows
    assert all(group.num_rows <= 7 for group in pieces)


@given(st.lists(ROW, min_size=1, max_size=40), st.integers(0, 20))
def test_slices_of_a_batch_are_grouped_as_the_batch_is(rows: list[dict[str, object]], at: int) -> None:
    (batch, _) = cut(rows, [len(rows)])
    assert grouped([batch.slice(0, at), batch.slice(at)]) == grouped([batch])


def test_a_group_ends_with_the_row_that_fills_its_bytes() -> None:
    schema = pa.schema([("text", pa.string())])
    groups = RowGroups(schema, group_rows=100, group_bytes=50)
    batch = pa.record_batch([pa.array(["x" * 26] * 7)], schema)  # 30 bytes each
    assert [group.num_rows for group in groups.add(batch)] == [2, 2, 2]
    assert groups.rest().num_rows == 1


def test_one_row_larger_than_a_group_is_a_group() -> None:
    schema = pa.schema([("text", pa.string())])
    groups = RowGroups(schema, group_rows=100, group_bytes=5)
    assert [group.num_rows for group in groups.add(pa.record_batch([pa.array(["x" * 26] * 3)], schema))] == [1, 1, 1]
    assert groups.rest().num_rows == 0


@pytest.mark.parametrize("datatype", [pa.bool_(), pa.null(), pa.map_(pa.string(), pa.int8()), pa.decimal128(5)])
def test_values_of_any_type_have_a_size(datatype: pa.DataType) -> None:
    schema = pa.schema([("x", datatype)])
    groups = RowGroups(schema, group_rows=2)
    assert [group.num_rows for group in groups.add(pa.record_batch([pa.nulls(5, datatype)], schema))] == [2, 2]
