"""Tensor declarations and the one check that every batch of rows passes before it reaches a member.

In memory a BYTES tensor is a numpy object array of `str`; every other datatype is the numpy array of that type.
The first axis is always rows; the others are fixed, so that rows of different requests can be batched together.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .errors import BundleError, InvalidInput

Array = npt.NDArray[Any]


class DataType(StrEnum):
    """Datatype names of the Open Inference Protocol v2."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype of tensors in memory (object for BYTES)."""
        return _DTYPES[self]

    @property
    def is_float(self) -> bool:
        """Whether values can be NaN or infinite."""
        return self in {DataType.FP16, DataType.FP32, DataType.FP64}

    @classmethod
    def of(cls, array: Array) -> "DataType":
        """Return the datatype of a numpy array; strings of any kind are BYTES.

        Raises:
            InvalidInput: the dtype has no name in the protocol.
        """
        if (known := _DATATYPES.get(array.dtype)) is not None:
            return known
        if array.dtype.kind in "US":
            return cls.BYTES
        raise InvalidInput(f"numpy dtype {array.dtype} has no datatype in the Open Inference Protocol")


_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
_DATATYPES = {dtype: DataType(name) for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Declaration of one input or output.

    Attributes:
        name: tensor name on the wire and in every member's graph.
        datatype: element type.
        shape: `(-1, d1, ...)`; the first axis is rows, the others are positive. A single column is `(-1, 1)`.
        feature_names: names of the columns stacked along axis 1, empty where they have none.
        categories: the values seen in training of a categorical column.
        allow_nan: whether NaN is a legal value (a missing one).
        allow_inf: whether infinities are legal values.
        closed_categories: whether values outside `categories` are refused; else they are passed on as unseen.
        missing: of a BYTES tensor, the string that stands for a missing value, None where there is none.
        pixel_scale: what pixels from 0 to 255 were divided by before training, None where that is not known.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    feature_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    allow_nan: bool = True
    allow_inf: bool = True
    closed_categories: bool = False
    missing: str | None = None
    pixel_scale: float | None = None

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be batched, and names or categories that do not fit."""
        if len(self.shape) < 2 or self.shape[0] != -1 or any(d < 1 for d in self.shape[1:]):
            raise BundleError(f"tensor {self.name!r}: shape must be (-1, d1, ...) with d > 0, got {list(self.shape)}")
        if self.feature_names and len(self.feature_names) != self.shape[1]:
            raise BundleError(
                f"tensor {self.name!r}: {len(self.feature_names)} feature names for {self.shape[1]} columns"
            )
        if self.closed_categories and not (self.categories and self.datatype is DataType.BYTES):
            raise BundleError(f"tensor {self.name!r}: closed_categories needs a BYTES tensor with categories")
        if self.pixel_scale is not None and not 0 < self.pixel_scale < math.inf:
            raise BundleError(f"tensor {self.name!r}: expected a positive pixel_scale, got {self.pixel_scale}")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; optional keys appear only where they say something."""
        out: dict[str, Any] = {"name": self.name, "datatype": self.datatype.value, "shape": list(self.shape)}
        if self.feature_names:
            out["feature_names"] = list(self.feature_names)
        if self.categories:
            out["categories"] = list(self.categories)
        if not self.allow_nan:
            out["allow_nan"] = False
        if not self.allow_inf:
            out["allow_inf"] = False
        if self.closed_categories:
            out["closed_categories"] = True
        if self.missing is not None:
            out["missing"] = self.missing
        if self.pixel_scale is not None:
            out["pixel_scale"] = self.pixel_scale
        return out

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        return cls(
            name=str(data["name"]),
            datatype=DataType(data["datatype"]),
            shape=tuple(int(d) for d in data["shape"]),
            feature_names=tuple(map(str, data.get("feature_names", ()))),
            categories=tuple(map(str, data.get("categories", ()))),
            allow_nan=bool(data.get("allow_nan", True)),
            allow_inf=bool(data.get("allow_inf", True)),
            closed_categories=bool(data.get("closed_categories", False)),
            missing=None if data.get("missing") is None else str(data["missing"]),
            pixel_scale=None if data.get("pixel_scale") is None else float(data["pixel_scale"]),
        )


def check_rows(specs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> int:
    """Check that `arrays` are exactly the declared inputs and return their number of rows.

    Args:
        specs: the bundle's inputs.
        arrays: input name -> array of the declared dtype, shape `(n_rows, d1, ...)`.

    Raises:
        InvalidInput: an input is missing, unknown, of another dtype, rank or size, has no rows or another number of
            rows than the first, or holds NaN, an infinity or an unknown category where the bundle forbids it.
    """
    if unknown := [name for name in arrays if name not in {spec.name for spec in specs}]:
        raise InvalidInput(f"unknown input {unknown[0]!r}; expected {_names(specs)}")
    n_rows: int | None = None
    for spec in specs:
        if spec.name not in arrays:
            raise InvalidInput(f"missing input {spec.name!r}; expected {_names(specs)}")
        array = arrays[spec.name]
        if array.dtype != spec.datatype.dtype:
            raise InvalidInput(f"input {spec.name!r}: expected datatype {spec.datatype}, got {DataType.of(array)}")
        check_shape(spec, array.shape)
        if n_rows is None:
            n_rows = array.shape[0]
        elif array.shape[0] != n_rows:
            raise InvalidInput(
                f"input {spec.name!r} has {array.shape[0]} rows, but input {specs[0].name!r} has {n_rows}"
            )
        check_values(spec, array)
    if n_rows is None:
        raise InvalidInput("the bundle declares no inputs")
    return n_rows


def check_values(spec: TensorSpec, array: Array) -> None:
    """Check that `array`, of the declared dtype and shape, holds legal values only.

    Raises:
        InvalidInput: NaN, an infinity or a category that the bundle forbids; names the first place.
    """
    for at_fault, reason in _forbidden(spec, array):
        if at_fault.any():
            place, known = _place(spec, at_fault), listed(spec.categories)
            said = reason.format(value=array[at_fault][0], place=place, known=known)
            raise InvalidInput(f"input {spec.name!r}: {said}")


def illegal_rows(spec: TensorSpec, array: Array) -> npt.NDArray[np.bool_]:
    """Return which rows of `array`, of the declared dtype and shape, `check_values` refuses, `(n_rows,)`."""
    illegal = np.zeros(len(array), np.bool_)
    for at_fault, _ in _forbidden(spec, array):
        illegal |= at_fault.any(axis=tuple(range(1, array.ndim)))
    return illegal


def _forbidden(spec: TensorSpec, array: Array) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
    """Yield where values of each kind that a bundle forbids stand, and what is said of them; none if all are legal."""
    # One pass where all is well; which value is at fault is looked up only once there is one.
    if spec.datatype.is_float and not (spec.allow_nan and spec.allow_inf) and not np.isfinite(array).all():
        if not spec.allow_nan:
            yield np.isnan(array), "NaN in {place}, but a member cannot take missing values there"
        if not spec.allow_inf:
            yield np.isinf(array), "an infinity in {place}, but a member cannot take infinities there"
    if spec.closed_categories and (unknown := set(array.ravel().tolist()).difference(spec.categories)):
        yield (
            np.isin(array, list(unknown)),
            "{value!r} in {place} is no category that a member knows; expected one of {known}",
        )


def check_shape(spec: TensorSpec, shape: Sequence[int]) -> None:
    """Check a concrete shape, rows first, against the declared one.

    Raises:
        InvalidInput: another rank or size, a negative dimension, or no rows.
    """
    if len(shape) != len(spec.shape) or tuple(shape[1:]) != spec.row_shape or shape[0] < 0:
        raise InvalidInput(f"input {spec.name!r}: expected shape {list(spec.shape)}, got {list(shape)}")
    if shape[0] == 0:
        raise InvalidInput(f"input {spec.name!r} has no rows; expected at least one")


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(repr(spec.name) for spec in specs)


def _place(spec: TensorSpec, at_fault: Array) -> str:
    """Return the first place marked in `(n_rows, d1, ...)`: its row and, where there are several, its column."""
    row, *place = map(int, np.argwhere(at_fault)[0])
    if np.prod(spec.row_shape) == 1:
        return f"row {row}"
    if spec.feature_names:
        return f"row {row}, column {spec.feature_names[place[0]]!r}"
    return f"row {row}, column {place[0] if len(place) == 1 else tuple(place)}"


def listed(values: Collection[str], most: int = 8) -> str:
    """Return the first of some names, and how many there are if that is not all."""
    shown = ", ".join(map(repr, itertools.islice(values, most)))
    return shown if len(values) <= most else f"{shown}, ... ({len(values)})"
