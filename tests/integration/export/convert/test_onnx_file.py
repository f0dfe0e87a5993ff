from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError, ParityError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)


def softmax(rows: Array, weights: Array = WEIGHTS) -> Array:
    exp = np.exp(rows @ weights)
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


def write(path: Path, *, last: str = "Softmax", rows: str | int = "batch", weights: Array = WEIGHTS) -> Path:
    """Write a file with the input `x` `(rows, 4)` and the output `answer`, as an exporter might."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["logits"]), helper.make_node(last, ["logits"], ["answer"])]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 4])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [rows, weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 14), helper.make_opsetid("ai.onnx.ml", 2)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=7, producer_name="pytorch"), path)
    return path


def test_a_file_becomes_a_member_under_the_name_of_the_rows(tmp_path: Path, score: Score) -> None:
    member = convert(write(tmp_path / "net.onnx"), {"tabular": ROWS})
    assert (member.task, member.classes, member.n_outputs) == ("classification", (0, 1, 2), 3)
    assert member.opset == {"": 14}
    assert member.source == {"framework": "pytorch", "version": "unknown", "class": "net.onnx"}
    np.testing.assert_allclose(score(member, {"tabular": ROWS}), softmax(ROWS), atol=1e-6)


def test_a_path_may_be_a_string_and_classes_may_be_named(tmp_path: Path) -> None:
    member = convert(str(write(tmp_path / "net.onnx")), ROWS, classes=["a", "b", "c"], input_name="x")
    assert (member.classes, member.inputs[0].name) == (("a", "b", "c"), "x")


def test_other_numbers_are_cast_inside_the_graph(tmp_path: Path, score: Score) -> None:
    rows = (ROWS * 10).astype(np.int64)
    member = convert(write(tmp_path / "net.onnx"), {"x": rows})
    assert member.inputs[0].datatype == "INT64"
    np.testing.assert_allclose(score(member, {"x": rows}), softmax(rows), atol=1e-6)


def test_values_that_do_not_add_up_are_a_regression(tmp_path: Path) -> None:
    member = convert(write(tmp_path / "net.onnx", last="Identity"), ROWS)
    assert (member.task, member.n_outputs) == ("regression", 3)
    with pytest.raises(ConversionError, match="no probabilities"):
        convert(tmp_path / "net.onnx", ROWS, task="classification")


def test_one_column_of_a_classifier_is_the_second_of_two_classes(tmp_path: Path, score: Score) -> None:
    path = write(tmp_path / "net.onnx", last="Sigmoid", weights=WEIGHTS[:, :1])
    member = convert(path, {"x": ROWS}, classes=["no", "yes"])
    assert member.n_outputs == 2
    positive = 1 / (1 + np.exp(-ROWS @ WEIGHTS[:, 0]))
    np.testing.assert_allclose(score(member, {"x": ROWS})[:, 1], positive, atol=1e-6)


def test_a_file_that_is_not_the_model_it_should_be_fails(tmp_path: Path) -> None:
    def native(rows: Mapping[str, Array]) -> Array:
        return softmax(rows["x"], WEIGHTS * 1.001)

    path = write(tmp_path / "net.onnx")
    assert convert(path, {"x": ROWS}).certificate.rows == 64  # what the slow reference evaluator is asked
    with pytest.raises(ParityError, match="the converted graph is not the model"):
        convert(path, {"x": ROWS}, native=native)
    assert convert(path, {"x": ROWS}, native=lambda rows: softmax(rows["x"])).certificate.rows == 200


def test_several_inputs_are_bound_by_name_to_tensors_or_columns(tmp_path: Path, score: Score) -> None:
    nodes = [
        helper.make_node("Concat", ["age", "income"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "image"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "columns",
        [
            helper.make_tensor_value_info("income", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("age", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [None, 2]),
        ],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [None, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "columns.onnx")
    rows: dict[str, Array] = {"tabular": ROWS.astype(np.float64), "image": ROWS[:, :2], "other": ROWS}
    names = {"tabular": ["income", "debt", "age", "rent"]}
    member = convert(tmp_path / "columns.onnx", rows, feature_names=names)
    assert {spec.name for spec in member.inputs} == {"tabular", "image"}
    expected = rows["tabular"][:, [2, 0]] * rows["image"]
    answer = score(member, {name: rows[name] for name in ("tabular", "image")})
    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    with pytest.raises(ConversionError, match="takes an input 'income'; the rows hold 'image', 'other'"):
        convert(tmp_path / "columns.onnx", {"image": ROWS, "other": ROWS})


def test_scikit_learn_files_need_plain_probabilities(tmp_path: Path, iris: Data) -> None:
    from skl2onnx import to_onnx
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB().fit(*iris)
    rows = iris[0].astype(np.float32)
    for zipmap in (True, False):
        file = to_onnx(model, rows[:1], options={"zipmap": zipmap}, target_opset=17)
        (tmp_path / f"{zipmap}.onnx").write_bytes(file.SerializeToString())
    with pytest.raises(ConversionError, match=r"'output_probability' \(sequence_type\).*zipmap=False"):
        convert(tmp_path / "True.onnx", rows)
    member = convert(tmp_path / "False.onnx", rows, native=lambda given: model.predict_proba(given["tabular"]))
    assert member.n_outputs == 3


def test_of_several_outputs_one_is_named(tmp_path: Path) -> None:
    model = onnx.load(write(tmp_path / "net.onnx"))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]))
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ConversionError, match=r"'answer' \(tensor_type\), 'logits' .*name one with output="):
        convert(tmp_path / "net.onnx", ROWS)
    assert convert(tmp_path / "net.onnx", ROWS, output="logits").task == "regression"
    with pytest.raises(ConversionError, match="has no output 'scores'; it has 'answer', 'logits'"):
        convert(tmp_path / "net.onnx", ROWS, output="scores")


REFUSED: Mapping[str, tuple[dict[str, Any], Any, str]] = {
    "batch": ({"rows": 1}, ROWS, "input 'x' is for 1 rows; export it with a dynamic first axis"),
    "shape": ({}, ROWS[:, :3], r"input 'x' has shape \[None, 4\], the rows' 'tabular' \[-1, 3\]"),
    "type": ({}, pd.DataFrame({"city": ["rome", "oslo"]}), "'x' has shape|'x' is of FLOAT, the rows' 'city' is BYTES"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_do_not_fit_the_file_are_refused(tmp_path: Path, name: str) -> None:
    options, rows, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        convert(write(tmp_path / "net.onnx", **options), rows)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="does not exist"):
        convert(tmp_path / "missing.onnx", ROWS)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ConversionError, match="is no valid ONNX model"):
        convert(tmp_path / "text.onnx", ROWS)


def test_an_operator_that_the_reference_evaluator_lacks_needs_native(tmp_path: Path) -> None:
    model = onnx.load(write(tmp_path / "net.onnx"))
    model.graph.node[1].op_type, model.graph.node[1].domain = "FastGelu", "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(ConversionError, match="pass native="):
        convert(tmp_path / "net.onnx", ROWS)
