"""LightGBM, read from the model's own text: float64 trees with `x <= t`, then the objective's link.

What LightGBM does to a value before it compares is done in the graph: numbers within 1e-35 of zero become zero (where
a threshold lies there, else nobody could tell), NaN becomes zero where training saw no missing values, and categories
are cut to whole numbers. Predictions stop where
early stopping did, as they do in LightGBM.

Source: https://github.com/microsoft/LightGBM/blob/main/include/LightGBM/tree.h (decision_type, NumericalDecision,
CategoricalDecision).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Finished, Graph
from .rows import Rows, assemble
from .trained import Trained, Wish, check_fitted, labels_of, scores_of, thresholds_of
from .trees import Tree, Trees

_LINKS = {
    "binary": "sigmoid",
    "multiclass": "softmax",
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
}
_WAYS_OUT = {
    "multiclassova": "its scores do not sum to one; train with objective=multiclass",
    "custom": "only its author knows from raw scores to predictions; train with a built-in objective",
    "lambdarank": "a rank is neither a class nor a value",
    "rank_xendcg": "a rank is neither a class nor a value",
}
_NO_WAY_OUT = "write it to ONNX yourself and pass the path with native="
_ZERO = float(np.float32(1e-35))
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_ZERO = 0, 1


@dataclass(frozen=True, slots=True)
class Boosted:
    """What the text says.

    Attributes:
        trees: the trees used for a prediction.
        link: from raw scores to scores.
        steepness: factor inside the sigmoid.
        rounds: rounds to average over, 1 for a sum.
        task: what the scores are.
        n_features: features of the training data.
        nan_is_zero: features `(n_features,)` whose NaN is taken as zero.
        categorical: features `(n_features,)` that are split by category.
    """

    trees: Trees
    link: str
    steepness: float
    rounds: int
    task: Task
    n_features: int
    nan_is_zero: Array
    categorical: Array

    @property
    def n_outputs(self) -> int:
        """Columns of the scores."""
        return self.trees.n_outputs(self.task)

    def append(self, graph: Graph, features: str) -> str:
        """Add everything from float64 features `(n_rows, n_features)` to scores."""
        raw = self.trees.append(graph, self._seen(graph, features))
        if self.rounds > 1:
            raw = graph.add("Div", raw, graph.constant(self.rounds, np.float64))
        match self.link:
            case "softmax":
                return graph.add("Softmax", raw, axis=1)
            case "sigmoid":
                steep = graph.add("Mul", raw, graph.constant(self.steepness, np.float64))
                return graph.two_columns(graph.cast(graph.add("Sigmoid", steep), np.float32))
            case "exp":
                return graph.add("Exp", raw)
            case _:
                return raw

    def _seen(self, graph: Graph, x: str) -> str:
        """Add what LightGBM does to features before it compares them."""
        seen, zero, is_nan = x, graph.constant(0.0, np.float64), graph.add("IsNaN", x)
        if any(((tree.threshold >= -_ZERO) & (tree.threshold < _ZERO)).any() for tree in self.trees.trees):
            tiny = graph.add("LessOrEqual", graph.add("Abs", x), graph.constant(_ZERO, np.float64))
            seen = graph.add("Where", tiny, zero, seen)
        if self.nan_is_zero.any():
            missing = graph.add("And", is_nan, graph.constant(self.nan_is_zero[np.newaxis]))
            seen = graph.add("Where", missing, zero, seen)
        if self.categorical.any():
            # A missing category passes no split, and neither does -1.
            whole = graph.cast(graph.cast(graph.add("Where", is_nan, graph.constant(-1.0), x), np.int64), np.float64)
            seen = graph.add("Where", graph.constant(self.categorical[np.newaxis]), whole, seen)
        return seen


def read(model: Any, rows: Rows, _: Wish) -> Trained:
    """Read a fitted estimator or a Booster.

    Raises:
        ConversionError: what it does is not converted faithfully yet; the message names it.
    """
    import lightgbm

    check_fitted(model)
    booster = _booster(model)
    boosted = parse(model)
    taken = rows.match(_names(booster, rows), boosted.n_features)
    if text := [column.name for column in taken.columns if taken.is_text(column)]:
        raise ConversionError(
            f"LightGBM: column {text[0]!r} holds strings; encode them as whole numbers before training "
            f"(OrdinalEncoder) and name it in categorical_feature"
        )
    # An array that is not of floats goes through float32 in LightGBM; a DataFrame's integers do not.
    is_float = all(spec.datatype.is_float for spec in taken.specs.values())
    steps = (np.float64,) if taken.named or is_float else (np.float32, np.float64)

    def draft() -> Finished:
        graph = Graph()
        return graph.finish(boosted.append(graph, assemble(graph, taken, *steps)), boosted.n_outputs)

    return Trained(
        framework="lightgbm",
        version=lightgbm.__version__,
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
    booster = _booster(model)
    header, *blocks = booster.model_to_string().split("\nTree=")
    facts = _facts(header)
    name, *options = facts.get("objective", "custom").split()
    if name not in _LINKS:
        raise ConversionError(f"LightGBM: objective {name} is not converted: {_WAYS_OUT.get(name, _NO_WAY_OUT)}")
    if "sqrt" in options:
        raise ConversionError("LightGBM: reg_sqrt is not converted; train on the square root of the target instead")
    n_targets, n_features = int(facts["num_tree_per_iteration"]), int(facts["max_feature_idx"]) + 1
    seen = _Features(n_features)
    trees = [_tree(_facts(block.split("\nend of trees", 1)[0]), i % n_targets, seen) for i, block in enumerate(blocks)]
    if not trees:
        raise ConversionError("LightGBM: the model has no trees")
    return Boosted(
        trees=Trees(trees, n_targets, "<=", np.float64),
        link=_LINKS[name],
        steepness=float(dict(option.split(":") for option in options if ":" in option).get("sigmoid", 1.0)),
        rounds=len(trees) // n_targets if "average_output" in facts else 1,
        task="classification" if _LINKS[name] in {"sigmoid", "softmax"} else "regression",
        n_features=n_features,
        nan_is_zero=seen.nan_is_zero,
        categorical=seen.categorical,
    )


def predict(model: Any, table: Any, task: Task) -> Array:
    """Return the model's own scores for an array or a DataFrame."""
    answer = model.predict_proba(table) if hasattr(model, "predict_proba") else model.predict(table)
    return scores_of(answer, task)


