"""Requests as the server reads them and responses as it writes them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from widedeep.serving.contract.errors import InvalidInput, Unsupported, WidedeepError
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.calls import decode_response, encode_request
from widedeep.serving.protocol.codec import (
    Requested,
    RequestReader,
    encode_outputs,
    timeout_s,
)

SPECS = (
    TensorSpec("age", DataType.FP32, (-1, 2), allow_nan=False),
    TensorSpec("city", DataType.BYTES, (-1, 1)),
)
OUTPUTS = (TensorSpec("probabilities", DataType.FP32, (-1, 3)), TensorSpec("label", DataType.BYTES, (-1, 1)))
SCORES = TensorSpec("scores/deep", DataType.FP32, (-1, 3))
READER = RequestReader(SPECS, (*OUTPUTS, SCORES), OUTPUTS)


def request(**inputs: Array) -> m.ModelInferRequest:
    whole = {"age": np.ones((2, 2), np.float32), "city": np.array([["Bern"], ["Köln"]], object)} | inputs
    return m.ModelInferRequest.FromString(encode_request("animals", whole).SerializeToString())


def typed() -> m.ModelInferRequest:
    message = m.ModelInferRequest()
    message.inputs.add(
        name="age", datatype="FP32", shape=[1, 2], contents=m.InferTensorContents(fp32_contents=[0.5, 2.0])
    )
    message.inputs.add(
        name="city", datatype="BYTES", shape=[1, 1], contents=m.InferTensorContents(bytes_contents=[b"Bern"])
    )
    return message


def test_raw_inputs_become_arrays_in_any_order() -> None:
    message = request()
    reversed_message = m.ModelInferRequest(
        inputs=reversed(message.inputs), raw_input_contents=reversed(message.raw_input_contents)
    )
    for each in (message, reversed_message):
        arrays = READER.inputs(each)[0]
        np.testing.assert_array_equal(arrays["age"], np.ones((2, 2), np.float32))
        assert arrays["city"].tolist() == [["Bern"], ["Köln"]]


def test_typed_inputs_become_arrays() -> None:
    arrays = READER.inputs(typed())[0]
    assert arrays["age"].tolist() == [[0.5, 2.0]]
    assert arrays["city"].tolist() == [["Bern"]]


def test_empty_typed_contents_beside_raw_ones_do_no_harm() -> None:
    message = request()
    message.inputs[0].contents.SetInParent()
    assert READER.inputs(message)[0].keys() == {"age", "city"}


def changed(change: Callable[[m.ModelInferRequest], Any]) -> m.ModelInferRequest:
    message = request()
    change(message)
    return message


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda r: r.inputs.add(name="age", datatype="FP32", shape=[2, 2]), InvalidInput, "input 'age' is given twice"),
        (lambda r: r.inputs.add(name="sex"), InvalidInput, "unknown input 'sex'; expected 'age', 'city'"),
        (
            lambda r: (r.inputs.pop(), r.raw_input_contents.pop()),
            InvalidInput,
            "missing input 'city'; expected 'age', 'city'",
        ),
        (lambda r: r.ClearField("inputs"), InvalidInput, "expected one raw entry an input, got 2 for 0 inputs"),
        (
            lambda r: setattr(r.inputs[0], "datatype", "FP64"),
            InvalidInput,
            "input 'age': expected datatype FP32, got 'FP64'",
        ),
        (
            lambda r: setattr(r.inputs[0], "datatype", "FP33"),
            InvalidInput,
            "input 'age': expected datatype FP32, got 'FP33'",
        ),
        (
            lambda r: r.inputs[0].shape.append(1),
            InvalidInput,
            r"input 'age': expected shape \[-1, 2\], got \[2, 2, 1\]",
        ),
        (
            lambda r: r.raw_input_contents.pop(),
            InvalidInput,
            "input 'city' has no raw contents: 2 inputs, 1 raw entries",
        ),
        (lambda r: r.raw_input_contents.append(b""), InvalidInput, "expected one raw entry an input, got 3 for 2"),
        (
            lambda r: r.inputs[1].contents.bytes_contents.append(b"x"),
            InvalidInput,
            "input 'city' has typed contents in a request with raw ones",
        ),
        (
            lambda r: r.ClearField("raw_input_contents"),
            InvalidInput,
            "input 'age': expected 4 elements in fp32_contents",
        ),
        (
            lambda r: r.inputs[0].parameters["shared_memory_region"].MergeFrom(m.InferParameter(string_param="x")),
            Unsupported,
            "input 'age': shared memory is not supported",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_name(
    change: Callable[[m.ModelInferRequest], Any], error: type[WidedeepError], message: str
) -> None:
    with pytest.raises(error, match=message):
        READER.inputs(changed(change))


def test_inputs_of_different_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="input 'city' has 1 rows, but input 'age' has 2"):
        READER.inputs(request(city=np.array([["Bern"]], object)))


def test_nan_is_refused_where_the_bundle_forbids_it() -> None:
    with pytest.raises(InvalidInput, match="input 'age': NaN in row 1"):
        READER.inputs(request(age=np.array([[0, 0], [np.nan, 0]], np.float32)))


def test_no_named_output_means_the_defaults() -> None:
    assert list(READER.requested(m.ModelInferRequest())) == [
        Requested("probabilities"),
        Requested("label"),
    ]


def test_named_outputs_are_answered_in_their_order_as_classes_where_that_is_asked() -> None:
    message = m.ModelInferRequest()
    message.outputs.add(name="scores/deep").parameters["classification"].int64_param = 2
    message.outputs.add(name="label").parameters["binary_data"].bool_param = True
    assert READER.requested(message) == [Requested("scores/deep", 2), Requested("label")]


@pytest.mark.parametrize(
    ("name", "key", "parameter", "error", "message"),
    [
        ("best", "", None, InvalidInput, "unknown output 'best'; expected 'probabilities', 'label'"),
        ("probabilities", "", None, InvalidInput, "output 'probabilities' is given twice"),
        (
            "label",
            "classification",
            m.InferParameter(int64_param=1),
            InvalidInput,
            "output 'label': expected scores to pick the best classes from, it has BYTES",
        ),
        (
            "scores/deep",
            "classification",
            m.InferParameter(int64_param=-1),
            InvalidInput,
            "output 'scores/deep': expected a number of classes, got -1",
        ),
        (
            "scores/deep",
            "classification",
            m.InferParameter(string_param="3"),
            InvalidInput,
            "output 'scores/deep', parameter 'classification': expected int64_param, got string_param",
        ),
        (
            "scores/deep",
            "shared_memory_region",
            m.InferParameter(string_param="x"),
            Unsupported,
            "output 'scores/deep': shared memory is not supported",
        ),
    ],
)
def test_outputs_that_cannot_be_answered_are_refused_by_name(
    name: str, key: str, parameter: m.InferParameter | None, error: type[WidedeepError], message: str
) -> None:
    asked = m.ModelInferRequest()
    asked.outputs.add(name="probabilities")
    output = asked.outputs.add(name=name)
    if parameter is not None:
        output.parameters[key].CopyFrom(parameter)
    with pytest.raises(error, match=message):
        READER.requested(asked)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (m.InferParameter(int64_param=2_500_000), 2.5),
        (m.InferParameter(uint64_param=1), 1e-6),
        (m.InferParameter(int64_param=0), None),
        (m.InferParameter(int64_param=-5), None),
        (m.InferParameter(int64_param=(1 << 63) - 1), None),
        (m.InferParameter(uint64_param=(1 << 64) - 1), None),
    ],
)
def test_a_timeout_is_microseconds_and_none_below_one_or_beyond_all_clocks(
    parameter: m.InferParameter, expected: float | None
) -> None:
    assert timeout_s(m.ModelInferRequest(parameters={"timeout": parameter})) == expected


def test_other_parameters_are_no_timeout_and_no_error() -> None:
    message = m.ModelInferRequest(
        parameters={
            "priority": m.InferParameter(uint64_param=1 << 63),
            "triton_enable_empty_final_response": m.InferParameter(bool_param=True),
        }
    )
    assert timeout_s(message) is None


def test_a_timeout_that_is_no_number_is_refused() -> None:
    message = m.ModelInferRequest(parameters={"timeout": m.InferParameter(double_param=1.5)})
    with pytest.raises(InvalidInput, match="parameter 'timeout': expected int64_param, got double_param"):
        timeout_s(message)


def test_outputs_are_answered_raw_under_the_requests_id() -> None:
    outputs = {"probabilities": np.array([[0.2, 0.5, 0.3]], np.float32), "label": np.array([["dog"]], object)}
    response = encode_outputs(
        outputs,
        [Requested("label"), Requested("probabilities"), Requested("probabilities", 2)],
        model_name="animals",
        model_version="3",
        request_id="7",
        class_names=("cat", "dog", "owl"),
    )
    assert (response.model_name, response.model_version, response.id) == ("animals", "3", "7")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("label", "BYTES", [1, 1]),
        ("probabilities", "FP32", [1, 3]),
        ("probabilities", "BYTES", [1, 2]),
    ]
    assert response.raw_output_contents[0] == b"\3\0\0\0dog"
    assert response.raw_output_contents[1] == outputs["probabilities"].tobytes()
    assert response.raw_output_contents[2] == b"\x0e\0\0\x000.500000:1:dog\x0e\0\0\x000.300000:2:owl"


def test_the_caller_reads_what_the_server_writes() -> None:
    outputs = {"probabilities": np.array([[0.2, 0.5, 0.3]], np.float32), "label": np.array([["dög"]], object)}
    response = encode_outputs(
        outputs, [Requested(name) for name in outputs], model_name="animals", model_version="3", request_id=""
    )
    read = decode_response(m.ModelInferResponse.FromString(response.SerializeToString()))
    np.testing.assert_array_equal(read["probabilities"], outputs["probabilities"])
    assert read["label"].tolist() == [["dög"]]


def test_the_caller_reads_typed_outputs_too() -> None:
    response = m.ModelInferResponse()
    response.outputs.add(
        name="label", datatype="INT64", shape=[2, 1], contents=m.InferTensorContents(int64_contents=[4, 5])
    )
    assert decode_response(response)["label"].tolist() == [[4], [5]]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            m.ModelInferResponse(
                outputs=[m.ModelInferResponse.InferOutputTensor(name="x", datatype="FP32", shape=[1])],
                raw_output_contents=[b"", b""],
            ),
            "expected one raw entry an output, got 2 for 1 outputs",
        ),
        (
            m.ModelInferResponse(outputs=[m.ModelInferResponse.InferOutputTensor(name="x", datatype="BF16")]),
            "output 'x': unknown datatype 'BF16'",
        ),
        (
            m.ModelInferResponse(
                outputs=[m.ModelInferResponse.InferOutputTensor(name="x", datatype="FP32", shape=[2])],
                raw_output_contents=[bytes(4)],
            ),
            "output 'x': expected 8 bytes",
        ),
    ],
)
def test_the_caller_refuses_a_response_that_does_not_add_up(response: m.ModelInferResponse, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_response(response)
