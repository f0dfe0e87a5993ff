"""The part of XGBoost's JSON that adds up to margins: trees (gbtree, dart) or the weights of gblinear.

Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html; src/common/categorical.h (Decision: the
categories of a split go right, all others left).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .trees import Tree, Trees, numbered

_CATEGORICAL = 1


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear booster.

    Attributes:
        weights: `(n_features, n_targets)` float32.
        bias: `(n_targets,)` float32.
    """

    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def thresholds(self, n_features: int) -> tuple[Array, ...]:
        """Return no thresholds for any feature."""
        return (np.zeros(0, np.float32),) * n_features

    def categories(self, n_features: int) -> tuple[Array, ...]:
        """Return no categories for any feature."""
        return self.thresholds(n_features)

    def append(self, graph: Graph, features: str, base: npt.NDArray[np.float32]) -> str:
        """Add from float32 features `(n_rows, n_features)` to margins `(n_rows, n_targets)`.

        A missing value adds nothing. Terms are added from the bias on, one feature after the other: in float32 the
        order is part of the result where they nearly cancel.
        """
        n_features, n_targets = self.weights.shape
        known = graph.add("Where", graph.add("IsNaN", features), graph.constant(0, np.float32), features)
        column = graph.add("Reshape", known, graph.constant([-1, n_features, 1], np.int64))
        terms = graph.add("Mul", column, graph.constant(self.weights[np.newaxis]))
        start = graph.add("Shape", features, end=1)
        rows = graph.add("Concat", start, graph.constant([1, n_targets], np.int64), axis=0)
        # XGBoost takes the base score of the first target for all (measured with 3.2).
        first = graph.add("Expand", graph.constant((self.bias + base[0]).reshape(1, 1, n_targets)), rows)
        sums = graph.add("CumSum", graph.add("Concat", first, terms, axis=1), graph.constant(1, np.int64))
        return graph.add("Gather", sums, graph.constant(n_features, np.int64), axis=1)


def read_booster(booster: Mapping[str, Any], rounds: int, n_features: int, n_targets: int) -> Trees | Weights:
    """Return what the `gradient_booster` of a model holds.

    Args:
        booster: that part of the JSON.
        rounds: boosting rounds used for a prediction, -1 for all.
        n_features: features of the training data.
        n_targets: margins of a row.

    Raises:
        ConversionError: a kind of booster that is not known.
    """
    match booster["name"]:
        case "gbtree":
            return _trees(booster["model"], rounds, n_targets)
        case "dart":
            return _trees(booster["gbtree"]["model"], rounds, n_targets, booster["weight_drop"])
        case "gblinear":
            weights = np.array(booster["model"]["weights"], np.float64).astype(np.float32).reshape(-1, n_targets)
            return Weights(weights[:n_features], weights[n_features])
        case other:
            raise ConversionError(f"XGBoost: booster {other} is not converted; train with booster=gbtree")


def _trees(model: Mapping[str, Any], rounds: int, n_targets: int, scale: Sequence[float] = ()) -> Trees:
    n_trees = int(model["iteration_indptr"][rounds])
    if not n_trees:
        raise ConversionError("XGBoost: the model has no trees; train at least one round")
    trees: list[Tree] = []
    for i in range(n_trees):
        weight = np.float32(scale[i]) if len(scale) else np.float32(1)
        trees += _tree(model["trees"][i], int(model["tree_info"][i]), weight)
    return Trees(trees, n_targets, "<", np.float32)


def _tree(tree: Mapping[str, Any], target: int, weight: np.float32) -> Iterator[Tree]:
    """Yield a tree; one whose leaves hold a value for each target is one tree a target."""
    left, right = np.array(tree["left_children"], np.int64), np.array(tree["right_children"], np.int64)
    node = _reached(left, right)
    is_leaf = left[node] < 0
    place = np.zeros(len(left), np.int64)
    place[node] = numbered(is_leaf)
    split, leaf = node[~is_leaf], node[is_leaf]
    by_category = np.array(tree["split_type"], np.int64)[split] == _CATEGORICAL
    default_left = np.array(tree["default_left"], np.bool_)[split]
    values = _float32(tree["split_conditions"])
    for column, leaves in _leaves(tree, values, leaf, right):
        yield Tree(
            feature=np.array(tree["split_indices"], np.int64)[split],
            threshold=values[split],
            # The operator sends members to its true branch, XGBoost to the right.
            left=place[np.where(by_category, right[split], left[split])],
            right=place[np.where(by_category, left[split], right[split])],
            missing_left=default_left != by_category,
            leaf=leaves * weight,
            target=target if column is None else column,
            categories=_members(tree, place),
            leaf_ids=leaf,
        )


def _reached(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the nodes under the root, ascending: pruning leaves nodes behind that nothing leads to."""
    reached, waiting = [], [0]
    while waiting:
        reached.append(node := waiting.pop())
        if left[node] >= 0:
            waiting += [int(right[node]), int(left[node])]
    return np.sort(np.array(reached, np.int64))


def _leaves(
    tree: Mapping[str, Any], values: npt.NDArray[np.float32], leaf: Array, right: Array
) -> Iterator[tuple[int | None, npt.NDArray[np.float32]]]:
    """Yield the column that leaf values are for, None where each tree is for one, and the values of its leaves."""
    size = int(tree["tree_param"]["size_leaf_vector"])
    if size <= 1:
        yield None, values[leaf]
        return
    if "leaf_weights" not in tree:
        raise ConversionError("XGBoost: multi_strategy=multi_output_tree is converted from XGBoost 3.2 on; train anew")
    # A leaf's right child is its place among the vectors.
    vectors = _float32(tree["leaf_weights"]).reshape(-1, size)[right[leaf]]
    for column in range(size):
        yield column, vectors[:, column]


def _members(tree: Mapping[str, Any], place: npt.NDArray[np.int64]) -> dict[int, Sequence[int]]:
    """Return for each split by category the categories that XGBoost sends right."""
    categories = tree["categories"]
    parts = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {int(place[node]): categories[start : start + size] for node, start, size in parts}


def _float32(numbers: Sequence[float]) -> npt.NDArray[np.float32]:
    """Return what XGBoost wrote as the shortest text that names a float32."""
    return np.array([np.float32(number) for number in numbers], np.float32)
