"""Where a graph of trees and the model that it was written from part: asked for one row, after the gate has refused.

The row runs through the graph up to its trees; from there on the operator's attributes are walked in numpy, in their
own type and modes, beside the path that the library itself took.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from ...serving.contract.tensors import Array
from ...serving.engine.runtime import ort
from .rows import Rows
from .trees import Tree, Trees

Leaves = Callable[[Mapping[str, Array]], Sequence[int]]
"""One row to the leaf that the library itself reaches in each tree, as `Tree.leaf_ids` names them."""

_MODES: Mapping[int, str] = {0: "<=", 1: "<", 6: "in"}


def locator(
    trees: Trees,
    leaves: Leaves,
    rows: Rows,
    features: Sequence[int] | None = None,
    *,
    sums_leaves: bool = True,
) -> Callable[[Mapping[str, Array], bytes], str | None]:
    """Return the function that finds where one row's answers part; see `Trained.locate`.

    Args:
        trees: the model's trees, as they were written.
        leaves: asks the library.
        rows: the columns that the model takes.
        features: column of `rows` that each feature of the trees is made of; by default they are the same.
        sums_leaves: whether the operator adds up the values of leaves; else it only finds the leaves.
    """
    names = [column.name or str(column.index) for column in rows.columns]

    def locate(row: Mapping[str, Array], graph: bytes) -> str | None:
        try:
            operator = _Operator.of(onnx.load_from_string(graph), row)
            reached = leaves(row)
        except Exception:  # a graph too broken to be run, or a library that does not tell: the gate has its own words
            return None
        if operator is None or len(operator.roots) != len(trees.trees):
            return None
        first = 0
        for number, (tree, leaf_id) in enumerate(zip(trees.trees, reached, strict=False)):
            leaf = _number_of(tree, leaf_id)
            feature_names = names if features is None else [names[i] for i in features]
            if leaf is not None and (found := operator.parting(number, tree, leaf, feature_names)):
                return found
            if sums_leaves and leaf is not None and (found := operator.other_value(number, tree, leaf, first)):
                return found
            first += len(tree.leaf)
        return None

    return locate


@dataclass(frozen=True, slots=True)
class _Operator:
    """The attributes of the `TreeEnsemble` of a graph, and one row of its features `(n_features,)`."""

    attributes: Mapping[str, Array]
    members: Mapping[int, Array]
    features: Array

    @classmethod
    def of(cls, model: onnx.ModelProto, row: Mapping[str, Array]) -> "_Operator | None":
        nodes = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
        if len(nodes) != 1:
            return None
        attributes = {attribute.name: _value(attribute) for attribute in nodes[0].attribute}
        by_category = np.flatnonzero(attributes["nodes_modes"] == 6)
        sets = np.split(values := attributes.get("membership_values", np.zeros(0)), np.flatnonzero(np.isnan(values)))
        members = {int(node): members[~np.isnan(members)] for node, members in zip(by_category, sets, strict=False)}
        return cls(attributes, members, _run_to(model, nodes[0].input[0], row)[0])

    @property
    def roots(self) -> Array:
        return self.attributes["tree_roots"]

    def parting(self, number: int, tree: Tree, leaf: int, names: Sequence[str]) -> str | None:
        """Return in words where the walk leaves the library's own path to a leaf."""
        root = int(self.roots[number])
        for split, left in _path(tree, leaf):
            node = root + split
            if self._passes(node) != left:
                feature = int(self.attributes["nodes_featureids"][node])
                value = self.features[feature]
                return (
                    f"tree {number}, split {split} (feature {names[feature]!r} {self._condition(node)}): of "
                    f"{value:.17g} the graph says {'yes' if not left else 'no'}, the model {'yes' if left else 'no'}"
                )
        return None

    def other_value(self, number: int, tree: Tree, leaf: int, first_leaf: int) -> str | None:
        """Return in words what a leaf holds here, if it is another value than in the library."""
        held, expected = self.attributes["leaf_weights"][first_leaf + leaf], tree.leaf[leaf]
        if held != np.asarray(expected, held.dtype):
            return f"tree {number}, leaf {leaf}: the graph adds {held:.9g}, the model {expected:.9g}"
        return None

    def _passes(self, node: int) -> bool:
        value = self.features[self.attributes["nodes_featureids"][node]]
        if np.isnan(value):
            return bool(self.attributes["nodes_missing_value_tracks_true"][node])
        mode = _MODES[int(self.attributes["nodes_modes"][node])]
        if mode == "in":
            return bool(np.isin(value, self.members[node]))
        bound = self.attributes["nodes_splits"][node]
        return bool(value < bound if mode == "<" else value <= bound)

    def _condition(self, node: int) -> str:
        mode = _MODES[int(self.attributes["nodes_modes"][node])]
        if mode != "in":
            return f"{mode} {self.attributes['nodes_splits'][node]:.17g}"
        members = [int(member) for member in self.members[node]]
        return f"in {members[:8]}{' and more' if len(members) > 8 else ''}"


def _path(tree: Tree, leaf: int) -> list[tuple[int, bool]]:
    """Return the splits from the root to a leaf, each with whether the path goes left there."""
    if not len(tree.feature):
        return []
    place, path = -1 - leaf, list[tuple[int, bool]]()
    while True:
        left = np.flatnonzero(tree.left == place)
        split = int(left[0]) if len(left) else int(np.flatnonzero(tree.right == place)[0])
        path.append((split, bool(len(left))))
        if split == 0:
            return path[::-1]
        place = split


def _number_of(tree: Tree, leaf_id: int) -> int | None:
    if not len(tree.leaf_ids):
        return leaf_id if 0 <= leaf_id < len(tree.leaf) else None
    found = np.flatnonzero(tree.leaf_ids == leaf_id)
    return int(found[0]) if len(found) else None


def _value(attribute: onnx.AttributeProto) -> Array:
    value: Any = helper.get_attribute_value(attribute)
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def _run_to(model: onnx.ModelProto, value: str, row: Mapping[str, Array]) -> npt.NDArray[Any]:
    """Return a value inside a graph for some rows."""
    if value in {given.name for given in model.graph.input}:
        return np.asarray(row[value])
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.output.append(onnx.ValueInfoProto(name=value))
    session = ort.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    taken = {node.name: row[node.name] for node in session.get_inputs()}
    return np.asarray(session.run([value], taken)[0])
