import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import csv
from widedeep.serving.batch.sources.cells import as_text, is_cell, misfits

TYPES = [pa.float64(), pa.float32(), pa.int64(), pa.uint8(), pa.bool_()]


@settings(deadline=None)
@given(st.text(" \t+-.0123456789eExXaAbBcfiInNtTyYruls()", max_size=8), st.sampled_from(TYPES))
@example("-0x1F", pa.int64())
@example(" 0xff ", pa.uint8())
@example("nan(7)", pa.float64())
@example("-NaN", pa.float64())
@example("+iNfInItY", pa.float64())
@example("TrUe", pa.bool_())
@example(".5e-3", pa.float64())
def test_no_text_that_is_read_as_a_type_is_a_misfit(text: str, column: pa.DataType) -> None:
    schema = pa.schema([("x", column)])
    data = pa.BufferReader(f"{text},a\n".encode())
    try:
        csv.read_csv(
            data,
            csv.ReadOptions(column_names=["x", "id"]),
            convert_options=csv.ConvertOptions(column_types={"x": column}, null_values=[]),
        )
    except pa.ArrowInvalid:
        return
    assert list(misfits(pa.record_batch({"x": [text]}, as_text(schema)), schema)) == []


def test_misfits_come_column_by_column_and_null_is_none() -> None:
    schema = pa.schema([("x", pa.float64()), ("id", pa.string()), ("n", pa.int64())])
    texts = pa.record_batch({"x": ["1", "a", None], "id": ["b", "c", None], "n": ["2.5", "d", None]}, as_text(schema))
    assert list(misfits(texts, schema)) == [("x", 1, "a"), ("n", 0, "2.5"), ("n", 1, "d")]


@pytest.mark.parametrize("column", [pa.list_(pa.int64()), pa.float16(), pa.struct([]), pa.binary(), pa.null()])
def test_other_types_are_not_of_cells(column: pa.DataType) -> None:
    assert not is_cell(column)
    assert all(map(is_cell, [*TYPES, pa.string(), pa.large_string()]))
