"""Tree ensembles of ai.onnx.ml 1 to 4 as the `TreeEnsemble` of version 5, which no longer has the older operators.

Needed where a forest that skl2onnx wrote shares a file with trees written here. A leaf of the old operators may hold a
value for each class; one of the new operator holds a single number. Where leaves hold several, every tree answers with
the number of its leaf instead, and a table holds the leaves' values.

Source: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsembleClassifier.html and the same page of TreeEnsemble.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import walk
from .trees import ML_DOMAIN

TREE_ENSEMBLES = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor"})

_MODES = {b"BRANCH_LEQ": 0, b"BRANCH_LT": 1, b"BRANCH_GTE": 2, b"BRANCH_GT": 3, b"BRANCH_EQ": 4, b"BRANCH_NEQ": 5}
_TRANSFORMS = {b"NONE": None, b"SOFTMAX": "Softmax", b"LOGISTIC": "Sigmoid"}
_SUM = 1
_MOST_LEAVES = 1 << 24  # float32 counts no further

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Forest:
    """The nodes of an old operator.

    Attributes:
        splits: `TreeEnsemble`'s attributes of splits, roots included.
        tree: number of each leaf's tree.
        values: what each leaf adds to each target, `(n_leaves, n_targets)`.
        is_single: whether every leaf adds to at most one target.
    """

    splits: Mapping[str, Any]
    tree: Ints
    values: Array
    is_single: bool


class _Builder:
    """What replaces one node: nodes and constants whose names start with its output's."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._prefix = prefix

    def constant(self, value: Any, dtype: Any) -> str:
        name = f"{self._prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        name = output or f"{self._prefix}/value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name


def upgrade_trees(model: ModelProto) -> ModelProto:
    """Return the model, of opset 13 or later, with every `TreeEnsembleClassifier` and `-Regressor` rewritten.

    Raises:
        ConversionError: one is used in a way that the new operator has not; names the attribute.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*inferred.input, *inferred.value_info)}
    read = {name for node in walk(model.graph.node) for name in node.input}
    read |= {value.name for value in model.graph.output}
    out = ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    for node in model.graph.node:
        if node.domain == ML_DOMAIN and node.op_type in TREE_ENSEMBLES:
            if node.op_type == "TreeEnsembleClassifier" and node.output[0] in read:
                raise _refusal(node, "the label that it answers is used further on")
            built = _upgraded(node, kinds.get(node.input[0], TensorProto.UNDEFINED))
            out.graph.node.extend(built.nodes)
            out.graph.initializer.extend(built.constants)
        else:
            out.graph.node.append(node)
    return out


def _upgraded(node: NodeProto, kind: int) -> _Builder:
    """Return what replaces a node whose input is of the element type `kind`."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    is_classifier = node.op_type == "TreeEnsembleClassifier"
    side = "class" if is_classifier else "target"
    targets = np.asarray(attributes[f"{side}_ids"], np.int64)
    n_targets = _n_classes(attributes) if is_classifier else attributes.get("n_targets", 1)
    is_one_of_two = is_classifier and n_targets == 2 and len(np.unique(targets)) == 1
    if is_one_of_two:
        targets, n_targets = np.zeros_like(targets), 1
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    forest = _forest(node, attributes, side, (targets, n_targets), dtype)
    build = _Builder(node.output[-1])
    features = node.input[0]
    if kind not in {TensorProto.DOUBLE, TensorProto.FLOAT}:
        features = build.add("Cast", features, to=TensorProto.FLOAT)
    total = _total(build, node, attributes, forest, features)
    scores = _transformed(build, node, attributes, total, forest, is_one_of_two=is_one_of_two)
    build.add("Cast", scores, to=TensorProto.FLOAT, output=node.output[-1])
    return build


def _forest(node: NodeProto, attributes: Mapping[str, Any], side: str, target: tuple[Ints, int], dtype: Any) -> _Forest:
    tree = np.asarray(attributes["nodes_treeids"], np.int64)
    # One number for a node of any tree, to look children and leaves up.
    width = 1 + max(attributes["nodes_nodeids"])
    key = tree * width + attributes["nodes_nodeids"]
    order = np.argsort(key)

    def place(trees: Ints, ids: Any) -> Ints:
        return np.asarray(order[np.searchsorted(key[order], trees * width + np.asarray(ids, np.int64))])

    modes = attributes["nodes_modes"]
    is_leaf = np.array([mode == b"LEAF" for mode in modes])
    if unknown := set(modes) - _MODES.keys() - {b"LEAF"}:
        raise _refusal(node, f"nodes_modes {sorted(unknown)[0].decode()}")
    number = np.where(is_leaf, np.cumsum(is_leaf), np.cumsum(~is_leaf)) - 1
    split_tree = tree[~is_leaf]
    true, false = (
        place(split_tree, np.asarray(attributes[f"nodes_{way}nodeids"])[~is_leaf]) for way in ("true", "false")
    )
    roots = np.flatnonzero(~np.isin(np.arange(len(tree)), np.concatenate([true, false])))
    if is_leaf[roots].any():
        raise _refusal(node, "a tree without any split")
    ids, n_targets = target
    owner = number[place(np.asarray(attributes[f"{side}_treeids"], np.int64), attributes[f"{side}_nodeids"])]
    values = np.zeros((int(is_leaf.sum()), n_targets), dtype)
    np.add.at(values, (owner, ids), _numbers(attributes, f"{side}_weights", dtype))
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true") or np.zeros(len(tree)), np.int64)
    return _Forest(
        splits={
            "tree_roots": number[roots].tolist(),
            "nodes_featureids": np.asarray(attributes["nodes_featureids"])[~is_leaf].tolist(),
            "nodes_splits": _tensor(_numbers(attributes, "nodes_values", dtype)[~is_leaf]),
            "nodes_modes": _tensor(np.array([_MODES[mode] for mode in modes if mode != b"LEAF"], np.uint8)),
            "nodes_truenodeids": number[true].tolist(),
            "nodes_falsenodeids": number[false].tolist(),
            "nodes_trueleafs": is_leaf[true].astype(int).tolist(),
            "nodes_falseleafs": is_leaf[false].astype(int).tolist(),
            "nodes_missing_value_tracks_true": missing[~is_leaf].tolist(),
        },
        tree=np.searchsorted(np.unique(tree), tree[is_leaf]),
        values=values,
        is_single=len(np.unique(owner)) == len(owner),
    )


