"""From arrays to messages and back on the caller's side: requests as they are written, responses as they are read."""

from collections.abc import Mapping, Sequence

from ..contract.errors import InvalidInput
from ..contract.tensors import Array, DataType
from . import messages as m
from .elements import from_contents, from_raw, to_raw


def encode_request(
    model_name: str,
    inputs: Mapping[str, Array],
    outputs: Sequence[str] = (),
    *,
    model_version: str = "",
    request_id: str = "",
) -> m.ModelInferRequest:
    """Return the request that asks for rows' outputs, as raw contents.

    Args:
        model_name: who shall answer.
        inputs: input name -> `(n_rows, ...)`; text of any kind is BYTES.
        outputs: what to answer; none means the model's defaults.
        model_version: empty for the newest.
        request_id: comes back in the response.

    Raises:
        InvalidInput: an array's dtype has no name in the protocol.
    """
    request = m.ModelInferRequest(model_name=model_name, model_version=model_version, id=request_id)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=DataType.of(array).value, shape=array.shape)
        request.raw_input_contents.append(to_raw(array))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def decode_response(response: m.ModelInferResponse) -> dict[str, Array]:
    """Return a response's outputs by name, BYTES as object arrays of `str`; numeric arrays may be read-only.

    Raises:
        InvalidInput: an output's contents do not fit what it says of itself.
    """
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise InvalidInput(f"expected one raw entry an output, got {len(raw)} for {len(response.outputs)} outputs")
    arrays: dict[str, Array] = {}
    for i, tensor in enumerate(response.outputs):
        what = f"output {tensor.name!r}"
        try:
            datatype = DataType(tensor.datatype)
        except ValueError:
            raise InvalidInput(f"{what}: unknown datatype {tensor.datatype!r}") from None
        arrays[tensor.name] = (
            from_raw(what, datatype, tensor.shape, raw[i])
            if raw
            else from_contents(what, datatype, tensor.shape, tensor.contents)
        )
    return arrays
