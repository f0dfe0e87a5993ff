"""LightGBM's own text: its trees, and what is done to a feature before they compare it.

A split says how it takes missing values. Where one feature is taken in several ways (a model trained on from another
one), each way is a column of its own: in the graph, features become columns first and trees then compare columns.

Source: https://github.com/microsoft/LightGBM/blob/main/include/LightGBM/tree.h (decision_type, NumericalDecision,
CategoricalDecision, Predict).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .trees import Tree, Trees, members_of

ZERO = float(np.float32(1e-35))
"""Numbers up to this size are zero to LightGBM."""

_CATEGORICAL, _DEFAULT_LEFT = 1, 2


class Kind(IntEnum):
    """How a split takes its feature; the first three are LightGBM's missing types."""

    NAN_IS_ZERO = 0
    ZERO_IS_MISSING = 1
    NAN_IS_MISSING = 2
    CATEGORY = 3


@dataclass(slots=True)
class Columns:
    """The columns that trees compare, found while they are read.

    Attributes:
        places: (feature, kind) -> column; in order.
    """

    places: dict[tuple[int, Kind], int] = field(default_factory=dict)

    def place(self, feature: int, kind: Kind) -> int:
        """Return the column of a feature taken in one way."""
        return self.places.setdefault((feature, kind), len(self.places))

    @property
    def features(self) -> list[int]:
        """The feature of each column."""
        return [feature for feature, _ in self.places]

    def per_feature(self, of_columns: Sequence[Array], n_features: int) -> list[Array]:
        """Return the distinct values of each feature's columns, ascending."""
        parts: list[list[Array]] = [[np.zeros(0)] for _ in range(n_features)]
        for feature, values in zip(self.features, of_columns, strict=True):
            parts[feature].append(values)
        return [np.unique(np.concatenate(values)) for values in parts]

    def append(self, graph: Graph, features: str, n_features: int, *, tiny_matters: bool) -> str:
        """Add from float64 features `(n_rows, n_features)` to columns."""
        seen = features if self.features == list(range(n_features)) else graph.columns(features, self.features)
        zero, nan, is_nan = graph.constant(0.0), graph.constant(np.nan), graph.add("IsNaN", seen)
        if tiny_matters or self._are(Kind.ZERO_IS_MISSING).any():
            tiny = graph.add("LessOrEqual", graph.add("Abs", seen), graph.constant(ZERO))
            seen = graph.add("Where", tiny, zero, seen)
        if (mask := self._are(Kind.NAN_IS_ZERO)).any():
            seen = graph.add("Where", graph.add("And", is_nan, graph.constant(mask)), zero, seen)
        if (mask := self._are(Kind.ZERO_IS_MISSING)).any():
            is_zero = graph.add("Equal", seen, zero)
            seen = graph.add("Where", graph.add("And", is_zero, graph.constant(mask)), nan, seen)
        if (mask := self._are(Kind.CATEGORY)).any():
            # Numbers are cut to whole ones. A missing category passes no split, and neither does -1.
            whole = graph.cast(graph.add("Where", is_nan, graph.constant(-1.0), seen), np.int64)
            seen = graph.add("Where", graph.constant(mask), graph.cast(whole, np.float64), seen)
        return seen

    def _are(self, kind: Kind) -> npt.NDArray[np.bool_]:
        return np.array([[own == kind for _, own in self.places]], np.bool_)


@dataclass(frozen=True, slots=True)
class LinearLeaf:
    """A leaf of a linear tree.

    Attributes:
        constant: what it adds, with
        weights: feature -> factor. Where one of these features is missing,
        fallback: is added instead of both.
    """

    constant: float
    weights: Mapping[int, float]
    fallback: float


def read_trees(blocks: Sequence[str], n_targets: int, columns: Columns) -> tuple[Trees, list[list[LinearLeaf]]]:
    """Read the trees of a model.

    Args:
        blocks: the text of each tree, after its number.
        n_targets: trees of a round.
        columns: gets the columns that they compare.

    Returns:
        The trees, and the leaves of each, empty where no tree is linear.
    """
    facts = [facts_of(block.split("\nend of trees", 1)[0]) for block in blocks]
    trees = [_tree(tree, i % n_targets, columns) for i, tree in enumerate(facts)]
    is_linear = any(tree.get("is_linear", "0") != "0" for tree in facts)
    return Trees(trees, n_targets, "<=", np.float64), [_leaves(tree) for tree in facts] if is_linear else []


def facts_of(block: str) -> dict[str, str]:
    """Return the `key=value` lines; a line without a value maps to an empty string."""
    return dict(line.partition("=")[::2] for line in block.splitlines() if line)


def _tree(facts: Mapping[str, str], target: int, columns: Columns) -> Tree:
    leaf = np.array(facts["leaf_value"].split(), np.float64)
    if len(leaf) == 1:
        empty = np.zeros(0, np.int64)
        return Tree(empty, np.zeros(0), empty, empty, np.zeros(0, np.bool_), leaf, target)
    keys = ("split_feature", "left_child", "right_child", "decision_type")
    feature, left, right, decision = (np.array(facts[key].split(), np.int64) for key in keys)
    threshold = np.array(facts["threshold"].split(), np.float64)
    by_category = (decision & _CATEGORICAL) > 0
    kinds = np.where(by_category, Kind.CATEGORY, decision >> 2)
    return Tree(
        feature=np.array([columns.place(int(f), Kind(k)) for f, k in zip(feature, kinds, strict=True)], np.int64),
        threshold=threshold,
        left=left,
        right=right,
        missing_left=((decision & _DEFAULT_LEFT) > 0) & ~by_category,
        leaf=leaf,
        target=target,
        categories={int(split): _members(facts, int(threshold[split])) for split in np.flatnonzero(by_category)},
    )


def _members(facts: Mapping[str, str], place: int) -> tuple[int, ...]:
    """Return the categories of a split."""
    bounds = [int(bound) for bound in facts["cat_boundaries"].split()]
    return members_of(np.array(facts["cat_threshold"].split(), np.uint32)[bounds[place] : bounds[place + 1]])


def _leaves(facts: Mapping[str, str]) -> list[LinearLeaf]:
    values = [float(value) for value in facts["leaf_value"].split()]
    if facts.get("is_linear", "0") == "0":
        return [LinearLeaf(value, {}, value) for value in values]
    sizes = [int(size) for size in facts["num_features"].split()]
    constants = [float(constant) for constant in facts["leaf_const"].split()]
    features, factors = iter(facts["leaf_features"].split()), iter(facts["leaf_coeff"].split())
    leaves = []
    for value, constant, size in zip(values, constants, sizes, strict=True):
        weights = dict[int, float]()
        for _ in range(size):
            feature = int(next(features))
            if feature in weights:
                raise ConversionError(f"LightGBM: a leaf of a linear tree names feature {feature} twice")
            weights[feature] = float(next(factors))
        leaves.append(LinearLeaf(constant, weights, value))
    return leaves
