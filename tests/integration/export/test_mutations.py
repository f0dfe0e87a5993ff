"""The gate against graphs that are wrong in one place: good members of really trained models, spoilt one by one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from widedeep.export.convert import keras as keras_models
from widedeep.export.convert import lightgbm as lightgbm_models
from widedeep.export.convert import sklearn as sklearn_models
from widedeep.export.convert import xgboost as xgboost_models
from widedeep.export.convert.claims import claim_of
from widedeep.export.convert.rows import read_rows
from widedeep.export.convert.trained import Trained, Wish
from widedeep.export.member import ParityError
from widedeep.export.parity import Claim, Evidence, gather, prove
from widedeep.serving.contract.tensors import Array

_MEMBER = 6


@dataclass(frozen=True, slots=True)
class Good:
    """A graph that passes, with what it was proven by."""

    graph: bytes
    claim: Claim
    evidence: Evidence

    def refuses(self, model: ModelProto) -> bool:
        """Whether the gate refuses another graph in its place."""
        try:
            prove(model.SerializeToString(), self.claim, self.evidence)
        except ParityError:
            return True
        return False


def good(trained: Trained) -> Good:
    claim = claim_of(trained)
    evidence = gather(claim)
    graph = trained.drafts[0]().data
    prove(graph, claim, evidence)
    return Good(graph, claim, evidence)


def attributes(model: ModelProto) -> dict[str, Any]:
    (node,) = (node for node in model.graph.node if node.op_type == "TreeEnsemble")
    return {attribute.name: attribute for attribute in node.attribute}


def array(model: ModelProto, name: str) -> Array:
    value = helper.get_attribute_value(attributes(model)[name])
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.array(value)


def with_array(graph: bytes, name: str, change: Callable[[Array], Array]) -> ModelProto:
    """Return the graph with one attribute of its trees changed."""
    model = onnx.load_from_string(graph)
    attribute, changed = attributes(model)[name], change(array(model, name).copy())
    if attribute.type == onnx.AttributeProto.TENSOR:
        attribute.t.CopyFrom(numpy_helper.from_array(changed, attribute.t.name))
    else:
        attribute.ints[:] = changed.tolist()
    return model


def replaced(index: int, value: Callable[[Any], Any]) -> Callable[[Array], Array]:
    def change(values: Array) -> Array:
        values[index] = value(values[index])
        return values

    return change


def float32_step(threshold: Any, towards: float) -> np.float32:
    """Return the next number of float32 to the largest that passes `x <= threshold`."""
    nearest = np.float32(threshold)
    passes = nearest if nearest <= threshold else np.nextafter(nearest, np.float32(-np.inf))
    return np.nextafter(passes, np.float32(towards))


def float64_step(threshold: Any, towards: float) -> np.float64:
    return np.nextafter(np.float64(threshold), towards)


def off(value: Any) -> Any:
    """Return a weight that is a hundredth and a bit too large."""
    return value + abs(value) / 100 + 2e-3


def comparing(model: ModelProto) -> list[int]:
    """Return the splits that compare numbers."""
    return np.flatnonzero(array(model, "nodes_modes") != _MEMBER).tolist()


def survivors(member: Good, mutants: Iterator[tuple[str, ModelProto]]) -> list[str]:
    """Return the mutants that pass; there is at least one to try."""
    found = {name: member.refuses(model) for name, model in mutants}
    assert found
    return [name for name, is_refused in found.items() if not is_refused]


def spoilt_thresholds(graph: bytes, step: Callable[[Any, float], Any]) -> Iterator[tuple[str, ModelProto]]:
    """Yield the graph with each threshold one step up, then down."""
    for split in comparing(onnx.load_from_string(graph)):
        for towards in (np.inf, -np.inf):
            yield (
                f"split {split} to {towards}",
                with_array(graph, "nodes_splits", replaced(split, partial(step, towards=towards))),
            )


def spoilt_leaves(graph: bytes) -> Iterator[tuple[str, ModelProto]]:
    for leaf in range(len(array(onnx.load_from_string(graph), "leaf_weights"))):
        yield f"leaf {leaf}", with_array(graph, "leaf_weights", replaced(leaf, off))


def spoilt_directions(graph: bytes) -> Iterator[tuple[str, ModelProto]]:
    """Yield the graph with the direction of NaN turned at each split to which NaN comes."""
    model = onnx.load_from_string(graph)
    for split in comparing(model):
        if nan_comes_to(model, split):
            name = "nodes_missing_value_tracks_true"
            yield f"split {split}", with_array(graph, name, replaced(split, lambda value: 1 - value))


def nan_comes_to(model: ModelProto, split: int) -> bool:
    """Whether splits above by the same feature send NaN on to this one."""
    features, missing_left = array(model, "nodes_featureids"), array(model, "nodes_missing_value_tracks_true")
    above: dict[int, tuple[int, bool]] = {}
    for side, is_left in (("true", True), ("false", False)):
        ids, is_leaf = array(model, f"nodes_{side}nodeids"), array(model, f"nodes_{side}leafs")
        above |= {int(ids[node]): (node, is_left) for node in np.flatnonzero(is_leaf == 0).tolist()}
    node = split
    while node in above:
        node, is_left = above[node]
        if features[node] == features[split] and bool(missing_left[node]) != is_left:
            return False
    return True


def spoilt_sets(graph: bytes) -> Iterator[tuple[str, ModelProto]]:
    """Yield the graph without each member of each set, as long as the set keeps another."""
    values = array(onnx.load_from_string(graph), "membership_values")
    ends = np.isnan(values)
    for i in np.flatnonzero(~ends).tolist():
        is_alone = (i == 0 or ends[i - 1]) and ends[i + 1]
        if not is_alone:
            yield f"member {i}", with_array(graph, "membership_values", lambda old, i=i: np.delete(old, i))  # type: ignore[misc]  # i is bound


@pytest.fixture(scope="module")
def boosted() -> Good:
    """XGBoost on two classes in float32."""
    rows, labels = load_breast_cancer(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=4, learning_rate=0.3, n_jobs=1).fit(rows, labels)
    return good(xgboost_models.read(model, read_rows(rows.astype(np.float32), input_name="tabular"), Wish()))


@pytest.fixture(scope="module")
def categorical() -> Good:
    """LightGBM in float64 with two columns of categories."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(600, 3)), rng.integers(0, 12, (600, 2))], axis=1)
    labels = rows[:, 0] + np.sin(2 * rows[:, 3]) + (rows[:, 4] % 3 == 1) * rows[:, 1] > 0.3
    options = {
        "min_child_samples": 5,
        "min_data_per_group": 5,
        "cat_smooth": 1,
        "max_cat_to_onehot": 1,
        "num_leaves": 8,
    }
    model = lightgbm.LGBMClassifier(n_estimators=4, num_threads=1, verbose=-1, **options)
    model.fit(rows, labels, categorical_feature=[3, 4])
    return good(lightgbm_models.read(model, read_rows(rows, input_name="tabular"), Wish()))


