"""XGBoost, read from the model's own JSON: float32 trees with `x < t`, then the objective's link.

Features are cast to float32 first, as XGBoost does. A scikit-learn estimator stops where early stopping did and a
Booster predicts with all its rounds: both as they do themselves.

Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Finished, Graph
from .rows import Rows, assemble
from .trained import Trained, Wish, check_fitted, labels_of, scores_of, thresholds_of
from .trees import Tree, Trees, numbered

_LINKS = {
    "binary:logistic": "sigmoid",
    "multi:softprob": "softmax",
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:logistic": "sigmoid",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "count:poisson": "exp",
}
_WAYS_OUT = {
    "multi:softmax": "it answers labels; train with multi:softprob, which grows the same trees",
    "binary:logitraw": "it answers log-odds; train with binary:logistic, which grows the same trees",
    "binary:hinge": "it answers labels, not probabilities; train with binary:logistic",
}
_NO_WAY_OUT = "write it to ONNX yourself and pass the path with native="


@dataclass(frozen=True, slots=True)
class Boosted:
    """What the JSON says.

    Attributes:
        trees: the trees used for a prediction.
        base: margin of every target before the first tree, `(n_targets,)`.
        link: from margins to scores.
        task: what the scores are.
        n_features: features of the training data.
    """

    trees: Trees
    base: npt.NDArray[np.float32]
    link: str
    task: Task
    n_features: int

    @property
    def n_outputs(self) -> int:
        """Columns of the scores."""
        return self.trees.n_outputs(self.task)

    def append(self, graph: Graph, features: str) -> str:
        """Add everything from float32 features `(n_rows, n_features)` to scores."""
        margin = graph.add("Add", self.trees.append(graph, features), graph.constant(self.base[np.newaxis]))
        match self.link:
            case "softmax":
                return graph.add("Softmax", margin, axis=1)
            case "sigmoid":
                positive = graph.add("Sigmoid", margin)
                return graph.two_columns(positive) if self.task == "classification" else positive
            case "exp":
                return graph.add("Exp", margin)
            case _:
                return margin


def read(model: Any, rows: Rows, _: Wish) -> Trained:
    """Read a fitted estimator or a Booster.

    Raises:
        ConversionError: what it does is not converted faithfully yet; the message names it.
    """
    import xgboost

    check_fitted(model)
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    boosted = parse(model)
    taken = rows.match(booster.feature_names, boosted.n_features)
    if text := [column.name for column in taken.columns if taken.is_text(column)]:
        raise ConversionError(
            f"XGBoost: column {text[0]!r} holds strings; encode it before training, for example with OrdinalEncoder in "
            f"a scikit-learn pipeline"
        )

    def draft() -> Finished:
        graph = Graph()
        return graph.finish(boosted.append(graph, assemble(graph, taken, np.float32)), boosted.n_outputs)

    return Trained(
        framework="xgboost",
        version=xgboost.__version__,
        kind=type(model).__name__,
        task=boosted.task,
        classes=labels_of(model, boosted.task),
        n_outputs=boosted.n_outputs,
        native=lambda arrays: predict(model, taken.table(arrays), boosted.task),
        rows=taken,
        drafts=(draft,),
        thresholds=thresholds_of(taken, boosted.trees.thresholds(boosted.n_features)),
    )


def parse(model: Any) -> Boosted:
    """Return what a fitted estimator's or Booster's prediction is made of.

    Raises:
        ConversionError: what it does is not converted faithfully yet; the message names it.
    """
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    missing = getattr(model, "missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise ConversionError(f"XGBoost: missing={missing!r} is not converted; set missing=nan and put NaN in the data")
    learner = json.loads(booster.save_raw("json"))["learner"]
    link, task = _link(learner["objective"]["name"])
    parameters = learner["learner_model_param"]
    if int(parameters["num_target"]) > 1:
        raise ConversionError("XGBoost: several targets are not converted; train one model a target")
    n_targets = max(1, int(parameters["num_class"]))
    grown = _model(learner["gradient_booster"])
    n_trees = int(grown["iteration_indptr"][_rounds(model, learner)])
    pairs = zip(grown["trees"][:n_trees], grown["tree_info"], strict=False)
    trees = Trees([_tree(tree, target) for tree, target in pairs], n_targets, "<", np.float32)
    if not trees.trees:
        raise ConversionError("XGBoost: the model has no trees")
    base = _base_margin(parameters["base_score"], learner["objective"]["name"], n_targets)
    return Boosted(trees, base, link, task, int(parameters["num_feature"]))


def predict(model: Any, table: Any, task: Task) -> Array:
    """Return the model's own scores for an array or a DataFrame."""
    if hasattr(model, "get_booster"):
        answer = model.predict_proba(table) if task == "classification" else model.predict(table)
    else:
        import xgboost

        answer = model.predict(xgboost.DMatrix(table))
    return scores_of(answer, task)


def _link(objective: str) -> tuple[str, Task]:
    if objective not in _LINKS:
        way_out = _WAYS_OUT.get(objective, _NO_WAY_OUT)
        raise ConversionError(f"XGBoost: objective {objective} is not converted: {way_out}")
    return _LINKS[objective], "regression" if objective.startswith(("reg:", "count:")) else "classification"


def _model(booster: Mapping[str, Any]) -> Any:
    if booster["name"] != "gbtree":
        raise ConversionError(f"XGBoost: booster {booster['name']} is not converted; train with booster=gbtree")
    return booster["model"]


def _rounds(model: Any, learner: Mapping[str, Any]) -> int:
    """Return how many boosting rounds a prediction uses; -1 is all."""
    best = learner["attributes"].get("best_iteration")
    return -1 if best is None or not hasattr(model, "get_booster") else int(best) + 1


def _tree(tree: Mapping[str, Any], target: int) -> Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise ConversionError("XGBoost: multi_strategy=multi_output_tree is not converted; use one_output_per_tree")
    if any(tree["split_type"]):
        raise ConversionError("XGBoost: categorical splits are not converted; one-hot encode the categories")
    left, right = np.array(tree["left_children"], np.int64), np.array(tree["right_children"], np.int64)
    values = np.array([np.float32(value) for value in tree["split_conditions"]], np.float32)
    is_leaf = left < 0
    split, place = ~is_leaf, numbered(is_leaf)
    return Tree(
        feature=np.array(tree["split_indices"], np.int64)[split],
        threshold=values[split],
        left=place[left[split]],
        right=place[right[split]],
        missing_left=np.array(tree["default_left"], np.bool_)[split],
        leaf=values[is_leaf],
        target=target,
    )


def _base_margin(text: str, objective: str, n_targets: int) -> npt.NDArray[np.float32]:
    """Return the base score, which the file keeps as a prediction, as margins.

    Up to XGBoost 3.0 it is one number, since then a list.
    """
    base = np.array([float(number) for number in re.findall(r"[^\[\],\s]+", text)], np.float32)
    if objective in {"binary:logistic", "reg:logistic"}:
        base = -np.log(1 / base - 1)
    elif _LINKS[objective] == "exp":
        base = np.log(base)
    return np.broadcast_to(base, n_targets).astype(np.float32)
