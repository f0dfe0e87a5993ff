"""What of Triton's service is served and what is refused, asked with its own messages; docs/conformance.md tells it."""

from typing import Any

import grpc
import pytest
from triton_calls import INFER, request_message
from tritonclient.grpc import service_pb2
from widedeep.serving.online.server import Server
from widedeep.serving.protocol.service import METHODS

pytestmark = pytest.mark.each_front_end

THEIRS = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
REFUSED = {
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryUnregister",
    "LogSettings",
    "SystemSharedMemoryRegister",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryUnregister",
    "TraceSetting",
}


def test_every_call_of_tritons_service_is_served_or_is_one_of_those_refused() -> None:
    assert set(THEIRS) - REFUSED == set(METHODS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_call_of_triton_that_is_not_served_is_unimplemented(server: Server, name: str) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b"", timeout=20)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_datatype_that_no_bundle_has_is_an_invalid_argument(server: Server) -> None:
    request = request_message(2)
    request.inputs[0].datatype = "BF16"
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(INFER)(request.SerializeToString(), timeout=20)
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected datatype FP32, got 'BF16'" in error.details()


def test_a_request_in_a_stream_gets_one_answer_though_a_final_one_is_asked_for(server: Server) -> None:
    request = request_message(2)
    request.id = "1"
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    with grpc.insecure_channel(server.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        answers = [
            service_pb2.ModelStreamInferResponse.FromString(a) for a in call(iter([request.SerializeToString()]))
        ]
    assert [(answer.error_message, answer.infer_response.id) for answer in answers] == [("", "1")]