@pytest.fixture(scope="module")
def forest() -> Good:
    rows, labels = load_iris(return_X_y=True)
    model = RandomForestClassifier(5, max_depth=4, random_state=1).fit(rows, labels == 1)
    return good(sklearn_models.read(model, read_rows(rows.astype(np.float32), input_name="tabular"), Wish()))


@pytest.fixture(scope="module")
def scaled() -> Good:
    """A forest behind a scaler, float64 columns."""
    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(3, max_depth=4, random_state=0)).fit(rows, labels)
    return good(sklearn_models.read(model, read_rows(rows, input_name="tabular"), Wish()))


def test_a_threshold_that_is_one_step_off_is_caught_at_every_split_of_a_booster(boosted: Good) -> None:
    assert not survivors(boosted, spoilt_thresholds(boosted.graph, float32_step))


def test_a_threshold_that_is_one_step_off_is_caught_beside_categories(categorical: Good) -> None:
    assert not survivors(categorical, spoilt_thresholds(categorical.graph, float64_step))


def test_a_threshold_that_is_one_step_off_is_caught_at_every_split_of_a_forest(forest: Good) -> None:
    assert not survivors(forest, spoilt_thresholds(forest.graph, float32_step))


def test_a_threshold_that_is_one_step_off_is_caught_behind_a_scaler(scaled: Good) -> None:
    assert not survivors(scaled, spoilt_thresholds(scaled.graph, float32_step))


@pytest.mark.parametrize("name", ["boosted", "categorical", "forest", "scaled"])
def test_every_leaf_that_is_off_is_caught(name: str, request: pytest.FixtureRequest) -> None:
    member = request.getfixturevalue(name)
    assert not survivors(member, spoilt_leaves(member.graph))


@pytest.mark.parametrize("name", ["boosted", "forest"])
def test_every_turned_direction_of_missing_values_is_caught(name: str, request: pytest.FixtureRequest) -> None:
    member = request.getfixturevalue(name)
    assert not survivors(member, spoilt_directions(member.graph))


def test_every_category_that_left_its_set_is_caught(categorical: Good) -> None:
    assert not survivors(categorical, spoilt_sets(categorical.graph))


def spoilt_weights(graph: bytes, least: int) -> Iterator[tuple[str, ModelProto]]:
    """Yield the graph with each number of its constants of floats off by a hundredth and a bit."""
    for place, tensor in enumerate(onnx.load_from_string(graph).graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind != "f" or values.size < least:
            continue
        for i in range(values.size):
            model = onnx.load_from_string(graph)
            changed = values.copy()
            changed.flat[i] = off(changed.flat[i])
            model.graph.initializer[place].CopyFrom(numpy_helper.from_array(changed, tensor.name))
            yield f"{tensor.name}[{i}]", model


def test_every_weight_of_a_linear_model_that_is_off_is_caught() -> None:
    rows, labels = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=2000).fit(rows, labels)
    member = good(sklearn_models.read(model, read_rows(rows, input_name="tabular"), Wish()))
    assert not survivors(member, spoilt_weights(member.graph, least=3))


def test_every_weight_of_a_net_that_is_off_is_caught() -> None:
    import keras

    rows, labels = load_iris(return_X_y=True)
    rows = rows.astype(np.float32)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((4,), name="flower"), keras.layers.Dense(6, "tanh"), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit(rows, labels, epochs=20, verbose=0)
    member = good(keras_models.read(model, read_rows(rows, input_name="tabular"), Wish()))
    assert not survivors(member, spoilt_weights(member.graph, least=3))


def test_a_node_of_another_kind_is_caught(boosted: Good) -> None:
    model = onnx.load_from_string(boosted.graph)
    (sigmoid,) = (node for node in model.graph.node if node.op_type == "Sigmoid")
    sigmoid.CopyFrom(NodeProto(op_type="HardSigmoid", input=sigmoid.input, output=sigmoid.output))
    assert boosted.refuses(model)


def test_a_category_set_with_a_member_too_many_is_caught(categorical: Good) -> None:
    values = array(onnx.load_from_string(categorical.graph), "membership_values")
    first = set(values[: int(np.flatnonzero(np.isnan(values))[0])].tolist())
    other = next(code for code in range(12) if code not in first)
    model = with_array(categorical.graph, "membership_values", lambda old: np.concatenate([[other], old]))
    assert categorical.refuses(model)
