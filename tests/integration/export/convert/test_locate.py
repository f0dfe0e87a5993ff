"""What is told of trees: where they branch, and in words where a graph with one fault parts from its model."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from onnx import helper, numpy_helper
from sklearn.ensemble import HistGradientBoostingRegressor
from widedeep.export.convert.rows import read_rows
from widedeep.export.convert.trained import Trained, Wish
from widedeep.serving.contract.tensors import Array

from .conftest import Data

NAMES = ("age", "sex", "kind")
Fault = Callable[[dict[str, Any]], None]


def table(diabetes: Data) -> tuple[Array, Array]:
    """Return rows of which the last column holds codes, and a target that depends on them."""
    rows = diabetes[0][:, :3].copy()
    rows[:, 2] = np.arange(len(rows)) % 30
    return rows, diabetes[1] + 100 * np.isin(rows[:, 2] % 7, [1, 3])


def read(framework: str, diabetes: Data) -> Trained:
    rows, target = table(diabetes)
    model: Any
    match framework:
        case "xgboost":
            options = {"enable_categorical": True, "feature_types": ["q", "q", "c"], "n_jobs": 1}
            model = xgboost.XGBRegressor(n_estimators=5, max_depth=3, **options).fit(rows, target)
        case "lightgbm":
            small = {"n_estimators": 5, "num_leaves": 6, "min_data_per_group": 2, "n_jobs": 1, "verbose": -1}
            model = lightgbm.LGBMRegressor(**small).fit(rows, target, categorical_feature=[2])
        case _:
            small = {"max_iter": 5, "max_leaf_nodes": 6, "random_state": 0}
            model = HistGradientBoostingRegressor(categorical_features=[2], **small).fit(rows, target)
    converter = import_module(f"widedeep.export.convert.{framework}")
    trained: Trained = converter.read(model, read_rows(rows, input_name="x", feature_names=NAMES), Wish())
    return trained


def with_fault(graph: bytes, fault: Fault) -> bytes:
    """Return a graph whose trees have other attributes."""
    model = onnx.load_from_string(graph)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    changed = {
        name: numpy_helper.to_array(value).copy() if isinstance(value, onnx.TensorProto) else value
        for name, value in attributes.items()
    }
    fault(changed)
    del node.attribute[:]
    for name, value in changed.items():
        tensor = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(helper.make_attribute(name, tensor))
    return model.SerializeToString()


def found(trained: Trained, fault: Fault) -> set[str]:
    """Return what is found for rows that the faulty graph answers differently, of the first thirty."""
    assert trained.locate is not None
    graph = with_fault(trained.drafts[0]().data, fault)
    rows = trained.rows.arrays["x"]
    answers = [trained.locate({"x": rows[i : i + 1]}, graph) for i in range(30)]
    return {answer for answer in answers if answer is not None}


def is_numeric(attributes: dict[str, Any], root: int) -> bool:
    return bool(attributes["nodes_modes"][attributes["tree_roots"][root]] != 6)


EVERY = pytest.mark.parametrize("framework", ["xgboost", "lightgbm", "sklearn"])


@EVERY
def test_a_moved_threshold_is_named_with_its_feature(diabetes: Data, framework: str) -> None:
    def fault(attributes: dict[str, Any]) -> None:
        numeric = np.flatnonzero(attributes["nodes_modes"] != 6)
        attributes["nodes_splits"][numeric] += 1e6

    answers = found(read(framework, diabetes), fault)
    assert answers
    assert all(any(f"(feature '{name}' <" in answer for name in NAMES[:2]) for answer in answers)
    assert all("the graph says yes, the model no" in answer for answer in answers)


@EVERY
def test_a_changed_set_of_categories_is_named_with_its_feature(diabetes: Data, framework: str) -> None:
    def fault(attributes: dict[str, Any]) -> None:
        sets = attributes["membership_values"]
        sets[~np.isnan(sets)] += 1000

    answers = found(read(framework, diabetes), fault)
    assert answers
    assert all("(feature 'kind' in [1" in answer for answer in answers)
    assert all("the graph says no, the model yes" in answer for answer in answers)


@EVERY
def test_a_changed_leaf_is_named_with_both_values(diabetes: Data, framework: str) -> None:
    def fault(attributes: dict[str, Any]) -> None:
        attributes["leaf_weights"][:] = 7

    answers = found(read(framework, diabetes), fault)
    assert answers
    assert all(answer.startswith("tree 0, leaf ") and ": the graph adds 7, the model " in answer for answer in answers)


@EVERY
def test_nothing_is_found_in_a_graph_that_is_right(diabetes: Data, framework: str) -> None:
    assert found(read(framework, diabetes), lambda _: None) == set()


def test_nothing_is_found_in_what_is_no_graph(diabetes: Data) -> None:
    trained = read("xgboost", diabetes)
    assert trained.locate is not None
    assert trained.locate({"x": trained.rows.arrays["x"][:1]}, b"no graph") is None


@EVERY
def test_what_the_trees_branch_by_is_told_for_probes(diabetes: Data, framework: str) -> None:
    trained = read(framework, diabetes)
    assert set(trained.thresholds["x"]) == {0, 1} or set(trained.thresholds["x"]) == {0}
    assert set(trained.categories["x"]) == {2}
    assert set(trained.categories["x"][2]) <= set(range(30))
    assert len(trained.trees) == 1
