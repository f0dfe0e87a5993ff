"""Elements as bytes and as typed contents."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.contract.errors import InvalidInput
from widedeep.serving.contract.tensors import Array, DataType
from widedeep.serving.protocol import elements
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.elements import from_contents, from_raw, to_raw

NUMERIC = [datatype for datatype in DataType if datatype is not DataType.BYTES]
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@given(data=st.data(), datatype=st.sampled_from(NUMERIC))
def test_numbers_come_back_as_they_went(data: st.DataObject, datatype: DataType) -> None:
    array = data.draw(hnp.arrays(datatype.dtype, SHAPES))
    back = from_raw("input 'x'", datatype, array.shape, to_raw(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(array=hnp.arrays(object, SHAPES, elements=TEXT))
def test_text_comes_back_as_it_went(array: Array) -> None:
    back = from_raw("input 'x'", DataType.BYTES, array.shape, to_raw(array))
    np.testing.assert_array_equal(back, array)
    assert all(isinstance(element, str) for element in back.flat)


def test_raw_numbers_are_little_endian_and_row_major() -> None:
    array = np.array([[1, 2], [3, 4]], np.int16)
    assert to_raw(np.asfortranarray(array)) == b"\1\0\2\0\3\0\4\0"
    assert to_raw(array.astype(">i2").astype(np.int16)) == b"\1\0\2\0\3\0\4\0"


def test_raw_text_follows_its_length() -> None:
    assert to_raw(np.array(["ä", ""])) == b"\2\0\0\0\xc3\xa4\0\0\0\0"


def test_bytes_of_numpy_go_as_they_are() -> None:
    assert to_raw(np.array([b"ab"])) == to_raw(np.array(["ab"])) == to_raw(np.array([b"ab"], object))


def test_elements_that_are_equal_but_read_otherwise_go_as_they_read() -> None:
    for element in (1, True, 1.0):
        assert to_raw(np.array([element, [element]], object)[:1])[4:].decode() == str(element)


def test_long_texts_are_not_remembered() -> None:
    to_raw(np.array(["x" * 1000], object))
    before = elements._packed_label.cache_info()
    to_raw(np.array(["y" * 1000], object))
    assert elements._packed_label.cache_info() == before
    to_raw(np.array(["a label"], object))
    assert elements._packed_label.cache_info() != before


def test_raw_numbers_are_not_copied() -> None:
    data = np.arange(4, dtype=np.float32).tobytes()
    array = from_raw("input 'x'", DataType.FP32, [2, 2], data)
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))


@pytest.mark.parametrize(("given_bytes", "got"), [(b"", 0), (bytes(15), 15), (bytes(17), 17), (bytes(32), 32)])
def test_another_number_of_bytes_is_refused(given_bytes: bytes, got: int) -> None:
    with pytest.raises(InvalidInput, match=rf"input 'x': expected 16 bytes .* FP32 of shape \[2, 2\], got {got}$"):
        from_raw("input 'x'", DataType.FP32, [2, 2], given_bytes)


@pytest.mark.parametrize("datatype", [DataType.FP64, DataType.BYTES, DataType.BOOL])
@pytest.mark.parametrize("shape", [[1 << 62, 8], [(1 << 63) - 1, (1 << 63) - 1], [1 << 40]])
def test_a_shape_beyond_all_memory_is_refused(datatype: DataType, shape: list[int]) -> None:
    with pytest.raises(InvalidInput, match=r"input 'x': expected .* bytes of raw contents"):
        from_raw("input 'x'", datatype, shape, b"\1\0\0\0a")
    with pytest.raises(InvalidInput, match=r"input 'x': expected .* elements in"):
        from_contents("input 'x'", datatype, shape, m.InferTensorContents())


def test_a_negative_size_is_refused_even_where_the_product_is_right() -> None:
    with pytest.raises(InvalidInput, match=r"input 'x': expected no negative size, got shape \[-2, -2\]"):
        from_raw("input 'x'", DataType.FP32, [-2, -2], bytes(16))


def test_a_bool_that_is_neither_is_refused() -> None:
    with pytest.raises(InvalidInput, match="input 'x': expected bytes 0 or 1 for BOOL, got 2"):
        from_raw("input 'x'", DataType.BOOL, [3], b"\0\1\2")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\1\0\0\0", "expected at least 8 bytes"),
        (b"\5\0\0\0abcd", "element 0 of 2 should have 5 bytes, 4 are left"),
        (b"\2\0\0\0abcd", "end before the length of element 1 of 2"),
        (b"\1\0\0\0a\1\0\0\0bc", "1 bytes are left after element 2 of 2"),
        (b"\xff\xff\xff\xffabcd", "element 0 of 2 should have 4294967295 bytes, 4 are left"),
        (b"\1\0\0\0a\1\0\0\0\xff", "element 1 is not UTF-8"),
    ],
)
def test_text_that_does_not_add_up_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"input 'x': .*{message}"):
        from_raw("input 'x'", DataType.BYTES, [2, 1], data)


@pytest.mark.parametrize(
    ("datatype", "contents"),
    [
        (DataType.BOOL, m.InferTensorContents(bool_contents=[True, False])),
        (DataType.INT8, m.InferTensorContents(int_contents=[-128, 127])),
        (DataType.INT16, m.InferTensorContents(int_contents=[-5, 5])),
        (DataType.INT32, m.InferTensorContents(int_contents=[-(1 << 31), 5])),
        (DataType.INT64, m.InferTensorContents(int64_contents=[-(1 << 63), 5])),
        (DataType.UINT8, m.InferTensorContents(uint_contents=[0, 255])),
        (DataType.UINT16, m.InferTensorContents(uint_contents=[0, 65535])),
        (DataType.UINT32, m.InferTensorContents(uint_contents=[0, (1 << 32) - 1])),
        (DataType.UINT64, m.InferTensorContents(uint64_contents=[0, (1 << 64) - 1])),
        (DataType.FP32, m.InferTensorContents(fp32_contents=[0.5, float("inf")])),
        (DataType.FP64, m.InferTensorContents(fp64_contents=[0.1, -1e300])),
        (DataType.BYTES, m.InferTensorContents(bytes_contents=[b"a", "ä".encode()])),
    ],
)
def test_typed_contents_are_read_from_the_field_of_their_datatype(
    datatype: DataType, contents: m.InferTensorContents
) -> None:
    array = from_contents("input 'x'", datatype, [2, 1], contents)
    assert array.dtype == datatype.dtype
    assert array.shape == (2, 1)
    values = contents.ListFields()[0][1]
    expected = [value.decode() if isinstance(value, bytes) else value for value in values]
    assert array[:, 0].tolist() == expected


def test_fp16_has_no_typed_contents() -> None:
    with pytest.raises(InvalidInput, match="input 'x': FP16 has no typed contents; expected raw contents"):
        from_contents("input 'x'", DataType.FP16, [1], m.InferTensorContents(fp32_contents=[1.0]))


def test_contents_in_the_field_of_another_datatype_are_refused() -> None:
    with pytest.raises(
        InvalidInput, match="input 'x': expected the contents of INT64 in int64_contents, got int_contents"
    ):
        from_contents("input 'x'", DataType.INT64, [1], m.InferTensorContents(int_contents=[1]))


def test_another_number_of_elements_is_refused() -> None:
    with pytest.raises(
        InvalidInput, match=r"input 'x': expected 4 elements in fp32_contents for shape \[2, 2\], got 3"
    ):
        from_contents("input 'x'", DataType.FP32, [2, 2], m.InferTensorContents(fp32_contents=[1, 2, 3]))


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="input 'x': 300 in uint_contents does not fit into UINT8"):
        from_contents("input 'x'", DataType.UINT8, [2], m.InferTensorContents(uint_contents=[1, 300]))