def _total(build: _Builder, node: NodeProto, attributes: Mapping[str, Any], forest: _Forest, features: str) -> str:
    """Add the trees and return the sum or mean over them with the base values, `(n_rows, n_targets)`."""
    n_trees = len(forest.splits["tree_roots"])
    dtype = forest.values.dtype
    n_leaves, n_targets = forest.values.shape
    if forest.is_single:
        targets = np.abs(forest.values).argmax(axis=1)
        weights = forest.values[np.arange(n_leaves), targets]
        total = _trees(build, forest, features, targets=targets, weights=weights, n_targets=n_targets)
    else:
        if n_leaves > _MOST_LEAVES:
            raise _refusal(node, f"{n_leaves} leaves that hold several values each, of {_MOST_LEAVES} at most")
        numbers = np.arange(n_leaves)
        leaf = _trees(build, forest, features, targets=forest.tree, weights=numbers, n_targets=n_trees)
        table = build.constant(forest.values, dtype)
        values = build.add("Gather", table, build.add("Cast", leaf, to=TensorProto.INT64), axis=0)
        total = build.add("ReduceSum", values, build.constant([1], np.int64), keepdims=0)
    match attributes.get("aggregate_function", b"SUM"):
        case b"SUM":
            pass
        case b"AVERAGE":
            total = build.add("Div", total, build.constant(n_trees, dtype))
        case other:
            raise _refusal(node, f"aggregate_function {other.decode()}")
    base = _numbers(attributes, "base_values", dtype)
    if len(base) not in {0, n_targets}:
        raise _refusal(node, f"{len(base)} base_values for {n_targets} targets")
    return build.add("Add", total, build.constant(base, dtype)) if len(base) else total


def _trees(build: _Builder, forest: _Forest, features: str, *, targets: Ints, weights: Array, n_targets: int) -> str:
    return build.add(
        "TreeEnsemble",
        features,
        domain=ML_DOMAIN,
        aggregate_function=_SUM,
        post_transform=0,
        n_targets=n_targets,
        leaf_targetids=targets.tolist(),
        leaf_weights=_tensor(weights.astype(forest.values.dtype)),
        **forest.splits,
    )


def _transformed(
    build: _Builder,
    node: NodeProto,
    attributes: Mapping[str, Any],
    total: str,
    forest: _Forest,
    *,
    is_one_of_two: bool,
) -> str:
    kind = attributes.get("post_transform", b"NONE")
    if kind not in _TRANSFORMS or (is_one_of_two and kind == b"SOFTMAX"):
        raise _refusal(node, f"post_transform {kind.decode()}")
    if is_one_of_two:
        # As onnxruntime does it: one column of positive values is a probability already, another one a margin.
        is_probability = bool((forest.values >= 0).all())
        first = build.add("Sub", build.constant(1, forest.values.dtype), total) if is_probability else None
        total = build.add("Concat", first or build.add("Neg", total), total, axis=1)
        if is_probability:
            return total
    operator = _TRANSFORMS[kind]
    return total if operator is None else build.add(operator, total)


def _n_classes(attributes: Mapping[str, Any]) -> int:
    return len(attributes.get("classlabels_int64s") or attributes["classlabels_strings"])


def _numbers(attributes: Mapping[str, Any], name: str, dtype: Any) -> Array:
    """Return an attribute given as floats or as a tensor; empty where there is none."""
    if (tensor := attributes.get(f"{name}_as_tensor")) is not None:
        return numpy_helper.to_array(tensor).astype(dtype)
    return np.asarray(attributes.get(name, ()), dtype)


def _tensor(values: Array) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values))


def _refusal(node: NodeProto, what: str) -> ConversionError:
    return ConversionError(
        f"a {node.op_type} cannot be written for ai.onnx.ml 5: {what}. Keep it apart from trees of LightGBM, XGBoost "
        f"and HistGradientBoosting, which need that version"
    )
