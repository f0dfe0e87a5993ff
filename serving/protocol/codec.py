"""From messages to arrays and back: requests as the server reads them, responses as it writes them.

Knows the protocol, not the transport. `calls` is the same for the caller's side, `elements` what both stand on.
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..contract.errors import InvalidInput, Unsupported
from ..contract.tensors import Array, DataType, TensorSpec, check_shape, check_values
from . import messages as m
from .classification import top_classes
from .elements import from_contents, from_raw, to_raw

_CLASSIFICATION = "classification"
_SHARED_MEMORY = "shared_memory_region"
_TIMEOUT = "timeout"
_US = 1e-6
FOREVER_S = 1e6
"""Nobody waits for so long, and waits of some more overflow."""


@dataclass(frozen=True, slots=True)
class Requested:
    """One output that a request asks for.

    Attributes:
        name: its name.
        class_count: how many of the best classes to answer as text; 0 means the tensor itself.
    """

    name: str
    class_count: int = 0


class RequestReader:
    """Reads requests for one bundle; what it needs to know of the bundle's tensors is looked up once. Immutable."""

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], defaults: Sequence[TensorSpec]
    ) -> None:
        """Store what requests may say.

        Args:
            inputs: the bundle's inputs.
            outputs: every output there is.
            defaults: those answered when none is named.
        """
        self._layouts = {spec.name: _Layout.of(spec) for spec in inputs}
        self._outputs = {spec.name: spec for spec in outputs}
        self._plain = {spec.name: Requested(spec.name) for spec in outputs}
        self._defaults = tuple(Requested(spec.name) for spec in defaults)

    def inputs(self, request: m.ModelInferRequest) -> tuple[dict[str, Array], int]:
        """Return a request's inputs by name, checked - all declared ones, of one number of rows - and that number.

        Arrays from raw contents are views of the request's bytes and read-only.

        Raises:
            InvalidInput: an input is missing, unknown, given twice, of another datatype or shape, or its contents do
                not fit; names it.
            Unsupported: an input lies in shared memory.
        """
        raw = request.raw_input_contents
        n_raw = len(raw)
        arrays: dict[str, Array] = {}
        n_rows = 0
        first = ""
        for i, tensor in enumerate(request.inputs):
            name = tensor.name
            layout = self._layouts.get(name)
            if layout is None:
                raise InvalidInput(f"unknown input {name!r}; expected {', '.join(map(repr, self._layouts))}")
            _check_first("input", tensor, arrays)
            shape = layout.shape(tensor)
            if n_raw:
                if tensor.HasField("contents") and tensor.contents.ListFields():
                    raise InvalidInput(
                        f"input {name!r} has typed contents in a request with raw ones; expected all raw or all typed"
                    )
                if i >= n_raw:
                    n_inputs = len(request.inputs)
                    raise InvalidInput(f"input {name!r} has no raw contents: {n_inputs} inputs, {n_raw} raw entries")
                array = layout.from_raw(shape, raw[i])
            else:
                array = from_contents(f"input {name!r}", layout.spec.datatype, shape, tensor.contents)
            if not arrays:
                n_rows, first = shape[0], name
            elif shape[0] != n_rows:
                raise InvalidInput(f"input {name!r} has {shape[0]} rows, but input {first!r} has {n_rows}")
            if layout.is_restricted:
                check_values(layout.spec, array)
            arrays[name] = array
        if n_raw > len(arrays):
            raise InvalidInput(f"expected one raw entry an input, got {n_raw} for {len(arrays)} inputs")
        if len(arrays) < len(self._layouts):
            missing = next(name for name in self._layouts if name not in arrays)
            raise InvalidInput(f"missing input {missing!r}; expected {', '.join(map(repr, self._layouts))}")
        return arrays, n_rows

    def requested(self, request: m.ModelInferRequest) -> Sequence[Requested]:
        """Return the outputs that a request asks for, in its order.

        Raises:
            InvalidInput: an output is unknown, named twice, or cannot be answered as classes.
            Unsupported: an output shall be written into shared memory.
        """
        if not request.outputs:
            return self._defaults
        requested: dict[str, Requested] = {}
        for tensor in request.outputs:
            name = tensor.name
            _check_first("output", tensor, requested)
            if (plain := self._plain.get(name)) is None:
                raise InvalidInput(f"unknown output {name!r}; expected {', '.join(map(repr, self._plain))}")
            requested[name] = plain
            if tensor.parameters and (classes := _class_count(tensor, self._outputs[name])):
                requested[name] = Requested(name, classes)
        return list(requested.values())


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an input lies in a request.

    Attributes:
        spec: the input.
        datatype: its name in the protocol.
        row_shape: sizes after the first.
        row_bytes: bytes of a row that can be used as they are; None where elements have to be looked at.
        is_restricted: whether not every value of the datatype is legal.
    """

    spec: TensorSpec
    datatype: str
    row_shape: tuple[int, ...]
    row_bytes: int | None
    is_restricted: bool

    @classmethod
    def of(cls, spec: TensorSpec) -> "_Layout":
        dtype = spec.datatype.dtype
        takes_all = not spec.datatype.is_float or (spec.allow_nan and spec.allow_inf)
        is_plain = spec.datatype not in {DataType.BYTES, DataType.BOOL} and dtype == dtype.newbyteorder("<")
        return cls(
            spec=spec,
            datatype=spec.datatype.value,
            row_shape=tuple(spec.row_shape),
            row_bytes=math.prod(spec.row_shape) * dtype.itemsize if is_plain else None,
            is_restricted=spec.closed_categories or not takes_all,
        )

    def shape(self, tensor: m.ModelInferRequest.InferInputTensor) -> tuple[int, ...]:
        """Return the shape that a tensor declares, checked, as is its datatype."""
        if tensor.datatype != self.datatype:
            name = self.spec.name
            raise InvalidInput(f"input {name!r}: expected datatype {self.datatype}, got {tensor.datatype!r}")
        shape = tuple(tensor.shape)
        if not shape or shape[1:] != self.row_shape or shape[0] <= 0:
            check_shape(self.spec, shape)
        return shape

    def from_raw(self, shape: tuple[int, ...], data: bytes) -> Array:
        if self.row_bytes is not None and len(data) == shape[0] * self.row_bytes:
            return np.ndarray(shape, self.spec.datatype.dtype, data)
        return from_raw(f"input {self.spec.name!r}", self.spec.datatype, shape, data)


def timeout_s(request: m.ModelInferRequest) -> float | None:
    """Return a request's own time limit in seconds, None without one or with one that is as good as none.

    Raises:
        InvalidInput: it is no whole number of microseconds.
    """
    if not request.parameters or _TIMEOUT not in request.parameters:
        return None
    limit_s = _integer(f"parameter {_TIMEOUT!r}", request.parameters[_TIMEOUT]) * _US
    return limit_s if 0 < limit_s < FOREVER_S else None


def encode_outputs(
    outputs: Mapping[str, Array],
    requested: Sequence[Requested],
    *,
    model_name: str,
    model_version: str,
    request_id: str,
    class_names: Sequence[str] = (),
) -> m.ModelInferResponse:
    """Return the response that holds the requested outputs, in their order, as raw contents.

    Args:
        outputs: output name -> `(n_rows, ...)`; BYTES as arrays of `str`.
        requested: what to answer.
        model_name: who answers.
        model_version: its version.
        request_id: the request's own id.
        class_names: names for the classification extension, in score order; empty where classes have none.
    """
    response = m.ModelInferResponse(model_name=model_name, model_version=model_version, id=request_id)
    for output in requested:
        array = outputs[output.name]
        if output.class_count:
            array = top_classes(array, output.class_count, class_names)
        response.outputs.add(name=output.name, datatype=DataType.of(array).value, shape=array.shape)
        response.raw_output_contents.append(to_raw(array))
    return response


def _class_count(tensor: m.ModelInferRequest.InferRequestedOutputTensor, spec: TensorSpec) -> int:
    if _CLASSIFICATION not in tensor.parameters:
        return 0
    what = f"output {tensor.name!r}"
    count = _integer(f"{what}, parameter {_CLASSIFICATION!r}", tensor.parameters[_CLASSIFICATION])
    if count < 0:
        raise InvalidInput(f"{what}: expected a number of classes, got {count}")
    if count and not spec.datatype.is_float:
        raise InvalidInput(f"{what}: expected scores to pick the best classes from, it has {spec.datatype}")
    return count


def _check_first(
    side: str,
    tensor: m.ModelInferRequest.InferInputTensor | m.ModelInferRequest.InferRequestedOutputTensor,
    seen: Container[str],
) -> None:
    if tensor.name in seen:
        raise InvalidInput(f"{side} {tensor.name!r} is given twice")
    if tensor.parameters and _SHARED_MEMORY in tensor.parameters:
        raise Unsupported(f"{side} {tensor.name!r}: shared memory is not supported; send the tensor itself")


def _integer(what: str, parameter: m.InferParameter) -> int:
    match parameter.WhichOneof("parameter_choice"):
        case "int64_param":
            return parameter.int64_param
        case "uint64_param":
            return parameter.uint64_param
        case kind:
            raise InvalidInput(f"{what}: expected int64_param, got {kind or 'nothing'}")
