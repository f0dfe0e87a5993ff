"""Cells of bytes as tensors: image files that Pillow writes here, pixels, and plain values."""

import io
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from widedeep.export.spec.images import Images
from widedeep.export.spec.inputs import Stack
from widedeep.serving.batch.images import decode, is_encoded
from widedeep.serving.contract.errors import ConfigurationError, InvalidInput
from widedeep.serving.contract.tensors import DataType, TensorSpec

RGB = TensorSpec("image", DataType.FP32, (-1, 4, 6, 3), pixel_scale=255.0)
GREY = TensorSpec("image", DataType.FP32, (-1, 4, 6, 1), pixel_scale=255.0)
BYTES = TensorSpec("image", DataType.UINT8, (-1, 4, 6, 3))
FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(array: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def column(*cells: bytes | None) -> Any:
    return pa.array(cells, pa.binary())


def test_png_files_come_back_as_the_pixels_that_they_were_made_of() -> None:
    images = pixels(5, 4, 6, 3)
    np.testing.assert_array_equal(decode(BYTES, "image", column(*map(encoded, images)), None), images)
    scaled = decode(RGB, "image", column(*map(encoded, images)), None)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, images.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_told_by_its_first_bytes_and_decoded_as_pillow_does(form: str) -> None:
    content = encoded(pixels(4, 6, 3), form)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    assert is_encoded(content[:18])
    np.testing.assert_array_equal(decode(BYTES, "image", column(content), None)[0], expected)


@pytest.mark.parametrize("datatype", [DataType.FP16, DataType.FP32, DataType.FP64, DataType.UINT8, DataType.INT64])
@pytest.mark.parametrize("scale", [None, 255.0, 127.5])
def test_a_job_is_given_bit_for_bit_what_export_gave_the_model(
    tmp_path: Path, datatype: DataType, scale: float | None
) -> None:
    files = []
    for i, form in enumerate(FORMATS):  # of other sizes and channels than the input
        shape = (7 + i, 9, 3) if i % 2 else (5, 11 + i)
        files.append(tmp_path / f"{i}.{form.lower()}")
        files[-1].write_bytes(encoded(pixels(*shape, seed=i), form))
    stack = Stack("image", Images(files, size=(4, 6), channels=3), dtype=datatype.dtype.name, scale=scale)
    spec = TensorSpec("image", datatype, (-1, 4, 6, 3), pixel_scale=stack.pixel_scale)
    exported = stack.take(np.arange(len(files)))
    read = decode(spec, "image", column(*(file.read_bytes() for file in files)), None)
    assert read.dtype == exported.dtype
    np.testing.assert_array_equal(read, exported)


def test_grey_and_colour_become_what_the_input_takes() -> None:
    grey, colour = pixels(4, 6), pixels(4, 6, 3)
    cells = column(encoded(grey), encoded(colour))
    np.testing.assert_array_equal(decode(BYTES, "image", cells, None)[0], np.stack([grey] * 3, axis=-1))
    two_axes = TensorSpec("image", DataType.UINT8, (-1, 4, 6))
    np.testing.assert_array_equal(decode(two_axes, "image", cells, None)[1], Image.fromarray(colour).convert("L"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_come_first_where_the_input_has_them_first(channels: int) -> None:
    array = pixels(5, 7, channels)
    spec = TensorSpec("image", DataType.UINT8, (-1, channels, 5, 7))
    read = decode(spec, "image", column(encoded(array.squeeze())), None)
    np.testing.assert_array_equal(read[0], array.transpose(2, 0, 1))


def test_images_of_another_size_are_resized_bilinearly() -> None:
    array = pixels(9, 13, 3)
    expected = Image.fromarray(array).resize((6, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(decode(BYTES, "image", column(encoded(array)), None)[0], np.asarray(expected))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = pixels(4, 6, seed=1), pixels(4, 6, seed=2)
    content = encoded(first, "GIF", save_all=True, append_images=[Image.fromarray(second)])
    read = decode(TensorSpec("image", DataType.UINT8, (-1, 4, 6)), "image", column(content), None)
    np.testing.assert_array_equal(read[0], first)


@given(
    st.sampled_from([datatype for datatype in DataType if datatype is not DataType.BYTES]),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_values_come_back_as_they_are(datatype: DataType, n_rows: int, skipped: int) -> None:
    size = 8 * datatype.dtype.itemsize
    rng = np.random.default_rng(n_rows)
    cells = [rng.bytes(size) for _ in range(n_rows)]
    if datatype is DataType.BOOL:
        cells = [bytes(byte & 1 for byte in cell) for cell in cells]
    spec = TensorSpec("image", datatype, (-1, 2, 4))
    expected = np.frombuffer(b"".join(cells), datatype.dtype.newbyteorder("<")).reshape(n_rows, 2, 4)
    for kind in (pa.binary(), pa.large_binary(), pa.binary(size)):
        padded = pa.array([bytes(size)] * skipped + cells, kind).slice(skipped)
        read = decode(spec, "image", padded, None)
        assert read.dtype == datatype.dtype
        assert read.flags.aligned
        assert read.tobytes() == expected.tobytes()
    if n_rows:
        padded = pa.array([b"odd", *cells], pa.binary()).slice(1)
        read = decode(spec, "image", padded, None)
        assert read.flags.aligned
        assert read.tobytes() == expected.tobytes()


def test_a_view_column_is_read_too() -> None:
    image = pixels(4, 6, 3)
    read = decode(BYTES, "image", column(encoded(image)).cast(pa.binary_view()), None)
    np.testing.assert_array_equal(read[0], image)


def test_pixels_that_come_as_such_are_scaled_and_values_are_not() -> None:
    raw, image = pixels(4, 6, 3, seed=1), pixels(4, 6, 3, seed=2)
    values = np.random.default_rng(3).normal(size=(4, 6, 3)).astype("<f4")
    cells = column(raw.tobytes(), values.tobytes(), encoded(image))
    read = decode(RGB, "image", cells, None)
    np.testing.assert_array_equal(read, [raw / np.float32(255), values, image / np.float32(255)])


@pytest.mark.parametrize("magic", [b"BM", b"\xff\xd8\xfe", b"RIFF"])
def test_values_that_only_begin_like_an_image_are_values(magic: bytes) -> None:
    cell = magic + bytes(8 * 4 - len(magic))
    read = decode(TensorSpec("x", DataType.FP32, (-1, 8)), "x", column(cell), None)
    assert read.tobytes() == cell


def test_the_scale_given_comes_before_that_of_the_bundle_and_is_for_floats_only() -> None:
    image = pixels(4, 6, 3)
    read = decode(RGB, "image", column(encoded(image)), 2.0)
    np.testing.assert_array_equal(read[0], image / np.float32(2))
    np.testing.assert_array_equal(decode(BYTES, "image", column(encoded(image)), 2.0)[0], image)


def test_floats_of_a_bundle_that_tells_no_scale_are_refused_with_the_way_out() -> None:
    spec = TensorSpec("image", DataType.FP32, (-1, 4, 6, 3))
    for cell in (encoded(pixels(4, 6, 3)), pixels(4, 6, 3).tobytes()):
        with pytest.raises(ConfigurationError, match=r"input 'image', column 'photo': .* give --image-scale 255 if"):
            decode(spec, "photo", column(cell), None)


def damaged(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("spec", "cell", "said"),
    [
        (GREY, None, "expected an image or 96 bytes of FP32 or 24 bytes of pixels, got a missing value in row 1"),
        (GREY, b"", "expected an image or 96 bytes of FP32 or 24 bytes of pixels, got 0 bytes in row 1"),
        (BYTES, b"12345", "expected an image or 72 bytes of UINT8, got 5 bytes in row 1"),
        (GREY, damaged(encoded(pixels(40, 60), "JPEG")), "the image in row 1 cannot be decoded: OSError: "),
        (GREY, damaged(encoded(pixels(40, 60), "PNG")), "the image in row 1 cannot be decoded: "),
        (GREY, encoded(pixels(4, 6), "PNG")[:20], "the image in row 1 is no image: "),
        (
            GREY,
            encoded(pixels(4, 6).astype(np.uint16)),
            "the image in row 1 has pixels of mode I;16; expected 8 bits a channel, or the values as an array",
        ),
    ],
)
def test_a_cell_that_is_no_row_is_refused_by_its_place(spec: TensorSpec, cell: bytes | None, said: str) -> None:
    good = encoded(pixels(4, 6))
    with pytest.raises(InvalidInput, match=re.escape(f"input 'image', column 'photo': {said}")):
        decode(spec, "photo", column(good, cell, good), None)


@pytest.mark.parametrize(
    ("datatype", "row_shape", "expected"),
    [
        (DataType.FP32, (8,), "expected 32 bytes of FP32 or 8 bytes of pixels"),
        (DataType.FP32, (2, 2, 2), "expected 32 bytes of FP32 or 8 bytes of pixels"),
        (DataType.INT8, (2, 4), "expected 8 bytes of INT8"),
    ],
)
def test_an_image_for_an_input_that_cannot_hold_one_is_refused(
    datatype: DataType, row_shape: tuple[int, ...], expected: str
) -> None:
    spec = TensorSpec("x", datatype, (-1, *row_shape), pixel_scale=255.0)
    with pytest.raises(InvalidInput, match=f"column 'photo': the image in row 0 does not fit: {expected}"):
        decode(spec, "photo", column(encoded(pixels(2, 4))), None)


def test_without_pillow_plain_values_still_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(pixels(4, 6, 3))
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert decode(BYTES, "image", column(bytes(72)), None).shape == (1, 4, 6, 3)
    with pytest.raises(ConfigurationError, match=r"widedeep\[images\]"):
        decode(BYTES, "image", column(content), None)


def test_threads_decode_side_by_side() -> None:
    columns = [column(*(encoded(image, "JPEG") for image in pixels(8, 16, 24, 3, seed=seed))) for seed in range(8)]
    alone = [decode(RGB, "image", cells, None) for cells in columns]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda cells: decode(RGB, "image", cells, None), columns))
    np.testing.assert_array_equal(together, alone)
