"""From messages to arrays and back: requests as the server reads them, responses as it writes them.

Knows the protocol, not the transport. `calls` is the same for the caller's side, `elements` what both stand on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..contract.errors import InvalidInput, Unsupported
from ..contract.tensors import Array, DataType, TensorSpec, check_rows, check_shape
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


def decode_inputs(request: m.ModelInferRequest, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return a request's inputs by name, checked: all declared ones, of one number of rows.

    Args:
        request: with raw contents or typed ones; arrays from raw contents are read-only.
        specs: the bundle's inputs.

    Raises:
        InvalidInput: an input is missing, unknown, given twice, of another datatype or shape, or its contents do not
            fit; names it.
        Unsupported: an input lies in shared memory.
    """
    _check_unique("input", request.inputs)
    raw = request.raw_input_contents
    declared = {spec.name: spec for spec in specs}
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(request.inputs):
        what = f"input {tensor.name!r}"
        spec = declared.get(tensor.name)
        if spec is None:
            raise InvalidInput(f"unknown {what}; expected {', '.join(map(repr, declared))}")
        if tensor.datatype != spec.datatype:
            raise InvalidInput(f"{what}: expected datatype {spec.datatype}, got {tensor.datatype!r}")
        check_shape(spec, tensor.shape)
        if not raw:
            arrays[tensor.name] = from_contents(what, spec.datatype, tensor.shape, tensor.contents)
            continue
        if tensor.HasField("contents") and tensor.contents.ListFields():
            raise InvalidInput(f"{what} has typed contents in a request with raw ones; expected all raw or all typed")
        if i >= len(raw):
            raise InvalidInput(f"{what} has no raw contents: {len(request.inputs)} inputs, {len(raw)} raw entries")
        arrays[tensor.name] = from_raw(what, spec.datatype, tensor.shape, raw[i])
    if len(raw) > len(request.inputs):
        raise InvalidInput(f"expected one raw entry an input, got {len(raw)} for {len(request.inputs)} inputs")
    check_rows(specs, arrays)
    return arrays


def requested_outputs(
    request: m.ModelInferRequest, specs: Sequence[TensorSpec], defaults: Sequence[TensorSpec]
) -> list[Requested]:
    """Return the outputs that a request asks for, in its order.

    Args:
        request: the message.
        specs: every output there is.
        defaults: those answered when none is named.

    Raises:
        InvalidInput: an output is unknown, named twice, or cannot be answered as classes.
        Unsupported: an output shall be written into shared memory.
    """
    if not request.outputs:
        return [Requested(spec.name) for spec in defaults]
    _check_unique("output", request.outputs)
    declared = {spec.name: spec for spec in specs}
    requested = []
    for tensor in request.outputs:
        spec = declared.get(tensor.name)
        if spec is None:
            raise InvalidInput(f"unknown output {tensor.name!r}; expected {', '.join(map(repr, declared))}")
        requested.append(Requested(tensor.name, _class_count(tensor, spec)))
    return requested


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


def _check_unique(
    side: str,
    tensors: Iterable[m.ModelInferRequest.InferInputTensor | m.ModelInferRequest.InferRequestedOutputTensor],
) -> None:
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise InvalidInput(f"{side} {tensor.name!r} is given twice")
        names.add(tensor.name)
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
