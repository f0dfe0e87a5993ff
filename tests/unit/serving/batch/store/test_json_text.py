"""Columns as JSON text."""

import base64
import datetime as dt
import decimal
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.batch.store.json_text import has_json_text, json_lines, json_text


def texts(values: list[object], datatype: pa.DataType | None = None) -> list[str]:
    return list(json_text(pa.array(values, datatype)).to_pylist())


def test_a_batch_is_an_object_a_line_in_the_order_of_its_columns() -> None:
    batch = pa.record_batch({"b": [1, None], 'a "quoted" name': ["x", "y"]})
    assert json_lines(batch).to_pybytes() == (
        b'{"b":1,"a \\"quoted\\" name":"x"}\n{"b":null,"a \\"quoted\\" name":"y"}\n'
    )
    assert json_lines(batch.slice(1)).to_pybytes() == b'{"b":null,"a \\"quoted\\" name":"y"}\n'
    assert json_lines(batch.slice(2)).to_pybytes() == b""


@given(st.lists(st.none() | st.text()))
def test_any_text_reads_back(values: list[str | None]) -> None:
    assert [json.loads(text) for text in texts(values, pa.string())] == values  # type: ignore[arg-type]


@given(st.lists(st.floats(width=32)))
def test_a_float_reads_back_with_its_bits_and_as_a_fraction(values: list[float]) -> None:
    for text, value in zip(texts(values, pa.float32()), values, strict=True):  # type: ignore[arg-type]
        if math.isfinite(value):
            assert np.float32(json.loads(text)).tobytes() == np.float32(value).tobytes()
            assert isinstance(json.loads(text), float)
        else:
            assert text == "null"


@given(st.lists(st.floats()))
def test_a_double_reads_back_with_its_bits(values: list[float]) -> None:
    for text, value in zip(texts(values, pa.float64()), values, strict=True):  # type: ignore[arg-type]
        if math.isfinite(value):
            assert np.float64(json.loads(text)).tobytes() == np.float64(value).tobytes()
        else:
            assert text == "null"


def test_a_float_is_the_shortest_text_of_its_own_width() -> None:
    assert texts([0.1, 1.0], pa.float32()) == ["0.1", "1.0"]


@given(st.lists(st.none() | st.lists(st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3), max_size=3)))
def test_lists_of_lists_read_back_also_from_a_slice(values: list[object]) -> None:
    array = pa.array(values, pa.list_(pa.list_(pa.string())))
    for start in (0, 1):
        assert [json.loads(text) for text in json_text(array.slice(start)).to_pylist()] == values[start:]


@given(st.lists(st.none() | st.fixed_dictionaries({"a": st.integers(0, 9), "b": st.none() | st.lists(st.booleans())})))
def test_structs_read_back_also_from_a_slice(values: list[object]) -> None:
    array = pa.array(values, pa.struct([("a", pa.int64()), ("b", pa.list_(pa.bool_()))]))
    for start in (0, 1):
        assert [json.loads(text) for text in json_text(array.slice(start)).to_pylist()] == values[start:]


def test_lists_of_fixed_length_read_back_also_from_a_slice() -> None:
    array = pa.array([[1.5, 2.0], None, [math.inf, None], [3.0, 4.0]], pa.list_(pa.float32(), 2))
    assert json_text(array.slice(1)).to_pylist() == ["null", "[null,null]", "[3.0,4.0]"]


@pytest.mark.parametrize(
    ("value", "datatype", "text"),
    [
        (b"\x00\xff", pa.binary(), f'"{base64.b64encode(bytes([0, 255])).decode()}"'),
        (b"\x00\xff", pa.binary(2), '"AP8="'),
        (True, pa.bool_(), "true"),
        (2**63, pa.uint64(), "9223372036854775808"),
        (decimal.Decimal("1.20"), pa.decimal128(5, 2), "1.20"),
        (dt.date(2020, 1, 2), pa.date32(), '"2020-01-02"'),
        (dt.time(3, 4, 5), pa.time32("s"), '"03:04:05"'),
        (dt.datetime(2020, 1, 2, 3, 4, 5), pa.timestamp("s"), '"2020-01-02T03:04:05"'),
        (dt.datetime(2020, 7, 2, 3, 4, 5), pa.timestamp("ms", "+02:00"), '"2020-07-02T03:04:05.000Z"'),
        (dt.timedelta(seconds=1), pa.duration("ms"), "1000"),
        (None, pa.null(), "null"),
    ],
)
def test_a_value_of_a_type_has_its_text(value: object, datatype: pa.DataType, text: str) -> None:
    assert texts([value, None], datatype) == [text, "null"]


def test_dictionaries_and_tensors_are_their_values() -> None:
    assert json_text(pa.array(["a", None]).dictionary_encode()).to_pylist() == ['"a"', "null"]
    tensors = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]], pa.list_(pa.int8(), 2))
    )
    assert json_text(tensors).to_pylist() == ["[1,2]"]


def test_types_without_a_form_are_known_before_a_row_comes() -> None:
    assert not has_json_text(pa.map_(pa.string(), pa.int8()))
    assert not has_json_text(pa.list_(pa.map_(pa.string(), pa.int8())))
    assert has_json_text(pa.struct([("a", pa.list_(pa.float16()))]))
    with pytest.raises(TypeError, match="no form for map"):
        json_text(pa.array([], pa.map_(pa.string(), pa.int8())))
