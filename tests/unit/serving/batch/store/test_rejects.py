"""Files of rejected rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from widedeep.serving.batch.rows import Block, Place, Unread
from widedeep.serving.batch.store import rejects as module
from widedeep.serving.batch.store.output import Output
from widedeep.serving.batch.store.rejects import RejectWriter, read_rejects
from widedeep.serving.contract.errors import ConfigurationError

SCHEMA = pa.schema([pa.field("x", pa.int64(), nullable=False), ("kind", pa.dictionary(pa.int8(), pa.string()))])
BATCH = pa.record_batch([pa.array([10, 11, 12]), pa.array(["a", None, "b"], SCHEMA.field(1).type)], SCHEMA)
UNREAD = Unread(Place("a.csv", byte=70), "expected an integer in column x, got 'z'", b"z,a\xff")


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(str(tmp_path))


def write(output: Output, n: int = 1) -> RejectWriter:
    with RejectWriter(output, "part-000003", SCHEMA) as rejects:
        for i in range(n):
            rejects.add(BATCH.slice(1, 1), Place("a.csv", row=i), "no kind")
            rejects.add_unread(UNREAD)
            rejects.add(BATCH.slice(2, 1), Place("a.csv", byte=80), "x is too large")
    return rejects


def test_a_task_without_rejected_rows_leaves_no_file(output: Output) -> None:
    with RejectWriter(output, "part-000003", SCHEMA) as rejects:
        pass
    assert rejects.n_rows == 0
    assert output.names() == []


def test_rejected_rows_are_in_a_file_with_place_reason_and_values(output: Output) -> None:
    rejects = write(output)
    assert rejects.n_rows == 3
    assert rejects.name == "part-000003.parquet"
    rows = pq.read_table(output.at("_rejects/part-000003.parquet")).to_pylist()
    empty = {"_source": "a.csv", "_row": None, "_byte": None, "_raw": None, "_parsed": True}
    assert rows == [
        empty | {"_row": 0, "_reason": "no kind", "x": 11, "kind": None},
        empty | {"_byte": 70, "_reason": UNREAD.reason, "_raw": UNREAD.raw, "_parsed": False, "x": None, "kind": None},
        empty | {"_byte": 80, "_reason": "x is too large", "x": 12, "kind": "b"},
    ]


@pytest.mark.parametrize("n", [1, 2000])
def test_rejected_rows_are_read_again_in_their_order(output: Output, n: int) -> None:
    write(output, n)
    items = list(read_rejects(output, "part-000003.parquet"))
    assert sum(1 if isinstance(item, Unread) else item.batch.num_rows for item in items) == 3 * n
    first, second, third = items[:3]
    assert isinstance(first, Block)
    assert first.batch.to_pylist() == BATCH.slice(1, 1).to_pylist()
    assert first.locate(0) == Place("a.csv", row=0)
    assert second == UNREAD
    assert isinstance(third, Block)
    assert third.batch.schema.names == SCHEMA.names
    assert third.batch.to_pylist()[0] == {"x": 12, "kind": "b"}
    assert third.locate(0) == Place("a.csv", byte=80)


def test_rows_that_follow_one_another_come_as_one_block(output: Output) -> None:
    with RejectWriter(output, "part-000003", SCHEMA) as rejects:
        for i in range(3):
            rejects.add(BATCH.slice(i, 1), Place("a", row=i), "bad")
    (block,) = read_rejects(output, rejects.name)
    assert isinstance(block, Block)
    assert block.batch.to_pydict() == BATCH.to_pydict()
    assert [block.locate(i).row for i in range(3)] == [0, 1, 2]


def test_the_file_has_the_same_bytes_however_often_rows_are_written_out(
    output: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(output, 50)
    once = output.read("_rejects/part-000003.parquet")
    monkeypatch.setattr(module, "_GATHERED_ROWS", 7)
    write(output, 50)
    assert output.read("_rejects/part-000003.parquet") == once


@pytest.mark.parametrize("n", [1, 2000])
def test_an_error_leaves_no_file(output: Output, n: int) -> None:
    def fail() -> None:
        with RejectWriter(output, "part-000003", SCHEMA) as rejects:
            for _ in range(n):
                rejects.add_unread(UNREAD)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert output.names("_rejects") == []
    assert output.names("_tmp") == []


def test_a_row_that_is_added_keeps_no_more_of_its_batch_in_memory(output: Output) -> None:
    batch = pa.record_batch([pa.array(["x" * 1000] * 10_000)], ["x"])
    with RejectWriter(output, "part-000003", batch.schema) as rejects:
        before = pa.total_allocated_bytes()
        for i in range(100):
            rejects.add(batch.slice(i, 1), Place("a", row=i), "bad")
        assert pa.total_allocated_bytes() - before < 1_000_000


def test_an_input_column_with_a_name_of_the_files_own_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'_reason'"):
        module.reject_schema(pa.schema([("_reason", pa.string())]))
