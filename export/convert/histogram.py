"""scikit-learn's histogram gradient boosting: float64 trees with `x <= t`, then the link of its loss.

skl2onnx rounds the thresholds to float32, so that values next to one go the other way.

Source: sklearn/ensemble/_hist_gradient_boosting (the fields of a predictor's nodes).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .trees import Tree, Trees, numbered

_LINKS = {"IdentityLink": "identity", "LogLink": "exp", "LogitLink": "sigmoid", "MultinomialLogit": "softmax"}


@dataclass(frozen=True, slots=True)
class Boosted:
    """What a fitted estimator holds.

    Attributes:
        trees: all trees.
        base: raw scores before the first tree, `(1, n_targets)` float64.
        link: from raw scores to scores.
        n_features: features of the training data.
    """

    trees: Trees
    base: Array
    link: str
    n_features: int

    def append(self, graph: Graph, features: str) -> str:
        """Add everything from float64 features `(n_rows, n_features)` to scores."""
        raw = graph.add("Add", self.trees.append(graph, features), graph.constant(self.base, np.float64))
        match self.link:
            case "softmax":
                return graph.add("Softmax", raw, axis=1)
            case "sigmoid":
                return graph.two_columns(graph.cast(graph.add("Sigmoid", raw), np.float32))
            case "exp":
                return graph.add("Exp", raw)
            case _:
                return raw


def parse(model: Any) -> Boosted:
    """Read a fitted HistGradientBoostingClassifier or HistGradientBoostingRegressor.

    Raises:
        ConversionError: it splits by category, or has a loss that is not converted.
    """
    if model._preprocessor is not None or model.is_categorical_ is not None:
        raise ConversionError(
            "HistGradientBoosting: categorical_features is not converted; encode them before it (OneHotEncoder, "
            "TargetEncoder) and train with categorical_features=None"
        )
    link = type(model._loss.link).__name__
    if link not in _LINKS:
        raise ConversionError(f"HistGradientBoosting: a loss with {link} is not converted; train with another loss")
    base = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)
    trees = [_tree(predictor.nodes, target) for step in model._predictors for target, predictor in enumerate(step)]
    return Boosted(Trees(trees, base.shape[1], "<=", np.float64), base, _LINKS[link], int(model.n_features_in_))


def _tree(nodes: Array, target: int) -> Tree:
    is_leaf = nodes["is_leaf"].astype(np.bool_)
    split, place = ~is_leaf, numbered(is_leaf)
    return Tree(
        feature=nodes["feature_idx"][split].astype(np.int64),
        threshold=nodes["num_threshold"][split].astype(np.float64),
        left=place[nodes["left"][split]],
        right=place[nodes["right"][split]],
        missing_left=nodes["missing_go_to_left"][split].astype(np.bool_),
        leaf=nodes["value"][is_leaf].astype(np.float64),
        target=target,
    )
