"""LightGBM's linear trees: a leaf adds a constant and some features times their weights.

The trees find the leaf of each; its constant, features and weights are then looked up in tables of all leaves. Leaves
with few features are filled up with one that is always zero.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .graph import Graph
from .lightgbm_model import LinearLeaf
from .trees import Trees


def append_linear(graph: Graph, trees: Trees, leaves: Sequence[Sequence[LinearLeaf]], columns: str, raw: str) -> str:
    """Add the sums of linear trees.

    Args:
        graph: to add to.
        trees: the trees.
        leaves: of each tree.
        columns: what the trees compare.
        raw: features `(n_rows, n_features)` float64 as the leaves take them, NaN where missing.

    Returns:
        Value `(n_rows, n_targets)` float64.
    """
    n_trees, every = len(trees.trees), [leaf for of_tree in leaves for leaf in of_tree]
    width = max(1, *(len(leaf.weights) for leaf in every))
    reached = _reached(graph, trees, columns)
    features = np.full((len(every), width), -1, np.int64)
    weights = np.zeros((len(every), width))
    for i, leaf in enumerate(every):
        features[i, : len(leaf.weights)] = list(leaf.weights)
        weights[i, : len(leaf.weights)] = list(leaf.weights.values())

    def looked_up(table: object, dtype: type) -> str:
        return graph.add("Gather", graph.constant(table, dtype), reached)

    # A last column of zeros is what -1 finds.
    padded = graph.add("Pad", raw, graph.constant([0, 0, 0, 1], np.int64))
    flat = graph.add("Reshape", looked_up(features, np.int64), graph.constant([-1, n_trees * width], np.int64))
    shape = graph.constant([-1, n_trees, width], np.int64)
    values = graph.add("Reshape", graph.add("GatherElements", padded, flat, axis=1), shape)
    terms = graph.add("Mul", values, looked_up(weights, np.float64))
    constant = looked_up([[leaf.constant] for leaf in every], np.float64)
    line = _sum_in_order(graph, graph.add("Concat", constant, terms, axis=2), 2)
    is_nan = graph.cast(graph.add("IsNaN", values), np.float32)
    missing = graph.cast(graph.add("ReduceMax", is_nan, axes=[2], keepdims=0), np.bool_)
    added = graph.add("Where", missing, looked_up([leaf.fallback for leaf in every], np.float64), line)
    rounds = graph.constant([-1, n_trees // trees.n_targets, trees.n_targets], np.int64)
    return _sum_in_order(graph, graph.add("Reshape", added, rounds), 1)


def _sum_in_order(graph: Graph, terms: str, axis: int) -> str:
    """Add the sum along an axis, first to last as LightGBM adds: what is left of large terms depends on the order."""
    sums = graph.add("CumSum", terms, graph.constant(axis, np.int64))
    return graph.add("Gather", sums, graph.constant(-1, np.int64), axis=axis)


def _reached(graph: Graph, trees: Trees, columns: str) -> str:
    """Add the number of the leaf that each tree ends in, counted over all trees, `(n_rows, n_trees)` int64."""
    numbering, first = [], 0
    for i, tree in enumerate(trees.trees):
        # Leaf values are numbers of leaves here, and each tree adds to a column of its own.
        numbering.append(replace(tree, leaf=np.arange(first, first + len(tree.leaf), dtype=np.float64), target=i))
        first += len(tree.leaf)
    found = replace(trees, trees=numbering, n_targets=len(numbering)).append(graph, columns)
    return graph.cast(found, np.int64)
