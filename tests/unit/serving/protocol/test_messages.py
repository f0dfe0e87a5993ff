"""Message classes in a pool of their own."""

import subprocess
import sys

import pytest
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.service import METHODS


@pytest.mark.parametrize(
    "order",
    [
        ("tritonclient.grpc.service_pb2", "widedeep.serving.protocol.messages"),
        ("widedeep.serving.protocol.messages", "tritonclient.grpc.service_pb2"),
    ],
)
def test_another_client_of_the_protocol_may_live_in_the_same_process(order: tuple[str, str]) -> None:
    code = f"import {order[0]} as a, {order[1]} as b; assert a.ModelInferRequest is not b.ModelInferRequest"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_methods_know_their_messages() -> None:
    assert METHODS["ModelInfer"].request is m.ModelInferRequest
    assert METHODS["ModelInfer"].response is m.ModelInferResponse
    assert METHODS["ModelInfer"].path == "/inference.GRPCInferenceService/ModelInfer"
    assert [name for name, method in METHODS.items() if method.streaming] == ["ModelStreamInfer"]
