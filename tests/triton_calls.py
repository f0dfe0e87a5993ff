"""Calls as a user of the stock tritonclient writes them, and messages that it does not let one write."""

from collections.abc import Mapping, Sequence

import grpc
import numpy as np
from small_bundle import rows
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, service_pb2
from tritonclient.utils import np_to_triton_dtype
from widedeep.serving.contract.tensors import Array

INFER = "/inference.GRPCInferenceService/ModelInfer"


def triton_inputs(arrays: Mapping[str, Array]) -> list[InferInput]:
    inputs = []
    for name, array in arrays.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def predict(
    client: InferenceServerClient, arrays: Mapping[str, Array], outputs: Sequence[str] = ("probabilities",)
) -> dict[str, Array]:
    requested = [InferRequestedOutput(name) for name in outputs]
    result = client.infer("animals", triton_inputs(arrays), outputs=requested)
    return {name: result.as_numpy(name) for name in outputs}


def request_message(n_rows: int = 2, **changes: Array) -> service_pb2.ModelInferRequest:
    """Return a good request, made of the stock messages; `changes` replaces or adds inputs."""
    message = service_pb2.ModelInferRequest(model_name="animals")
    for name, array in {**rows(n_rows), **changes}.items():
        message.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        message.raw_input_contents.append(np.ascontiguousarray(array).tobytes())
    return message


def infer_bytes(address: str, data: bytes) -> service_pb2.ModelInferResponse:
    """Send the bytes of a request as they are."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
        return call(data, timeout=20)
