"""Decision trees, whoever grew them, as one ONNX `TreeEnsemble` node (ai.onnx.ml opset 5).

Trees are copied split by split with the type in which the native library compares, so that a value exactly at a
threshold goes the same way: float32 with `x < t` for XGBoost, float64 with `x <= t` for LightGBM.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import numpy_helper

from ...serving.contract.tensors import Array
from .graph import Graph

ML_DOMAIN = "ai.onnx.ml"
_ML_OPSET = 5
_MODES = {"<=": 0, "<": 1}
_MEMBER = 6
_SUM = 1


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree; a tree without splits has empty arrays and a single leaf.

    Attributes:
        feature: column that each split compares, `(n_splits,)`.
        threshold: its bound, in the type of comparison, `(n_splits,)`; ignored for a categorical split.
        left: where rows go that pass: a split, or `-1 - leaf`. Split 0 is the root.
        right: where all others go.
        missing_left: whether NaN goes left.
        leaf: values of the leaves, `(n_leaves,)`.
        target: output column that the leaf values are added to.
        categories: categorical split -> values that go left. Its feature must hold whole numbers only: onnxruntime
            cuts others to one before it looks them up (measured: 7.5 is found where 7 is a member).
        leaf_ids: the library's own number of each leaf, `(n_leaves,)`; empty where it counts them as we do.
    """

    feature: npt.NDArray[np.int64]
    threshold: Array
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    missing_left: npt.NDArray[np.bool_]
    leaf: Array
    target: int = 0
    categories: Mapping[int, Sequence[int]] = field(default_factory=dict)
    leaf_ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Trees:
    """Trees whose leaf values are summed.

    Attributes:
        trees: at least one.
        n_targets: columns of the sum.
        mode: whether a row at the threshold passes.
        dtype: float32 or float64, the type of features, thresholds and leaf values.
    """

    trees: Sequence[Tree]
    n_targets: int
    mode: Literal["<", "<="]
    dtype: Any

    def thresholds(self, n_features: int) -> tuple[Array, ...]:
        """Return the distinct thresholds of each feature, ascending, in the type of comparison."""
        feature = np.concatenate([tree.feature for tree in self.trees])
        numeric = np.concatenate([~np.isin(np.arange(len(t.feature)), list(t.categories)) for t in self.trees])
        threshold = np.concatenate([tree.threshold for tree in self.trees]).astype(self.dtype)
        return tuple(np.unique(threshold[numeric & (feature == i)]) for i in range(n_features))

    def categories(self, n_features: int) -> tuple[Array, ...]:
        """Return the distinct categories that the splits of each feature name, ascending."""
        known: list[set[int]] = [set() for _ in range(n_features)]
        for tree in self.trees:
            for split, members in tree.categories.items():
                known[tree.feature[split]].update(members)
        return tuple(np.array(sorted(values), self.dtype) for values in known)

    def append(self, graph: Graph, features: str) -> str:
        """Add the node: from features `(n_rows, n_features)` of the trees' dtype to sums `(n_rows, n_targets)`."""
        graph.opset[ML_DOMAIN] = max(_ML_OPSET, graph.opset.get(ML_DOMAIN, 0))
        return graph.add(
            "TreeEnsemble",
            features,
            domain=ML_DOMAIN,
            aggregate_function=_SUM,
            post_transform=0,
            n_targets=self.n_targets,
            **self._attributes(),
        )

    def _attributes(self) -> dict[str, Any]:
        """Return the node's flat arrays, all trees one after the other."""
        first_node = np.cumsum([0, *(max(1, len(tree.feature)) for tree in self.trees)])
        first_leaf = np.cumsum([0, *(len(tree.leaf) for tree in self.trees)])
        flat = [_as_written(tree) for tree in self.trees]
        attributes: dict[str, Any] = {"tree_roots": first_node[:-1].tolist()}
        for side in ("left", "right"):
            name = "true" if side == "left" else "false"
            child = [getattr(tree, side) for tree in flat]
            attributes[f"nodes_{name}leafs"] = (np.concatenate(child) < 0).astype(int).tolist()
            attributes[f"nodes_{name}nodeids"] = np.concatenate(
                [
                    np.where(c < 0, -1 - c + leaf, c + node)
                    for c, leaf, node in zip(child, first_leaf, first_node, strict=False)
                ]
            ).tolist()
        modes = np.full(first_node[-1], _MODES[self.mode], np.uint8)
        categorical = [node + split for tree, node in zip(flat, first_node, strict=False) for split in tree.categories]
        modes[np.array(categorical, np.int64)] = _MEMBER
        return (
            attributes
            | {
                "nodes_featureids": np.concatenate([tree.feature for tree in flat]).tolist(),
                "nodes_splits": self._tensor(np.concatenate([tree.threshold for tree in flat])),
                "nodes_modes": numpy_helper.from_array(modes),
                "nodes_missing_value_tracks_true": np.concatenate([t.missing_left for t in flat]).astype(int).tolist(),
                "leaf_targetids": np.repeat([t.target for t in self.trees], [len(t.leaf) for t in self.trees]).tolist(),
                "leaf_weights": self._tensor(np.concatenate([tree.leaf for tree in self.trees])),
            }
            | self._members(flat)
        )

    def _members(self, flat: Sequence[Tree]) -> dict[str, Any]:
        """Return the sets of the categorical splits in node order, each closed by NaN."""
        sets = [(*t.categories[split], np.nan) for t in flat for split in sorted(t.categories)]
        return {"membership_values": self._tensor(np.concatenate(sets))} if sets else {}

    def _tensor(self, values: Array) -> Any:
        return numpy_helper.from_array(np.ascontiguousarray(values, self.dtype))


def numbered(is_leaf: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return for nodes of one list, splits and leaves mixed, what `Tree.left` and `Tree.right` call them."""
    leaves, splits = np.cumsum(is_leaf, dtype=np.int64), np.cumsum(~is_leaf, dtype=np.int64)
    return np.where(is_leaf, -leaves, splits - 1)


def members_of(words: Array) -> tuple[int, ...]:
    """Return the numbers of a set that is kept as bits of 32-bit words, lowest first."""
    bits = np.unpackbits(np.asarray(words, "<u4").view(np.uint8), bitorder="little")
    return tuple(np.flatnonzero(bits).tolist())


def _as_written(tree: Tree) -> Tree:
    """Return a tree in a form that the operator has: no bare leaf, no empty set.

    A tree without splits becomes one whose sides both end in its only leaf. A split by no category, which libraries do
    grow, compares with minus infinity, which no code is.
    """
    if not len(tree.feature):
        leaf, zero = np.array([-1]), np.array([0])
        return Tree(zero, zero, leaf, leaf, np.array([False]), tree.leaf, tree.target)
    if not (empty := [split for split, members in tree.categories.items() if not len(members)]):
        return tree
    threshold = tree.threshold.copy()
    threshold[empty] = -np.inf
    kept = {split: members for split, members in tree.categories.items() if len(members)}
    return replace(tree, threshold=threshold, categories=kept)
