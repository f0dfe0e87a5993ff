from typing import Any

import pytest
from widedeep.serving.client.model import read_metadata
from widedeep.serving.contract.errors import Unsupported
from widedeep.serving.contract.tensors import DataType, TensorSpec
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.service import CLASSES_PROPERTY, INPUTS_PROPERTY


def tensor(name: str, datatype: str, *shape: int) -> Any:
    return m.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=shape)


def test_the_plain_metadata_of_another_server_will_do() -> None:
    info = read_metadata(m.ModelMetadataResponse(name="iris", versions=["1", "2"], inputs=[tensor("x", "FP64", -1, 4)]))
    assert info.inputs == (TensorSpec("x", DataType.FP64, (-1, 4)),)
    assert info.versions == ("1", "2")


def test_the_bundles_own_specs_come_first() -> None:
    spec = '[{"name": "x", "datatype": "FP32", "shape": [-1, 2], "feature_names": ["a", "b"], "later": 1}]'
    info = read_metadata(
        m.ModelMetadataResponse(inputs=[tensor("x", "FP32", -1, 2)], properties={INPUTS_PROPERTY: spec})
    )
    assert info.inputs[0].feature_names == ("a", "b")


def test_classes_are_known_where_the_server_tells_them() -> None:
    assert read_metadata(m.ModelMetadataResponse(properties={CLASSES_PROPERTY: '["cat", "dog"]'})).classes == (
        "cat",
        "dog",
    )
    assert read_metadata(m.ModelMetadataResponse()).classes == ()


@pytest.mark.parametrize(("datatype", "shape"), [("BF16", [-1, 2]), ("FP32", [-1]), ("FP32", [-1, -1])])
def test_an_input_that_cannot_be_sent_is_told_at_once(datatype: str, shape: list[int]) -> None:
    with pytest.raises(Unsupported, match="model 'm': its inputs are none that this client can send"):
        read_metadata(m.ModelMetadataResponse(name="m", inputs=[tensor("x", datatype, *shape)]))


@pytest.mark.parametrize("text", ["no json", '{"x": 1}', "[1]", '[{"name": "x"}]'])
def test_a_damaged_property_is_told_at_once(text: str) -> None:
    with pytest.raises(Unsupported, match="inputs"):
        read_metadata(m.ModelMetadataResponse(properties={INPUTS_PROPERTY: text}))


def test_a_rows_size_counts_the_outputs_asked_for() -> None:
    outputs = [tensor("p", "FP32", -1, 10), tensor("label", "INT64", -1, 1), tensor("odd", "BF16", -1, -1, 2)]
    info = read_metadata(m.ModelMetadataResponse(outputs=outputs))
    assert info.row_bytes({"p"}) == 40
    assert info.row_bytes(None) == 40 + 8 + 8
