"""scikit-learn's own decision trees: single ones, forests, bags, gradient boosting and AdaBoost.

scikit-learn's trees take every value as float32 and compare it with a float64 threshold, `x <= t`: so does the graph.

Source: sklearn/tree/_tree.pyx, ensemble/_forest.py, _gb.py, _weight_boosting.py, _bagging.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .sklearn_bent import as_compared, unbent
from .sklearn_linear import two_columns
from .sklearn_table import Part, Table
from .sklearn_walk import Method, Respond, Walk
from .trees import Tree, Trees, numbered
from .values import Value, side_by_side, total


def tree(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a decision tree."""
    return _mean(walk, [model], [None], table, _leaves(model, method))


def forest(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a forest: the mean of its trees."""
    return _mean(walk, model.estimators_, [None] * len(model.estimators_), table, _leaves(model, method))


def bagging(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write the mean of estimators, each of which may see only some columns."""
    members, features = model.estimators_, model.estimators_features_
    if method == "predict_proba":
        members = [_with_all_classes(member, len(model.classes_)) for member in members]
    if all(hasattr(member, "tree_") for member in members) and method != "decision_function":
        return _mean(walk, members, features, table, _leaves(model, method))
    table = Table((Part(table.array(type(model).__name__), table.origins),), is_sparse=table.is_sparse)
    answers = []
    for member, chosen in zip(members, features, strict=True):
        seen = table.select(np.asarray(chosen).tolist())
        if method == "predict_proba" and not hasattr(member, "predict_proba"):
            answers.append(walk.place(member, seen).reshape(-1).gather(np.eye(len(model.classes_))))
        else:
            answers.append(walk.respond(member, seen, method))
    return total(answers) / float(len(members))


def gradient_boosting(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write gradient boosting of scikit-learn's own trees."""
    x = table.numbers(type(model).__name__).astype(np.float32)
    _, n_targets = model.estimators_.shape
    grown = [
        _read(stage.tree_, stage.tree_.value[:, 0, 0] * model.learning_rate, target)
        for stages in model.estimators_
        for target, stage in enumerate(stages)
    ]
    raw: Value = _sum(walk, Trees(grown, n_targets, "<=", np.float64), x, table) + _first_guess(
        walk, model, x, n_targets
    )
    if method in {"decision_function", "predict"}:
        return raw
    match type(model._loss).__name__:
        case "HalfBinomialLoss" | "ExponentialLoss" if n_targets == 1:
            steep = 2.0 if type(model._loss).__name__ == "ExponentialLoss" else 1.0
            return two_columns((raw * steep).sigmoid())
        case "HalfMultinomialLoss":
            return raw.softmax()
        case loss:
            raise ConversionError(f"{type(model).__name__}: {loss} is not converted; train with loss='log_loss'")


def adaboost(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write AdaBoost of classifiers, which vote."""
    n_classes, weights = int(model.n_classes_), np.asarray(model.estimator_weights_)[: len(model.estimators_)]
    against = -1 / (n_classes - 1)
    votes = np.where(np.eye(n_classes, dtype=np.bool_), 1.0, against)
    if all(hasattr(member, "tree_") for member in model.estimators_):
        leaves = [
            votes[np.searchsorted(model.classes_, member.classes_[member.tree_.value[:, 0].argmax(axis=1)])] * weight
            for member, weight in zip(model.estimators_, weights, strict=True)
        ]
        cast = _leaf_sum(walk, model.estimators_, [None] * len(weights), leaves, table)
    else:
        each = []
        for member, weight in zip(model.estimators_, weights, strict=True):
            own = votes[np.searchsorted(model.classes_, member.classes_)] * weight
            each.append(walk.place(member, table).reshape(-1).gather(own))
        cast = total(each)
    decision: Value = cast / float(weights.sum())
    if n_classes > 2:
        return decision if method == "decision_function" else (decision / float(n_classes - 1)).softmax()
    single = decision.columns([1]) - decision.columns([0])
    return single if method == "decision_function" else ((-single).beside(single) / 2.0).softmax()


def weighted_median(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write AdaBoost of regressors: the weighted median of their values."""
    members = model.estimators_
    if all(hasattr(member, "tree_") for member in members):
        x = table.numbers(type(model).__name__).astype(np.float32)
        grown = [_read(member.tree_, member.tree_.value[:, 0, 0], i) for i, member in enumerate(members)]
        values = _sum(walk, Trees(grown, len(members), "<=", np.float64), x, table)
    else:
        answers = [walk.respond(member, table, "predict") for member in members]
        values = side_by_side(answers)
    weights = np.asarray(model.estimator_weights_, np.float64)[: len(members)]
    ordered, places = values.smallest(len(members))
    share = places.gather(weights).cumsum()
    enough = (share >= share.columns([len(members) - 1]) * 0.5).astype(np.float32)
    chosen = enough.argmax().equals(np.arange(len(members), dtype=np.int64)[np.newaxis])
    return chosen.where(ordered, 0.0).sum()


def _leaves(model: Any, method: Method) -> int:
    """Return the columns of an answer."""
    return len(model.classes_) if method == "predict_proba" else int(getattr(model, "n_outputs_", 1))


def _mean(walk: Walk, members: Sequence[Any], features: Sequence[Any], table: Table, n_columns: int) -> Value:
    """Write the mean of trees, each of which sees all columns or those that `features` names."""
    leaves = []
    for member in members:
        value = member.tree_.value
        leaves.append(value[:, 0, :] if hasattr(member, "classes_") else value[:, :, 0])
        if leaves[-1].shape[1] != n_columns:
            raise ConversionError(f"{type(member).__name__}: trees of different classes are not converted")
    return _leaf_sum(walk, members, features, leaves, table) / float(len(members))


def _leaf_sum(
    walk: Walk, members: Sequence[Any], features: Sequence[Any], leaves: Sequence[Array], table: Table
) -> Value:
    """Write the sum over trees of `leaves`, each `(n_nodes, n_columns)`, where a row ends: `(n_rows, n_columns)`."""
    x = table.numbers(type(members[0]).__name__).astype(np.float32)
    n_columns = leaves[0].shape[1]
    sums_to_one = all(np.allclose(values.sum(axis=1), 1) for values in leaves)
    if n_columns == 1 or (n_columns == 2 and sums_to_one):
        grown = [
            _read(member.tree_, values[:, -1], 0, chosen)
            for member, values, chosen in zip(members, leaves, features, strict=True)
        ]
        last = _sum(walk, Trees(grown, 1, "<=", np.float64), x, table)
        return last if n_columns == 1 else (float(len(members)) - last).beside(last)
    # A leaf holds one number: here its place in a table of the rows of all leaves.
    first = np.cumsum([0, *(len(values) for values in leaves)])
    grown = [
        _read(member.tree_, np.arange(len(values)) + start, i, chosen)
        for i, (member, values, start, chosen) in enumerate(zip(members, leaves, first, features, strict=False))
    ]
    places = _sum(walk, Trees(grown, len(grown), "<=", np.float64), x, table).astype(np.int64)
    return places.gather(np.concatenate(leaves).astype(np.float64)).sum(axis=1).reshape(-1, n_columns)


def _sum(walk: Walk, trees: Trees, x: Value, table: Table) -> Value:
    walk.saw_thresholds(table.origins, trees.thresholds(table.width))
    walk.saw_trees(table.origins, trees, dtype=np.float32)
    trees, seen = unbent(trees, x, table.origins, as_compared(x.dtype))
    return Value(walk.graph, trees.append(walk.graph, seen.astype(np.float64).name), np.dtype(np.float64))


def _read(grown: Any, values: Array, target: int, features: Any = None) -> Tree:
    """Read one tree; `values` `(n_nodes,)` are those of its leaves, `features` the columns that its own ones are."""
    nodes = grown.__getstate__()["nodes"]
    is_leaf = grown.children_left < 0
    split, place = ~is_leaf, numbered(is_leaf)
    feature = grown.feature[split].astype(np.int64)
    return Tree(
        feature=feature if features is None else np.asarray(features, np.int64)[feature],
        threshold=grown.threshold[split].astype(np.float64),
        left=place[grown.children_left[split]],
        right=place[grown.children_right[split]],
        missing_left=nodes["missing_go_to_left"][split].astype(np.bool_),
        leaf=np.asarray(values, np.float64)[is_leaf],
        target=target,
    )


def _first_guess(walk: Walk, model: Any, x: Value, n_targets: int) -> Any:
    """Return the raw scores before the first tree."""
    if isinstance(model.init_, str) or model.init_ is None:
        return np.zeros((1, n_targets))
    if type(model.init_).__name__.startswith("Dummy"):
        return np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32)), np.float64)
    seen = Table((Part(x, (None,) * int(model.n_features_in_)),))
    if not hasattr(model, "classes_"):
        return walk.respond(model.init_, seen, "predict").astype(np.float64)
    raise ConversionError(
        f"{type(model).__name__}: init={type(model.init_).__name__} of a classifier is not converted; train with "
        f"init=None or 'zero'"
    )


def _with_all_classes(member: Any, n_classes: int) -> Any:
    if hasattr(member, "classes_") and len(member.classes_) != n_classes:
        raise ConversionError(
            f"a bagged {type(member).__name__} saw only {len(member.classes_)} of {n_classes} classes; train with "
            f"larger max_samples"
        )
    return member


RESPONDS: Mapping[str, Respond] = {
    "DecisionTreeClassifier": tree,
    "DecisionTreeRegressor": tree,
    "ForestClassifier": forest,
    "ForestRegressor": forest,
    "BaseBagging": bagging,
    "BaseGradientBoosting": gradient_boosting,
    "AdaBoostClassifier": adaboost,
    "AdaBoostRegressor": weighted_median,
}
