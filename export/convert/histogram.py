"""scikit-learn's histogram gradient boosting: float64 trees with `x <= t`, then the link of its loss.

They compare what the estimator's own encoder hands on: codes of categories first, NaN for one that it does not know,
then all other columns. skl2onnx rounds the thresholds to float32, so that values next to one go the other way, and
takes categories for numbers.

Source: sklearn/ensemble/_hist_gradient_boosting (the fields of a predictor's nodes, _predictor.pyx).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .links import Link, append_link
from .locate import locator
from .rows import Rows
from .trees import Tree, Trees, members_of, numbered

_LINKS: Mapping[str, Link] = {
    "IdentityLink": "identity",
    "LogLink": "exp",
    "LogitLink": "sigmoid",
    "MultinomialLogit": "softmax",
}


@dataclass(frozen=True, slots=True)
class Boosted:
    """What a fitted estimator holds.

    Attributes:
        trees: all trees; they compare the encoder's columns.
        order: the feature that each of those columns is made of.
        base: raw scores before the first tree, `(1, n_targets)` float64.
        link: from raw scores to scores.
        two_columns: whether the one score of a row, that of the second of two classes, becomes two.
    """

    trees: Trees
    order: Sequence[int]
    base: Array
    link: Link
    two_columns: bool

    def thresholds(self) -> Sequence[Array]:
        """Return the thresholds of each of the encoder's columns, ascending."""
        return self.trees.thresholds(len(self.order))

    def categories(self) -> Sequence[Array]:
        """Return the codes that splits of each of the encoder's columns name, ascending."""
        return self.trees.categories(len(self.order))

    def append(self, graph: Graph, columns: str) -> str:
        """Add everything from the encoder's float64 columns `(n_rows, n_features)` to scores."""
        raw = graph.add("Add", self.trees.append(graph, columns), graph.constant(self.base, np.float64))
        return append_link(graph, raw, self.link, two_columns=self.two_columns)


def parse(model: Any, _: Task | None = None) -> Boosted:
    """Return what a fitted HistGradientBoostingClassifier or HistGradientBoostingRegressor predicts with.

    Raises:
        ConversionError: it has a loss that is not converted.
    """
    link = type(model._loss.link).__name__
    if link not in _LINKS:
        raise ConversionError(f"HistGradientBoosting: a loss with {link} is not converted; train with another loss")
    base = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)
    trees = [_tree(predictor, target) for step in model._predictors for target, predictor in enumerate(step)]
    return Boosted(
        trees=Trees(trees, base.shape[1], "<=", np.float64),
        order=_order(model),
        base=base,
        link=_LINKS[link],
        two_columns=_LINKS[link] == "sigmoid",
    )


def locate_in(model: Any, rows: Rows) -> Callable[[Mapping[str, Array], bytes], str | None]:
    """Return the function that finds where a graph and an estimator part; see `Trained.locate`.

    Args:
        model: the estimator.
        rows: the columns that it takes itself, not those of a pipeline around it.
    """
    boosted = parse(model)

    def leaves(row: Mapping[str, Array]) -> list[int]:
        """Return the leaf of each tree, known by its value; -1 where two leaves have the same."""
        columns = model._preprocess_X(rows.table(row), reset=False)
        known, places = model._bin_mapper.make_known_categories_bitsets()
        predictors = [predictor for step in model._predictors for predictor in step]
        answers = [predictor.predict(columns, known, places, 1)[0] for predictor in predictors]
        found = [np.flatnonzero(tree.leaf == value) for tree, value in zip(boosted.trees.trees, answers, strict=True)]
        return [int(leaf[0]) if len(leaf) == 1 else -1 for leaf in found]

    return locator(boosted.trees, leaves, rows, boosted.order)


def _order(model: Any) -> list[int]:
    by_category = model.is_categorical_
    if by_category is None:
        return list(range(int(model.n_features_in_)))
    return [*np.flatnonzero(by_category).tolist(), *np.flatnonzero(~by_category).tolist()]


def _tree(predictor: Any, target: int) -> Tree:
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    split, place = ~is_leaf, numbered(is_leaf)
    by_category = np.flatnonzero(nodes["is_categorical"][split])
    sets = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][split][by_category]]
    return Tree(
        feature=nodes["feature_idx"][split].astype(np.int64),
        threshold=nodes["num_threshold"][split].astype(np.float64),
        left=place[nodes["left"][split]],
        right=place[nodes["right"][split]],
        missing_left=nodes["missing_go_to_left"][split].astype(np.bool_),
        leaf=nodes["value"][is_leaf].astype(np.float64),
        target=target,
        categories={int(i): members_of(words) for i, words in zip(by_category, sets, strict=True)},
    )