class _Features:
    """What the splits say about each feature, collected while trees are read."""

    def __init__(self, n_features: int) -> None:
        self.nan_is_zero = np.zeros(n_features, np.bool_)
        self.categorical = np.zeros(n_features, np.bool_)


def _tree(facts: Mapping[str, str], target: int, seen: _Features) -> Tree:
    if facts.get("is_linear", "0") != "0":
        raise ConversionError("LightGBM: linear_tree is not converted; train with linear_tree=false")
    leaf = np.array(facts["leaf_value"].split(), np.float64)
    if len(leaf) == 1:
        empty = np.zeros(0, np.int64)
        return Tree(empty, np.zeros(0), empty, empty, np.zeros(0, np.bool_), leaf, target)
    keys = ("split_feature", "left_child", "right_child", "decision_type")
    feature, left, right, decision = (np.array(facts[key].split(), np.int64) for key in keys)
    threshold = np.array(facts["threshold"].split(), np.float64)
    missing = decision >> 2
    if (missing == _MISSING_ZERO).any():
        raise ConversionError("LightGBM: zero_as_missing is not converted; train without it, with NaN for missing")
    categorical = (decision & _CATEGORICAL) > 0
    seen.categorical[feature[categorical]] = True
    seen.nan_is_zero[feature[(missing == _MISSING_NONE) & ~categorical]] = True
    return Tree(
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        missing_left=((decision & _DEFAULT_LEFT) > 0) & ~categorical,
        leaf=leaf,
        target=target,
        categories={int(split): _categories(facts, int(threshold[split])) for split in np.flatnonzero(categorical)},
    )


def _categories(facts: Mapping[str, str], place: int) -> tuple[int, ...]:
    """Return the categories of a split, kept as bits of 32-bit words."""
    bounds = [int(bound) for bound in facts["cat_boundaries"].split()]
    words = np.array(facts["cat_threshold"].split(), np.uint32)[bounds[place] : bounds[place + 1]]
    bits = np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little")
    return tuple(np.flatnonzero(bits).tolist())


def _facts(block: str) -> dict[str, str]:
    """Return the `key=value` lines; a line without a value maps to an empty string."""
    return dict(line.partition("=")[::2] for line in block.splitlines() if line)


def _booster(model: Any) -> Any:
    return model.booster_ if hasattr(model, "booster_") else model


def _names(booster: Any, rows: Rows) -> list[str] | None:
    """Return the feature names as the rows spell them, None where LightGBM made them up for an array."""
    names = booster.feature_name()
    if names == [f"Column_{i}" for i in range(len(names))]:
        return None
    # LightGBM keeps a blank in a name as an underscore.
    spelled = {str(column.name).replace(" ", "_"): str(column.name) for column in rows.columns}
    return [spelled.get(name, name) for name in names]
