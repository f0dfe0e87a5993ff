"""Inputs beside the table: images and signals, from encoded files, lists of numbers or arrays.

Encoded images become float32 from 0 to 1: their pixels are divided by 255, and so a bundle does with images that it is
sent. Numbers are taken as they are, for nothing divides them when they are sent to a bundle.
"""

import io
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...serving.contract.errors import InvalidInput
from ...serving.contract.pixels import channels_of, decoded, open_image, scaled
from ...serving.contract.tensors import Array
from .data_error import DataError

MOST_INK = 255.0
_CHANNELS = (1, 3, 4)
_BLOCK_CELLS = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Rows of an array.

    Attributes:
        values: `(n_rows, ...)` float32; what rows hold that are not whole says nothing.
        is_whole: rows that hold all their values, all finite `(n_rows,)`.
        pixel_scale: what pixels from 0 to 255 were divided by; None where the numbers are no pixels.
    """

    values: Array
    is_whole: Array
    pixel_scale: float | None = None


def stack_lists(name: str, cells: Any, image_size: tuple[int, int] | None = None, *, is_image: bool = False) -> Stack:
    """Return lists of numbers, nested or flat, as an array.

    Args:
        name: the column's name.
        cells: `pyarrow.ChunkedArray` of lists or tensors.
        image_size: height and width of flat images.
        is_image: whether they are images: `(height, width)` or `(height, width, channels)`, or flat.

    Raises:
        DataError: they differ in their lengths, or have a shape that nothing here learns from.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = cells.combine_chunks()
    is_there = np.asarray(cells.is_valid().to_numpy(zero_copy_only=False), bool)
    inner: tuple[int, ...] = ()
    if isinstance(cells.type, pa.BaseExtensionType):
        inner = tuple(getattr(cells.type, "shape", ()))
        cells = cells.storage
    cells = cells.drop_null()
    shape: list[int] = []
    while hasattr(cells.type, "value_type"):
        lengths = pc.list_value_length(cells)
        bounds = pc.min_max(lengths).as_py()
        if lengths.null_count or bounds["min"] != bounds["max"] or not bounds["max"]:
            raise DataError(f"column {name!r} holds lists of different lengths: {bounds['min']} to {bounds['max']}")
        shape.append(bounds["max"])
        cells = cells.flatten()
    numbers = np.asarray(cells.cast(pa.float32(), safe=False).to_numpy(zero_copy_only=False), np.float32)
    present = numbers.reshape(int(is_there.sum()), *(inner or shape))
    values = present if is_there.all() else np.zeros((len(is_there), *present.shape[1:]), np.float32)
    if values is not present:
        values[is_there] = present
    return _stack(name, values, is_there, image_size, is_image=is_image, is_integer=pa.types.is_integer(cells.type))


def stack_array(name: str, array: Array, image_size: tuple[int, int] | None = None, *, is_image: bool = False) -> Stack:
    """Return an array of a file `(n_rows, d1, ...)` as one that models take; one of float32 stays mapped.

    Raises:
        DataError: nothing here learns from such a shape.
    """
    is_there = np.ones(len(array), bool)
    values = array.astype(np.float32, copy=False)
    return _stack(name, values, is_there, image_size, is_image=is_image, is_integer=array.dtype.kind in "iu")


