"""XGBoost, read from the model's own JSON: float32 trees with `x < t`, then the objective's link.

Features are cast to float32 first, as XGBoost does. A scikit-learn estimator stops where early stopping did and a
Booster predicts with all its rounds: both as they do themselves.

Source: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from .categories import Named, as_trained, assemble_codes, features_of, named_in, numbers_of
from .graph import Finished, Graph
from .grown import Grown
from .links import Link, append_link
from .locate import locator
from .rows import Rows
from .trained import Trained, Wish, check_fitted, labels_of, scores_of
from .trees import Trees
from .xgboost_model import Weights, read_booster
from .xgboost_names import as_spelled, named_categories
from .xgboost_objective import base_margin, link_of, task_of


@dataclass(frozen=True, slots=True)
class Boosted:
    """What the JSON says.

    Attributes:
        trees: the trees used for a prediction, or the weights of a linear booster.
        base: margin of every target before the first tree, `(n_targets,)`.
        link: from margins to scores.
        task: what the scores are.
        n_features: features of the training data.
        n_targets: margins of a row.
        two_columns: whether the one score of a row, that of the second of two classes, becomes two.
        missing: value that stands for a missing one, beside NaN.
        named: feature -> categories in the order of their codes, where training had their values.
    """

    trees: Trees | Weights
    base: npt.NDArray[np.float32]
    link: Link
    task: Task
    n_features: int
    n_targets: int
    two_columns: bool
    missing: float
    named: Named

    @property
    def n_outputs(self) -> int:
        """Columns of the scores."""
        return 2 if self.two_columns else self.n_targets

    @property
    def dtype(self) -> Any:
        """Type of features."""
        return np.float32

    def thresholds(self) -> Sequence[Array]:
        """Return the thresholds of each feature, ascending."""
        return self.trees.thresholds(self.n_features)

    def categories(self) -> Sequence[Array]:
        """Return the categories that splits of each feature name, ascending."""
        return self.trees.categories(self.n_features)

    def append(self, graph: Graph, features: str) -> str:
        """Add everything from float32 features `(n_rows, n_features)` to scores."""
        seen = self._seen(graph, features)
        if isinstance(self.trees, Weights):
            margin = self.trees.append(graph, seen, self.base)
        else:
            margin = graph.add("Add", self.trees.append(graph, seen), graph.constant(self.base[np.newaxis]))
        return append_link(graph, margin, self.link, two_columns=self.two_columns)

    def _seen(self, graph: Graph, features: str) -> str:
        """Add what XGBoost does to features before it compares them."""
        seen = features
        if not np.isnan(self.missing):
            # Codes of categories are no exception (measured with 3.2): of missing=0 the first one is missing.
            is_missing = graph.add("Equal", features, graph.constant(self.missing, np.float32))
            seen = graph.add("Where", is_missing, graph.constant(np.nan, np.float32), seen)
        categorical = np.array([len(values) > 0 for values in self.categories()])
        if categorical.any():
            # Numbers are cut to whole ones, and one below zero is of no category.
            negative = graph.add("Less", seen, graph.constant(0, np.float32))
            whole = graph.add("Where", negative, graph.constant(-1, np.float32), graph.add("Floor", seen))
            seen = graph.add("Where", graph.constant(categorical[np.newaxis]), whole, seen)
        return seen


def read(model: Any, rows: Rows, wish: Wish) -> Trained:
    """Read a fitted estimator or a Booster.

    Raises:
        ConversionError: what it does is not converted faithfully; the message names it and the way out.
    """
    import xgboost

    check_fitted(model)
    booster = _booster(model)
    boosted = parse(model, wish.task)
    taken = rows.match(booster.feature_names, boosted.n_features)
    named = named_in(taken, as_spelled(boosted.named, taken), "XGBoost")

    def draft() -> Finished:
        graph = Graph()
        features = assemble_codes(graph, taken, named, np.float32)
        return graph.finish(boosted.append(graph, features), boosted.n_outputs)

    def native(arrays: Mapping[str, Array]) -> Array:
        return predict(model, as_trained(taken, named, arrays), boosted.task)

    def leaves(arrays: Mapping[str, Array]) -> Sequence[int]:
        return _leaves(model, as_trained(taken, named, arrays))

    return Trained(
        framework="xgboost",
        version=xgboost.__version__,
        kind=type(model).__name__,
        task=boosted.task,
        classes=labels_of(model, boosted.task),
        n_outputs=boosted.n_outputs,
        native=native,
        rows=taken,
        drafts=(draft,),
        thresholds=numbers_of(taken, boosted.thresholds(), named),
        categories=numbers_of(taken, boosted.categories(), named),
        locate=locator(boosted.trees, leaves, taken) if isinstance(boosted.trees, Trees) else None,
        trees=(Grown(boosted.trees, features_of(taken, named)),) if isinstance(boosted.trees, Trees) else (),
    )


def parse(model: Any, task: Task | None = None) -> Boosted:
    """Return what a fitted estimator's or Booster's prediction is made of.

    Args:
        model: estimator or Booster.
        task: what the caller takes the scores for, None to go by the model.

    Raises:
        ConversionError: what it does is not converted faithfully; the message names it and the way out.
    """
    learner = json.loads(bytes(_booster(model).save_raw("json")))["learner"]
    parameters, objective = learner["learner_model_param"], learner["objective"]["name"]
    n_targets = max(1, int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    n_features = int(parameters["num_feature"])
    link = link_of(model, objective)
    resolved = task_of(model, objective, n_targets, task)
    missing = getattr(model, "missing", None)
    return Boosted(
        trees=read_booster(learner["gradient_booster"], _rounds(model, learner), n_features, n_targets),
        base=base_margin(parameters["base_score"], objective, n_targets),
        link=link,
        task=resolved,
        n_features=n_features,
        n_targets=n_targets,
        two_columns=n_targets == 1 and (resolved == "classification" or hasattr(model, "predict_proba")),
        missing=np.nan if missing is None else float(missing),
        named=named_categories(learner),
    )


def predict(model: Any, table: Any, task: Task) -> Array:
    """Return the model's own scores for an array or a DataFrame."""
    if hasattr(model, "predict_proba"):
        return scores_of(model.predict_proba(table), task)
    if hasattr(model, "get_booster"):
        return scores_of(model.predict(table), task)
    import xgboost

    return scores_of(model.predict(xgboost.DMatrix(table, enable_categorical=True)), task)


def _booster(model: Any) -> Any:
    return model.get_booster() if hasattr(model, "get_booster") else model


def _rounds(model: Any, learner: Mapping[str, Any]) -> int:
    """Return how many boosting rounds a prediction uses; -1 is all."""
    best = learner["attributes"].get("best_iteration")
    return -1 if best is None or not hasattr(model, "get_booster") else int(best) + 1


def _leaves(model: Any, table: Any) -> Sequence[int]:
    """Return for the first row of a table the node that each tree ends in, as XGBoost numbers them."""
    if hasattr(model, "apply"):
        return [int(node) for node in np.ravel(model.apply(table)[0])]
    import xgboost

    answer = model.predict(xgboost.DMatrix(table, enable_categorical=True), pred_leaf=True)
    return [int(node) for node in np.ravel(answer[0])]
