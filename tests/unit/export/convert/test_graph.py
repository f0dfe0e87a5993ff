import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from widedeep.export.convert.graph import Graph
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

X = TensorSpec("x", DataType.FP32, (-1, 2))
ROWS = np.array([[1, -2], [3, 4]], np.float32)


def run(data: bytes, **rows: Array) -> Array:
    answer: Array = ort.InferenceSession(data).run(None, rows)[0]
    return answer


def doubled(prefix: str = "", value: float = 2.0) -> ModelProto:
    """Return a foreign model y = value * a, its names starting with `prefix`."""
    graph = helper.make_graph(
        [helper.make_node("Mul", [f"{prefix}a", f"{prefix}two"], [f"{prefix}y"], name=f"{prefix}node")],
        f"{prefix}graph",
        [helper.make_tensor_value_info(f"{prefix}a", TensorProto.FLOAT, ["unk__1", 2])],
        [helper.make_tensor_value_info(f"{prefix}y", TensorProto.FLOAT, ["unk__1", 2])],
        [numpy_helper.from_array(np.float32(value), f"{prefix}two")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def embedded(model: ModelProto) -> bytes:
    graph = Graph()
    (scores,) = graph.embed(model, {model.graph.input[0].name: graph.input(X)}).values()
    return graph.finish(scores, 2).data


def test_a_finished_graph_has_one_fp32_output_and_a_named_batch_axis() -> None:
    graph = Graph()
    wide = graph.cast(graph.input(X), np.float64)
    model = onnx.load_from_string(graph.finish(graph.add("Abs", wide), 2).data)
    (scores,) = model.graph.output
    assert scores.name == "scores"
    assert scores.type.tensor_type.elem_type == TensorProto.FLOAT
    for value in (model.graph.input[0], scores):
        assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == ["n_rows", 2]
    assert (model.ir_version, model.producer_name) == (10, "widedeep")


def test_inputs_and_nodes_that_the_scores_do_not_need_are_left_out() -> None:
    graph = Graph()
    graph.add("Exp", graph.input(TensorSpec("unused", DataType.FP32, (-1, 3))))
    finished = graph.finish(graph.add("Neg", graph.input(X)), 2)
    assert finished.inputs == ("x",)
    assert [node.op_type for node in onnx.load_from_string(finished.data).graph.node] == ["Neg", "Cast"]
    np.testing.assert_array_equal(run(finished.data, x=ROWS), -ROWS)


def test_names_that_an_exporter_chose_do_not_change_the_bytes() -> None:
    assert embedded(doubled("a_")) == embedded(doubled("sequential_17/dense_3/"))
    assert embedded(doubled()) != embedded(doubled(value=3.0))


def test_an_embedded_model_is_fed_by_the_values_it_is_bound_to() -> None:
    graph = Graph()
    (once,) = graph.embed(doubled(), {"a": graph.input(X)}).values()
    (twice,) = graph.embed(doubled(), {"a": once}).values()
    np.testing.assert_array_equal(run(graph.finish(twice, 2).data, x=ROWS), 4 * ROWS)


def test_nodes_may_come_in_any_order() -> None:
    model = doubled()
    model.graph.node.append(helper.make_node("Neg", ["y"], ["z"]))
    model.graph.output[0].name = "z"
    reordered = ModelProto()
    reordered.CopyFrom(model)
    del reordered.graph.node[:]
    reordered.graph.node.extend(reversed(model.graph.node))
    assert embedded(reordered) == embedded(model)


def test_a_subgraph_sees_renamed_values_of_the_graph_around_it() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        choice (float[n, 2] a) => (float[n, 2] y) <bool flag = {1}, float shift = {5}> {
            moved = Add(a, shift)
            y = If(flag) <
                then_branch = then_graph () => (float[n, 2] out) { inner = Neg(moved)  out = Add(inner, shift) },
                else_branch = else_graph () => (float[n, 2] out) { out = Identity(moved) }
            >
        }
    """)
    data = embedded(model)
    np.testing.assert_array_equal(run(data, x=ROWS), -ROWS)
    assert not {"moved", "inner", "out", "shift"} & {
        name for node in onnx.load_from_string(data).graph.node for name in (*node.input, *node.output)
    }


def test_functions_of_an_embedded_model_come_along() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        calls (float[n, 2] a) => (float[n, 2] y) { y = mine.twice(a) }
        <opset_import: ["" : 17], domain: "mine">
        twice (v) => (w) { w = Add(v, v) }
    """)
    np.testing.assert_array_equal(run(embedded(model), x=ROWS), 2 * ROWS)


def test_the_probability_of_the_second_class_becomes_two_columns() -> None:
    graph = Graph()
    positive = graph.columns(graph.input(X), [1])
    np.testing.assert_array_equal(
        run(graph.finish(graph.two_columns(positive), 2).data, x=np.array([[9, 0.25]], np.float32)), [[0.75, 0.25]]
    )


def test_a_domain_is_imported_once_in_its_highest_version_and_only_if_used() -> None:
    graph = Graph()
    older = doubled()
    older.opset_import.add(domain="ai.onnx.ml", version=2)
    (scores,) = graph.embed(older, {"a": graph.input(X)}).values()
    assert graph.finish(scores, 2).opset == {"": 17}


def test_an_operator_that_onnx_does_not_have_is_refused() -> None:
    graph = Graph()
    with pytest.raises(ConversionError, match="not valid ONNX: No Op registered for Erfc"):
        graph.finish(graph.add("Erfc", graph.input(X)), 2)


def test_strings_are_declared_as_strings() -> None:
    graph = Graph()
    city = graph.input(TensorSpec("city", DataType.BYTES, (-1, 1)))
    known = graph.add(
        "LabelEncoder", city, domain="ai.onnx.ml", keys_strings=["rome"], values_floats=[1.0], default_float=0.0
    )
    graph.opset["ai.onnx.ml"] = 3
    data = graph.finish(known, 1).data
    np.testing.assert_array_equal(run(data, city=np.array([["rome"], ["oslo"]], object)), [[1.0], [0.0]])
