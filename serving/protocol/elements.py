"""Tensor elements as bytes and as typed contents, both ways.

Raw bytes are little-endian and row-major; an element of a BYTES tensor follows its length in 4 little-endian bytes.
Sizes are compared as Python integers before anything is allocated, so no shape, however large, costs more than a
look at it. Errors start with what the tensor is called by the caller, for example "input 'age'".
"""

import math
import struct
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..contract.errors import InvalidInput
from ..contract.tensors import Array, DataType
from . import messages as m

_LENGTH = struct.Struct("<I")
_LABEL_LENGTH = 64
"""Longer texts are hardly labels, and would take much memory to remember."""
_IS_LITTLE_ENDIAN = sys.byteorder == "little"

# datatype -> field of InferTensorContents, and the type its elements have there
_CONTENTS: dict[DataType, tuple[str, Any]] = {
    DataType.BOOL: ("bool_contents", np.bool_),
    DataType.INT8: ("int_contents", np.int32),
    DataType.INT16: ("int_contents", np.int32),
    DataType.INT32: ("int_contents", np.int32),
    DataType.INT64: ("int64_contents", np.int64),
    DataType.UINT8: ("uint_contents", np.uint32),
    DataType.UINT16: ("uint_contents", np.uint32),
    DataType.UINT32: ("uint_contents", np.uint32),
    DataType.UINT64: ("uint64_contents", np.uint64),
    DataType.FP32: ("fp32_contents", np.float32),
    DataType.FP64: ("fp64_contents", np.float64),
    DataType.BYTES: ("bytes_contents", object),
}


def to_raw(array: Array) -> bytes:
    """Return the elements of an array of any dtype that has a name in the protocol; text goes as UTF-8."""
    datatype = DataType.of(array)
    if datatype is not DataType.BYTES:
        return (array if _IS_LITTLE_ENDIAN else array.byteswap()).tobytes()
    return b"".join(
        _packed_label(element) if type(element) is str and len(element) <= _LABEL_LENGTH else _packed(element)
        for element in array.ravel().tolist()
    )


@lru_cache(maxsize=4096)
def _packed_label(label: str) -> bytes:
    """Return what `_packed` does; remembered, since labels come again and again."""
    return _packed(label)


def _packed(element: object) -> bytes:
    """Return one BYTES element behind its length."""
    encoded = element if isinstance(element, bytes) else str(element).encode()
    return _LENGTH.pack(len(encoded)) + encoded


def from_raw(what: str, datatype: DataType, shape: Sequence[int], data: bytes) -> Array:
    """Return the array that raw bytes spell, without a copy where they can be used as they are (then read-only).

    Raises:
        InvalidInput: the bytes are fewer or more than the shape needs, or are no values of the datatype.
    """
    n_elements = _n_elements(what, shape)
    if datatype is DataType.BYTES:
        return _text(what, shape, _split(what, n_elements, data))
    expected = n_elements * datatype.dtype.itemsize
    if len(data) != expected:
        raise InvalidInput(
            f"{what}: expected {expected} bytes of raw contents for {datatype} of shape {list(shape)}, got {len(data)}"
        )
    if datatype is DataType.BOOL and n_elements and np.frombuffer(data, np.uint8).max() > 1:
        raise InvalidInput(f"{what}: expected bytes 0 or 1 for BOOL, got {np.frombuffer(data, np.uint8).max()}")
    array = np.frombuffer(data, datatype.dtype.newbyteorder("<"))
    return array.astype(datatype.dtype, copy=False).reshape(tuple(shape))


def from_contents(what: str, datatype: DataType, shape: Sequence[int], contents: m.InferTensorContents) -> Array:
    """Return the array that typed contents spell.

    Raises:
        InvalidInput: they stand in the field of another datatype, are fewer or more than the shape needs, or do not
            fit the datatype.
    """
    n_elements = _n_elements(what, shape)
    if datatype not in _CONTENTS:
        raise InvalidInput(f"{what}: {datatype} has no typed contents; expected raw contents")
    field, dtype = _CONTENTS[datatype]
    if wrong := [used.name for used, _ in contents.ListFields() if used.name != field]:
        raise InvalidInput(f"{what}: expected the contents of {datatype} in {field}, got {wrong[0]}")
    values = getattr(contents, field)
    if len(values) != n_elements:
        raise InvalidInput(
            f"{what}: expected {n_elements} elements in {field} for shape {list(shape)}, got {len(values)}"
        )
    if datatype is DataType.BYTES:
        return _text(what, shape, values)
    wide = np.fromiter(values, dtype, n_elements).reshape(tuple(shape))
    narrow: Array = wide.astype(datatype.dtype, copy=False)
    if narrow.dtype != wide.dtype and (narrow != wide).any():
        value = wide[narrow != wide].flat[0]
        raise InvalidInput(f"{what}: {value} in {field} does not fit into {datatype}")
    return narrow


def _n_elements(what: str, shape: Sequence[int]) -> int:
    if any(size < 0 for size in shape):
        raise InvalidInput(f"{what}: expected no negative size, got shape {list(shape)}")
    return math.prod(shape)


def _split(what: str, n_elements: int, data: bytes) -> list[bytes]:
    """Return the elements of a raw BYTES tensor."""
    if n_elements * _LENGTH.size > len(data):
        raise InvalidInput(
            f"{what}: expected at least {n_elements * _LENGTH.size} bytes of raw contents for the lengths of "
            f"{n_elements} BYTES elements, got {len(data)}"
        )
    elements: list[bytes] = []
    offset = 0
    for i in range(n_elements):
        start = offset + _LENGTH.size
        if start > len(data):
            raise InvalidInput(f"{what}: the raw contents end before the length of element {i} of {n_elements}")
        offset = start + _LENGTH.unpack_from(data, offset)[0]
        if offset > len(data):
            raise InvalidInput(
                f"{what}: element {i} of {n_elements} should have {offset - start} bytes, {len(data) - start} are left"
            )
        elements.append(data[start:offset])
    if offset != len(data):
        raise InvalidInput(f"{what}: {len(data) - offset} bytes are left after element {n_elements} of {n_elements}")
    return elements


def _text(what: str, shape: Sequence[int], elements: Iterable[bytes]) -> Array:
    array = np.empty(math.prod(shape), object)
    for i, element in enumerate(elements):
        try:
            array[i] = element.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"{what}: element {i} is not UTF-8: {error}") from None
    return array.reshape(tuple(shape))
