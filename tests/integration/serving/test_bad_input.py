"""Bad input gets the right status and a message that names what is wrong, and the server lives on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from small_bundle import rows
from triton_calls import INFER, infer_bytes, predict, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

Message = service_pb2.ModelInferRequest

INT64_MAX = (1 << 63) - 1


def image(message: Message) -> Any:
    return message.inputs[0]


def set_shape(*shape: int) -> Callable[[Message], None]:
    return lambda message: image(message).shape.__setitem__(slice(None), shape)


def typed(message: Message, **contents: Any) -> None:
    """Turn raw contents into typed ones; `contents` are those of the image."""
    tabular = np.frombuffer(message.raw_input_contents[1], np.float32)
    message.inputs[1].contents.fp32_contents.extend(tabular)
    for field, values in contents.items():
        getattr(image(message).contents, field).extend(values)
    message.ClearField("raw_input_contents")


def ask_for(message: Message, *names: str, **parameters: Any) -> None:
    for name in names:
        output = message.outputs.add(name=name)
        for key, value in parameters.items():
            output.parameters[key].CopyFrom(value)


CASES: dict[str, tuple[Callable[[Message], Any], str, str]] = {
    "unknown model": (
        lambda m: setattr(m, "model_name", "plants"),
        "NOT_FOUND",
        "unknown model 'plants'; this server has 'animals'",
    ),
    "no model": (
        lambda m: setattr(m, "model_name", ""),
        "NOT_FOUND",
        "unknown model ''; this server has 'animals'",
    ),
    "unknown version": (
        lambda m: setattr(m, "model_version", "2"),
        "NOT_FOUND",
        "model 'animals' has no version '2'; it has 1",
    ),
    "version that is no number": (
        lambda m: setattr(m, "model_version", "newest"),
        "NOT_FOUND",
        "model 'animals' has no version 'newest'; it has 1",
    ),
    "unknown input": (
        lambda m: setattr(image(m), "name", "picture"),
        "INVALID_ARGUMENT",
        "unknown input 'picture'; expected 'image', 'tabular'",
    ),
    "missing input": (
        lambda m: (m.inputs.pop(), m.raw_input_contents.pop()),
        "INVALID_ARGUMENT",
        "missing input 'tabular'; expected 'image', 'tabular'",
    ),
    "no inputs": (
        lambda m: (m.ClearField("inputs"), m.ClearField("raw_input_contents")),
        "INVALID_ARGUMENT",
        "missing input 'image'; expected 'image', 'tabular'",
    ),
    "extra input": (
        lambda m: (m.inputs.add(name="more", datatype="FP32", shape=[2]), m.raw_input_contents.append(bytes(8))),
        "INVALID_ARGUMENT",
        "unknown input 'more'; expected 'image', 'tabular'",
    ),
    "duplicated input": (
        lambda m: (m.inputs.add().CopyFrom(image(m)), m.raw_input_contents.append(m.raw_input_contents[0])),
        "INVALID_ARGUMENT",
        "input 'image' is given twice",
    ),
    "unknown output": (
        lambda m: ask_for(m, "best"),
        "INVALID_ARGUMENT",
        "unknown output 'best'; expected 'probabilities', 'label', 'scores/deep', 'scores/wide'",
    ),
    "duplicated output": (
        lambda m: ask_for(m, "label", "label"),
        "INVALID_ARGUMENT",
        "output 'label' is given twice",
    ),
    "classes of a label": (
        lambda m: ask_for(m, "label", classification=service_pb2.InferParameter(int64_param=2)),
        "INVALID_ARGUMENT",
        "output 'label': expected scores to pick the best classes from, it has BYTES",
    ),
    "unknown data type": (
        lambda m: setattr(image(m), "datatype", "FLOAT"),
        "INVALID_ARGUMENT",
        "input 'image': expected datatype FP32, got 'FLOAT'",
    ),
    "wrong data type": (
        lambda m: setattr(image(m), "datatype", "FP64"),
        "INVALID_ARGUMENT",
        "input 'image': expected datatype FP32, got 'FP64'",
    ),
    "wrong rank": (
        set_shape(2, 8),
        "INVALID_ARGUMENT",
        "input 'image': expected shape [-1, 2, 4], got [2, 8]",
    ),
    "no shape": (
        set_shape(),
        "INVALID_ARGUMENT",
        "input 'image': expected shape [-1, 2, 4], got []",
    ),
    "wrong size": (
        set_shape(2, 2, 5),
        "INVALID_ARGUMENT",
        "input 'image': expected shape [-1, 2, 4], got [2, 2, 5]",
    ),
    "negative rows": (
        set_shape(-2, 2, 4),
        "INVALID_ARGUMENT",
        "input 'image': expected shape [-1, 2, 4], got [-2, 2, 4]",
    ),
    "negative sizes whose product is right": (
        set_shape(2, -2, -4),
        "INVALID_ARGUMENT",
        "input 'image': expected shape [-1, 2, 4], got [2, -2, -4]",
    ),
    "overflowing shape": (
        set_shape(1 << 62, 2, 4),
        "INVALID_ARGUMENT",
        f"input 'image': expected {(1 << 62) * 32} bytes of raw contents for FP32 of shape [{1 << 62}, 2, 4], got 64",
    ),
    "largest shape there is": (
        set_shape(INT64_MAX, 2, 4),
        "INVALID_ARGUMENT",
        f"input 'image': expected {INT64_MAX * 32} bytes of raw contents",
    ),
    "absurd shape": (
        set_shape(1 << 40, 2, 4),
        "INVALID_ARGUMENT",
        f"input 'image': expected {(1 << 40) * 32} bytes of raw contents",
    ),
    "absurd shape of typed contents": (
        lambda m: (set_shape(1 << 40, 2, 4)(m), typed(m, fp32_contents=[0.0] * 16)),
        "INVALID_ARGUMENT",
        f"input 'image': expected {(1 << 40) * 8} elements in fp32_contents",
    ),
    "zero rows": (
        lambda m: (set_shape(0, 2, 4)(m), m.raw_input_contents.__setitem__(0, b"")),
        "INVALID_ARGUMENT",
        "input 'image' has no rows; expected at least one",
    ),
    "rows that disagree": (
        lambda m: (set_shape(1, 2, 4)(m), m.raw_input_contents.__setitem__(0, bytes(32))),
        "INVALID_ARGUMENT",
        "input 'tabular' has 2 rows, but input 'image' has 1",
    ),
    "raw contents too short": (
        lambda m: m.raw_input_contents.__setitem__(0, bytes(63)),
        "INVALID_ARGUMENT",
        "input 'image': expected 64 bytes of raw contents for FP32 of shape [2, 2, 4], got 63",
    ),
    "raw contents too long": (
        lambda m: m.raw_input_contents.__setitem__(0, bytes(68)),
        "INVALID_ARGUMENT",
        "input 'image': expected 64 bytes of raw contents for FP32 of shape [2, 2, 4], got 68",
    ),
    "missing raw entry": (
        lambda m: m.raw_input_contents.pop(),
        "INVALID_ARGUMENT",
        "input 'tabular' has no raw contents: 2 inputs, 1 raw entries",
    ),
    "extra raw entry": (
        lambda m: m.raw_input_contents.append(bytes(4)),
        "INVALID_ARGUMENT",
        "expected one raw entry an input, got 3 for 2 inputs",
    ),
    "raw and typed mixed": (
        lambda m: image(m).contents.fp32_contents.extend([0.0] * 16),
        "INVALID_ARGUMENT",
        "input 'image' has typed contents in a request with raw ones",
    ),
    "no contents at all": (
        lambda m: m.ClearField("raw_input_contents"),
        "INVALID_ARGUMENT",
        "input 'image': expected 16 elements in fp32_contents for shape [2, 2, 4], got 0",
    ),
    "typed contents of another data type": (
        lambda m: typed(m, fp64_contents=[0.0] * 16),
        "INVALID_ARGUMENT",
        "input 'image': expected the contents of FP32 in fp32_contents, got fp64_contents",
    ),
    "too few typed contents": (
        lambda m: typed(m, fp32_contents=[0.0] * 15),
        "INVALID_ARGUMENT",
        "input 'image': expected 16 elements in fp32_contents for shape [2, 2, 4], got 15",
    ),
    "NaN where the bundle forbids it": (
        lambda m: m.raw_input_contents.__setitem__(1, np.array([[0, 0, 0], [0, np.nan, 0]], np.float32).tobytes()),
        "INVALID_ARGUMENT",
        "input 'tabular': NaN in row 1, column 'b', but a member cannot take missing values there",
    ),
    "timeout that is no number": (
        lambda m: m.parameters["timeout"].CopyFrom(service_pb2.InferParameter(string_param="1s")),
        "INVALID_ARGUMENT",
        "parameter 'timeout': expected int64_param, got string_param",
    ),
    "input in shared memory": (
        lambda m: image(m).parameters["shared_memory_region"].CopyFrom(service_pb2.InferParameter(string_param="r")),
        "UNIMPLEMENTED",
        "input 'image': shared memory is not supported",
    ),
    "output into shared memory": (
        lambda m: ask_for(m, "label", shared_memory_region=service_pb2.InferParameter(string_param="r")),
        "UNIMPLEMENTED",
        "output 'label': shared memory is not supported",
    ),
}


def check_alive(address: str) -> None:
    assert len(infer_bytes(address, request_message(2).SerializeToString()).outputs) == 2


def refused(address: str, data: bytes) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        infer_bytes(address, data)
    call: Any = caught.value
    return call.code().name, call.details()


@pytest.mark.parametrize("case", list(CASES))
def test_bad_input_is_refused_by_name_and_the_server_lives_on(server: Server, case: str) -> None:
    change, status, expected = CASES[case]
    message = request_message(2)
    change(message)
    code, details = refused(server.address, message.SerializeToString())
    assert (code, expected in details) == (status, True), details
    check_alive(server.address)


@pytest.mark.parametrize(
    ("change", "status", "start"),
    [
        (lambda m: setattr(m, "model_name", "ü" * 20_000), "NOT_FOUND", "unknown model 'üü"),
        (lambda m: setattr(image(m), "name", "x" * 20_000), "INVALID_ARGUMENT", "unknown input 'xx"),
        (set_shape(*[2] * 20_000), "INVALID_ARGUMENT", "input 'image': expected shape [-1, 2, 4], got [2, 2, "),
    ],
)
def test_a_message_that_is_too_long_for_a_status_is_cut(server: Server, change: Any, status: str, start: str) -> None:
    message = request_message(2)
    change(message)
    code, details = refused(server.address, message.SerializeToString())
    assert (code, details[: len(start)]) == (status, start)
    assert details.endswith("bytes)")
    check_alive(server.address)


def test_a_timeout_beyond_all_clocks_is_none(server: Server) -> None:
    message = request_message(2)
    message.parameters["timeout"].int64_param = INT64_MAX
    with grpc.insecure_channel(server.address) as channel:
        data = channel.unary_unary(INFER)(message.SerializeToString())
    assert len(service_pb2.ModelInferResponse.FromString(data).outputs) == 2


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f", b"GET / HTTP/1.1\r\n"])
def test_bytes_that_are_no_message_are_refused(server: Server, data: bytes) -> None:
    code, details = refused(server.address, data)
    assert code == "INVALID_ARGUMENT"
    assert details == f"the {len(data)} bytes received are not a ModelInferRequest"
    check_alive(server.address)


def test_bytes_that_are_no_message_in_a_control_call_are_refused(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelMetadata")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", timeout=20)
    assert "the 2 bytes received are not a ModelMetadataRequest" in str(caught.value)
    check_alive(server.address)


def test_an_empty_message_is_a_request_without_a_model(server: Server) -> None:
    assert refused(server.address, b"")[0] == "NOT_FOUND"


def test_an_oversized_message_is_refused(start_server: Callable[..., Server], repository_path: Path) -> None:
    server = start_server(repository_path, max_message_bytes=4096)
    message = request_message(200)
    code, details = refused(server.address, message.SerializeToString())
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in details
    check_alive(server.address)


def test_more_rows_than_a_request_may_have_are_refused(
    start_server: Callable[..., Server], repository_path: Path
) -> None:
    server = start_server(repository_path, max_request_rows=8)
    code, details = refused(server.address, request_message(9).SerializeToString())
    assert (code, details) == ("INVALID_ARGUMENT", "9 rows in one request; this server takes at most 8")
    check_alive(server.address)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tabular": np.zeros((2, 3))}, "input 'tabular': expected datatype FP32, got 'FP64'"),
        ({"image": np.zeros((2, 8), np.float32)}, r"input 'image': expected shape \[-1, 2, 4\], got \[2, 8\]"),
        ({"image": np.zeros((3, 2, 4), np.float32)}, "input 'tabular' has 2 rows, but input 'image' has 3"),
        ({"more": np.zeros((2, 1), np.float32)}, "unknown input 'more'"),
    ],
)
def test_the_stock_client_is_told_the_same(server: Server, change: dict[str, Any], message: str) -> None:
    with InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException, match=message) as caught:
            client.infer("animals", triton_inputs({**rows(2), **change}))
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
        assert predict(client, rows(2))["probabilities"].shape == (2, 3)


def test_typed_contents_are_as_good_as_raw_ones(server: Server) -> None:
    raw = request_message(2)
    message = request_message(2)
    typed(message, fp32_contents=np.frombuffer(raw.raw_input_contents[0], np.float32))
    answers = [infer_bytes(server.address, each.SerializeToString()) for each in (raw, message)]
    assert answers[0].raw_output_contents == answers[1].raw_output_contents


def test_unknown_parameters_are_ignored(server: Server) -> None:
    message = request_message(2)
    message.parameters["triton_enable_empty_final_response"].bool_param = True
    message.parameters["priority"].uint64_param = 1 << 63
    message.parameters["sequence_id"].int64_param = 5
    assert len(infer_bytes(server.address, message.SerializeToString()).outputs) == 2


@pytest.mark.parametrize("name", ["SystemSharedMemoryStatus", "TraceSetting", "NoSuchCall"])
def test_calls_that_this_server_does_not_have_are_unimplemented(server: Server, name: str) -> None:
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b"", timeout=20)
    call: Any = caught.value
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED
