"""Cells of bytes as the rows of an input: encoded images, pixels, or the values themselves.

    encoded image, told by its first bytes -> pixels of the input's size and channels -> divided by the scale
    as many bytes as a row has values      -> uint8 pixels                            -> divided by the scale
    as many bytes as a row takes           -> its values, little-endian

Images are decoded, converted and resized by `contract.pixels`, as `widedeep export` does it, so that a net is given bit
for bit what it was trained and proven on. Pillow works outside the interpreter lock: callers decode in several threads.
"""

import io
import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa

from ..contract.errors import ConfigurationError, InvalidInput
from ..contract.pixels import decoded, open_image, scaled
from ..contract.tensors import Array, DataType, TensorSpec

_CHANNELS = (1, 3, 4)
_NO_PIXELS = (DataType.BOOL, DataType.INT8)
"""What cannot hold 0 to 255."""

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
_HEAD_BYTES = 18
_STARTS = np.array(sorted({int.from_bytes(magic[:2], "little") for magic in _MAGIC}), "<u2")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes that the second header of a BMP file can have; two letters alone would be too little to tell one by."""


def decode(spec: TensorSpec, name: str, cells: Any, scale: float | None) -> Array:
    """Return a column of bytes as the rows of an input, `(n_rows, d1, ...)` of its datatype.

    An image becomes `(height, width, channels)`; channels come first where the input has 1, 3 or 4 there and not at its
    end; an input of two axes is grey. Pixels and values that come as such must be in the input's own order, row-major.

    Args:
        spec: the input, not of BYTES.
        name: the column's name.
        cells: `pyarrow.Array` of binary, large, fixed-size or view type.
        scale: what pixels are divided by where the input holds floats; None as the bundle says. An input of integers
            takes them as the bundle says, or as they are.

    Raises:
        ConfigurationError: pixels came, and neither `scale` nor the bundle says how they are scaled; or an image came,
            and Pillow is not installed.
        InvalidInput: a cell is none of the three, or damaged; names input, column, row, and what was expected and came.
    """
    dtype = spec.datatype.dtype
    what = f"input {spec.name!r}, column {name!r}"
    if cells.null_count:
        row = int(np.argmax(cells.is_null().to_numpy(zero_copy_only=False)))
        raise InvalidInput(f"{what}: expected {_expected(spec)}, got a missing value in row {row}")
    data, starts = _contents(cells)
    if _are_values(data, starts, math.prod(spec.row_shape) * dtype.itemsize):
        return _values(data[starts[0] : starts[-1]], dtype).reshape(len(cells), *spec.row_shape)
    out = np.empty((len(cells), *spec.row_shape), dtype)
    pixels: dict[int, Array] = {}
    for row, (start, stop) in enumerate(itertools.pairwise(starts.tolist())):
        values, are_pixels = _row(spec, what, row, data[start:stop])
        if are_pixels:
            pixels[row] = values
        else:
            out[row] = values
    if not pixels:
        return out
    taken = scaled(np.stack(list(pixels.values())), dtype, _scale(spec, what, scale))
    if len(taken) == len(out):
        return taken
    out[list(pixels)] = taken
    return out


def is_encoded(head: bytes) -> bool:
    """Return whether bytes are those of an image file, as the first 18 tell."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    if head.startswith(b"BM"):
        return int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return head.startswith(_MAGIC)


def _row(spec: TensorSpec, what: str, row: int, cell: Array) -> tuple[Array, bool]:
    """Return what a cell holds in the shape of a row, and whether it is pixels, which are yet to be scaled."""
    size, dtype = math.prod(spec.row_shape), spec.datatype.dtype
    if is_encoded(cell[:_HEAD_BYTES].tobytes()):
        try:
            return _image(spec, cell), True
        except InvalidInput as error:
            raise InvalidInput(f"{what}: the image in row {row} {error}") from error
    if cell.size == size * dtype.itemsize:
        return _values(cell, dtype).reshape(spec.row_shape), False
    if cell.size == size:
        return cell.reshape(spec.row_shape), True
    raise InvalidInput(f"{what}: expected {_expected(spec)}, got {cell.size} bytes in row {row}")


def _contents(cells: Any) -> tuple[Array, Array]:
    """Return the bytes of all cells, uint8 `(n_bytes,)`, and where each starts and the last ends, `(n_rows + 1,)`."""
    if not len(cells):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    large = cells.cast(pa.large_binary())
    _, offsets, data = large.buffers()
    starts = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    return np.frombuffer(data or b"", np.uint8), starts


def _are_values(data: Array, starts: Array, row_bytes: int) -> bool:
    """Return whether every cell holds the values of a row, so that all can be taken in one go."""
    if row_bytes < 2 or (np.diff(starts) != row_bytes).any():
        return False
    rows = data[starts[0] : starts[-1]].reshape(-1, row_bytes)
    first_two = np.ascontiguousarray(rows[:, :2]).view("<u2")[:, 0]
    return not any(is_encoded(rows[row, :_HEAD_BYTES].tobytes()) for row in np.flatnonzero(np.isin(first_two, _STARTS)))


def _values(content: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "b":
        return np.not_equal(content, 0)
    values = content.view(dtype.newbyteorder("<")).astype(dtype, copy=False)
    return np.require(values, requirements="A")  # a slice may start anywhere


def _image(spec: TensorSpec, content: Array) -> Array:
    """Return an encoded image as uint8 pixels in the input's shape of a row."""
    layout = _layout(spec)
    if layout is None:
        raise InvalidInput(f"does not fit: expected {_expected(spec)}")
    height, width, channels = layout
    with open_image(io.BytesIO(content.data)) as image:
        pixels = decoded(image, height, width, channels)
    shape = spec.row_shape
    return (pixels.transpose(2, 0, 1) if _is_channels_first(shape) else pixels).reshape(shape)


def _layout(spec: TensorSpec) -> tuple[int, int, int] | None:
    """Return height, width and channels of an input's images, None where it cannot hold any."""
    shape = spec.row_shape
    if spec.datatype in _NO_PIXELS:
        return None
    if len(shape) == 2:
        return (*shape, 1)
    if _is_channels_first(shape):
        return shape[1], shape[2], shape[0]
    return shape if len(shape) == 3 and shape[2] in _CHANNELS else None


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[0] in _CHANNELS and shape[2] not in _CHANNELS


def _scale(spec: TensorSpec, what: str, given: float | None) -> float | None:
    """Return what an input's pixels are divided by, None where they are taken as they are."""
    if not spec.datatype.is_float:
        return spec.pixel_scale
    if given is None and spec.pixel_scale is None:
        raise ConfigurationError(
            f"{what}: the bundle does not say how pixels were scaled in training; give --image-scale 255 if they were "
            f"divided by 255, or --image-scale 1 if they were taken as they are"
        )
    return spec.pixel_scale if given is None else given


def _expected(spec: TensorSpec) -> str:
    """Return in words what a cell may hold."""
    size, itemsize = math.prod(spec.row_shape), spec.datatype.dtype.itemsize
    values = f"{size * itemsize} bytes of {spec.datatype}"
    pixels = [f"{size} bytes of pixels"] if itemsize > 1 else []
    return " or ".join(([] if _layout(spec) is None else ["an image"]) + [values] + pixels)
