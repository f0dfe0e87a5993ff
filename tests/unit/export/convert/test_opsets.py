import numpy as np
import pytest
from onnx import ModelProto, parser
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.opsets import aligned
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

ROWS = np.array([[1, -2], [3, 4]], np.float32)

MEAN_OF_17 = """
    <ir_version: 8, opset_import: ["" : 17]>
    mean (float[n, 2] a) => (float[n, 1] y) <bool flag = {1}> {
        y = If(flag) <
            then_branch = one () => (float[n, 1] mean) { mean = ReduceMean<axes = [1], keepdims = 1>(a) },
            else_branch = other () => (float[n, 1] most) { most = ReduceMax<axes = [1], keepdims = 1>(a) }
        >
    }
"""
MEAN_OF_20 = """
    <ir_version: 10, opset_import: ["" : 20]>
    mean (float[n, 2] a) => (float[n, 1] y) <int64[1] axes = {1}> { y = ReduceMean<keepdims = 1>(a, axes) }
"""


def model(text: str) -> ModelProto:
    return parser.parse_model(text)


def together(first: ModelProto, second: ModelProto) -> bytes:
    """Return both models over one input in one graph, the first one's answer beside the second one's."""
    models = aligned({"first": first, "second": second}, {"": 13})
    graph = Graph({"": 13})
    a = graph.input(TensorSpec("a", DataType.FP32, (-1, 2)))
    values = [next(iter(graph.embed(part, {"a": a}).values())) for part in models.values()]
    return graph.finish(graph.add("Concat", *values, axis=1), 2).data


def run(data: bytes) -> Array:
    answer: Array = ort.InferenceSession(data).run(None, {"a": ROWS})[0]
    return answer


def test_an_operator_that_changed_between_two_models_versions_is_rewritten() -> None:
    means = ROWS.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(run(together(model(MEAN_OF_17), model(MEAN_OF_20))), np.hstack([means, means]))


def test_models_in_which_nothing_changed_are_left_as_they_are() -> None:
    old = model(MEAN_OF_17)
    (newer,) = aligned({"old": old}, {"": 17}).values()
    assert newer.graph == old.graph


def test_functions_of_one_name_do_not_meet() -> None:
    def calling(body: str) -> ModelProto:
        return model(f"""
            <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
            calls (float[n, 2] a) => (float[n, 1] y) <int64[1] axes = {{1}}> {{
                b = mine.change(a)  y = ReduceSum<keepdims = 1>(b, axes)
            }}
            <opset_import: ["" : 17], domain: "mine">
            change (v) => (w) {{ {body} }}
        """)

    both = run(together(calling("w = Neg(v)"), calling("w = Add(v, v)")))
    total = ROWS.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(both, np.hstack([-total, 2 * total]))


def test_an_operator_that_only_gained_attributes_stays() -> None:
    old = model("""
        <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 2]>
        codes (int64[n, 1] a) => (float[n, 1] y) {
            y = ai.onnx.ml.LabelEncoder<keys_int64s = [1, 2], values_floats = [0.5, 0.25]>(a)
        }
    """)
    (newer,) = aligned({"old": old}, {"ai.onnx.ml": 5}).values()
    assert newer.graph == old.graph
    assert {entry.domain: entry.version for entry in newer.opset_import}["ai.onnx.ml"] == 5


def test_an_operator_that_changed_and_cannot_be_rewritten_is_refused_by_name() -> None:
    old = model("""
        <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 1]>
        codes (string[n, 1] a) => (int64[n, 1] y) {
            y = ai.onnx.ml.LabelEncoder<classes_strings = ["cat", "dog"]>(a)
        }
    """)
    with pytest.raises(
        ConversionError, match=r"member 'old' is written at version 1 of ai.onnx.ml, another at 5, and LabelEncoder"
    ):
        aligned({"old": old}, {"ai.onnx.ml": 5})


def test_two_versions_of_a_domain_that_onnx_does_not_know_are_refused() -> None:
    def foreign(version: int) -> ModelProto:
        return model(f"""
            <ir_version: 8, opset_import: ["" : 17, "com.acme" : {version}]>
            acme (float[n, 2] a) => (float[n, 2] y) {{ y = com.acme.Magic(a) }}
        """)

    with pytest.raises(ConversionError, match=r"version 1 of com\.acme, another at 2, and Magic changed"):
        aligned({"a": foreign(1), "b": foreign(2)}, {})
