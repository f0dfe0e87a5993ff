"""Forests that skl2onnx writes with the older tree operators, brought to the version that no longer has them."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeRegressor
from widedeep.export.convert.opsets import aligned
from widedeep.export.convert.tree_upgrade import TREE_ENSEMBLES, upgrade_trees
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.runtime import ort

IRIS, CANCER, DIABETES = load_iris(return_X_y=True), load_breast_cancer(return_X_y=True), load_diabetes(return_X_y=True)
TWO_TARGETS = DIABETES[0], np.stack([DIABETES[1], -2 * DIABETES[1]], axis=1)

MODELS: Mapping[str, tuple[Any, tuple[Array, Array], type]] = {
    "forest of three classes": (RandomForestClassifier(10, random_state=0), IRIS, np.float32),
    "forest of three classes in double": (RandomForestClassifier(10, random_state=0), IRIS, np.float64),
    "forest of two classes": (RandomForestClassifier(10, random_state=0), CANCER, np.float32),
    "boosting of three classes": (GradientBoostingClassifier(n_estimators=5, random_state=0), IRIS, np.float32),
    "boosting of two classes": (GradientBoostingClassifier(n_estimators=5, random_state=0), CANCER, np.float32),
    "bagged trees": (BaggingClassifier(n_estimators=3, random_state=0), IRIS, np.float32),
    "forest of one target": (RandomForestRegressor(10, random_state=0), DIABETES, np.float32),
    "forest of two targets": (RandomForestRegressor(10, random_state=0), TWO_TARGETS, np.float32),
    "boosting of one target": (GradientBoostingRegressor(n_estimators=5, random_state=0), DIABETES, np.float32),
    "one tree": (DecisionTreeRegressor(max_depth=4, random_state=0), DIABETES, np.float32),
}


def old_graph(name: str) -> tuple[ModelProto, Array]:
    """Return skl2onnx's graph with the scores as its one output, and rows for it."""
    from skl2onnx import to_onnx

    model, (rows, target), dtype = MODELS[name]
    rows = rows.astype(dtype)
    model.fit(rows, target)
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated names between skl2onnx and numpy
        graph = to_onnx(model, rows[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})
    scores = graph.graph.output[-1]
    del graph.graph.output[:-1]
    scores.type.tensor_type.shape.dim[1].Clear()  # which it states wrongly for several targets
    return graph, rows


def run(graph: ModelProto, rows: Array) -> Array:
    answer: Array = ort.InferenceSession(graph.SerializeToString()).run(None, {"X": rows})[0]
    return answer


@pytest.mark.parametrize("name", MODELS)
def test_a_forest_answers_as_before(name: str) -> None:
    old, rows = old_graph(name)
    new = aligned({"forest": old}, {"": 17, "ai.onnx.ml": 5})["forest"]
    onnx.checker.check_model(new, full_check=True)
    assert "TreeEnsemble" in {node.op_type for node in new.graph.node}
    assert not TREE_ENSEMBLES & {node.op_type for node in new.graph.node}
    rows[: len(rows) // 4, 0] = np.nan
    np.testing.assert_allclose(run(new, rows), run(old, rows), rtol=1e-6, atol=1e-6)


def test_a_forest_whose_label_is_wanted_is_refused() -> None:
    old, _ = old_graph("forest of three classes")
    label = next(node for node in old.graph.node if node.op_type in TREE_ENSEMBLES).output[0]
    old.graph.output.append(onnx.helper.make_tensor_value_info(label, TensorProto.INT64, [None]))
    with pytest.raises(ConversionError, match=r"a TreeEnsembleClassifier cannot be written.* the label"):
        upgrade_trees(old)


def test_an_aggregate_that_the_new_operator_lacks_is_refused() -> None:
    old, _ = old_graph("one tree")
    (node,) = (node for node in old.graph.node if node.op_type in TREE_ENSEMBLES)
    node.attribute.append(onnx.helper.make_attribute("aggregate_function", "MAX"))
    with pytest.raises(ConversionError, match="aggregate_function MAX"):
        upgrade_trees(old)