def _stack(
    name: str, values: Array, is_there: Array, size: tuple[int, int] | None, *, is_image: bool, is_integer: bool
) -> Stack:
    shape = _image_shape(name, values.shape[1:], size) if is_image else _shape(name, values.shape[1:])
    values = values.reshape(len(values), *shape)
    is_whole = is_there.copy()
    step = max(1, _BLOCK_CELLS // math.prod(shape))
    most, least = 0.0, 0.0
    for start in range(0, len(values), step):
        block = values[start : start + step]
        is_whole[start : start + step] &= np.isfinite(block).reshape(len(block), -1).all(axis=1)
        most, least = max(most, float(block.max())), min(least, float(block.min()))
    are_pixels = is_integer and least >= 0 and 1 < most <= MOST_INK and len(shape) == 3 and shape[-1] in _CHANNELS
    return Stack(values, is_whole, 1.0 if are_pixels else None)


def _shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 1 and shape[0] > 1:
        return (*shape, 1)
    if len(shape) in {2, 3}:
        return shape
    raise DataError(f"column {name!r} holds arrays of shape {list(shape)}; expected (steps, channels) or an image's")


def _image_shape(name: str, shape: tuple[int, ...], size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return height, width and channels of images that come as numbers."""
    found: tuple[int, ...] = shape
    if len(shape) == 1:
        fits = [(*(size or (math.isqrt(shape[0] // n),) * 2), n) for n in _CHANNELS]
        found = next((fit for fit in fits if math.prod(fit) == shape[0]), shape)
    elif len(shape) == 2:
        found = (*shape, 1)
    if len(found) != 3:
        raise DataError(
            f"image column {name!r} holds numbers of shape {list(shape)}; expected (height, width, channels), or flat "
            f"ones with --image-size HxW"
        )
    if size is not None and found[:2] != size:
        raise DataError(f"image column {name!r}: numbers are not resized; they are {list(found[:2])}, not {list(size)}")
    return found[0], found[1], found[2]


def is_encoded(kind: Any) -> bool:
    """Return whether cells of a `pyarrow.DataType` can be encoded images, or names of their files."""
    import pyarrow as pa

    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    is_struct = pa.types.is_struct(kind) and (kind.get_field_index("bytes") >= 0 or kind.get_field_index("path") >= 0)
    return bool(is_struct or any(is_kind(kind) for is_kind in (*text, *binary)))


def decode_images(name: str, cells: Any, folder: Path, image_size: tuple[int, int] | None, rows: Array) -> Array:
    """Return encoded images as float32 `(n_rows, height, width, channels)` from 0 to 1.

    All get the channels of the richest of them, and its own size unless one is given.

    Args:
        name: the column's name.
        cells: `pyarrow.ChunkedArray` of bytes, names of files, or structs of both; none is missing.
        folder: where names of files begin.
        image_size: height and width to resize to.
        rows: each cell's row in the file, to name a bad one by `(n_rows,)`.

    Raises:
        DataError: one is no image or no file, or they differ in size and none is given; names column and row.
    """
    files = cells.to_pylist()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        facts = list(pool.map(partial(_facts, name, folder), files, rows.tolist()))
        sizes = {fact[:2] for fact in facts}
        if image_size is None and len(sizes) > 1:
            raise DataError(
                f"image column {name!r} holds images of {len(sizes)} sizes, from {list(min(sizes))} to "
                f"{list(max(sizes))}; say which to resize all to: --image-size HxW"
            )
        height, width = image_size or next(iter(sizes))
        channels = max(fact[2] for fact in facts)
        out = np.empty((len(files), height, width, channels), np.float32)
        list(pool.map(partial(_decode, name, folder), files, rows.tolist(), out))
    return out


def _facts(name: str, folder: Path, cell: Any, row: int) -> tuple[int, int, int]:
    try:
        with open_image(_file(name, folder, cell, row)) as image:
            return image.height, image.width, channels_of(image)
    except InvalidInput as error:
        raise DataError(f"image column {name!r}: row {row} {error}") from error


def _decode(name: str, folder: Path, cell: Any, row: int, out: Array) -> None:
    """Decode an image into `(height, width, channels)`."""
    try:
        with open_image(_file(name, folder, cell, row)) as image:
            out[...] = scaled(decoded(image, *out.shape), np.float32, MOST_INK)
    except InvalidInput as error:
        raise DataError(f"image column {name!r}: row {row} {error}") from error


def _file(name: str, folder: Path, cell: Any, row: int) -> Any:
    """Return what holds an image: its bytes, or the file that is named."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return io.BytesIO(cell)
    path = PurePosixPath(str(cell))
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"image column {name!r}: row {row} names {cell!r}; expected a file inside {folder}")
    if not (folder / path).is_file():
        raise DataError(f"image column {name!r}: row {row} names {cell!r}, and {folder / path} does not exist")
    return folder / path
