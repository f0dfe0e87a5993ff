"""LightGBM, read from the model's own text: float64 trees with `x <= t`, then the objective's link.

What LightGBM does to a value before it compares is done in the graph: numbers within 1e-35 of zero become zero (where
a threshold lies there, else nobody could tell), NaN or zero become what training took them for, and categories are cut
to whole numbers. Predictions stop where early stopping did, as they do in LightGBM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from .categories import Named, as_trained, assemble_codes, features_of, named_in, numbers_of
from .graph import Finished, Graph
from .grown import Grown
from .lightgbm_linear import append_linear
from .lightgbm_model import ZERO, Columns, LinearLeaf, facts_of, read_trees
from .lightgbm_objective import link_of, task_of
from .links import Link, append_link
from .locate import locator
from .rows import Rows
from .trained import Trained, Wish, check_fitted, labels_of, scores_of
from .trees import Trees

_LARGE = 1e300
"""LightGBM parts all numbers from missing ones at the largest float64; a linear leaf overflows there."""


@dataclass(frozen=True, slots=True)
class Boosted:
    """What the text says.

    Attributes:
        trees: the trees used for a prediction; they compare columns.
        columns: what these are made of.
        linear: leaves of each tree, empty where leaves are constant.
        link: from raw scores to scores.
        steepness: factor inside the sigmoid.
        rounds: rounds to average over, 1 for a sum.
        task: what the scores are.
        n_features: features of the training data.
        two_columns: whether the one score of a row, that of the second of two classes, becomes two.
    """

    trees: Trees
    columns: Columns
    linear: Sequence[Sequence[LinearLeaf]]
    link: Link
    steepness: float
    rounds: int
    task: Task
    n_features: int
    two_columns: bool

    @property
    def n_outputs(self) -> int:
        """Columns of the scores."""
        return 2 if self.two_columns else self.trees.n_targets

    @property
    def dtype(self) -> Any:
        """Type of features."""
        return np.float64

    def thresholds(self) -> list[Array]:
        """Return the thresholds of each feature, ascending; of linear trees only those that a leaf can multiply."""
        found = self.columns.per_feature(self.trees.thresholds(len(self.columns.places)), self.n_features)
        return [values[np.abs(values) < _LARGE] for values in found] if self.linear else found

    def categories(self) -> list[Array]:
        """Return the categories that splits of each feature name, ascending."""
        return self.columns.per_feature(self.trees.categories(len(self.columns.places)), self.n_features)

    def append(self, graph: Graph, features: str) -> str:
        """Add everything from float64 features `(n_rows, n_features)` to scores."""
        seen = self._seen(graph, features)
        if self.linear:
            raw = append_linear(graph, self.trees, self.linear, seen, features)
        else:
            raw = self.trees.append(graph, seen)
        if self.rounds > 1:
            raw = graph.add("Div", raw, graph.constant(self.rounds, np.float64))
        if self.link == "sigmoid" and self.steepness != 1:
            raw = graph.add("Mul", raw, graph.constant(self.steepness, np.float64))
        return append_link(graph, raw, self.link, two_columns=self.two_columns)

    def _seen(self, graph: Graph, features: str) -> str:
        if not self.columns.places:  # no tree splits
            return features
        tiny_matters = any(((tree.threshold >= -ZERO) & (tree.threshold < ZERO)).any() for tree in self.trees.trees)
        return self.columns.append(graph, features, self.n_features, tiny_matters=tiny_matters)


def read(model: Any, rows: Rows, wish: Wish) -> Trained:
    """Read a fitted estimator or a Booster.

    Raises:
        ConversionError: what it does is not converted faithfully; the message names it and the way out.
    """
    import lightgbm

    check_fitted(model)
    booster = _booster(model)
    boosted = parse(model, wish.task)
    taken = rows.match(_names(booster, rows), boosted.n_features)
    named = named_in(taken, _known_categories(booster, taken), "LightGBM")
    # An array that is not of floats goes through float32 in LightGBM; a DataFrame's integers do not.
    is_float = all(spec.datatype.is_float for spec in taken.specs.values())
    steps = (np.float64,) if taken.named or is_float else (np.float32, np.float64)

    def draft() -> Finished:
        graph = Graph()
        return graph.finish(boosted.append(graph, assemble_codes(graph, taken, named, *steps)), boosted.n_outputs)

    def native(arrays: Mapping[str, Array]) -> Array:
        return predict(model, as_trained(taken, named, arrays), boosted.task)

    def leaves(arrays: Mapping[str, Array]) -> Sequence[int]:
        return [int(leaf) for leaf in np.ravel(booster.predict(as_trained(taken, named, arrays), pred_leaf=True)[0])]

    return Trained(
        framework="lightgbm",
        version=lightgbm.__version__,
        kind=type(model).__name__,
        task=boosted.task,
        classes=labels_of(model, boosted.task),
        n_outputs=boosted.n_outputs,
        native=native,
        rows=taken,
        drafts=(draft,),
        thresholds=numbers_of(taken, boosted.thresholds(), named),
        categories=numbers_of(taken, boosted.categories(), named),
        locate=locator(boosted.trees, leaves, taken, boosted.columns.features, sums_leaves=not boosted.linear),
        trees=(Grown(boosted.trees, features_of(taken, named, boosted.columns.features)),),
    )


def parse(model: Any, task: Task | None = None) -> Boosted:
    """Return what a fitted estimator's or Booster's prediction is made of.

    Args:
        model: estimator or Booster.
        task: what the caller takes the scores for, None to go by the model.

    Raises:
        ConversionError: what it does is not converted faithfully; the message names it and the way out.
    """
    _check_options(model)
    header, *blocks = _booster(model).model_to_string().split("\nTree=")
    facts = facts_of(header)
    objective, *options = facts.get("objective", "custom").split()
    link = link_of(objective, options)
    if not blocks:
        raise ConversionError("LightGBM: the model has no trees; train at least one round")
    n_targets = int(facts["num_tree_per_iteration"])
    resolved, columns = task_of(model, objective, task), Columns()
    trees, linear = read_trees(blocks, n_targets, columns)
    is_classifier = hasattr(model, "predict_proba") and objective != "custom"
    return Boosted(
        trees=trees,
        columns=columns,
        linear=linear,
        link=link,
        steepness=float(dict(option.split(":") for option in options if ":" in option).get("sigmoid", 1.0)),
        rounds=len(blocks) // n_targets if "average_output" in facts else 1,
        task=resolved,
        n_features=int(facts["max_feature_idx"]) + 1,
        two_columns=n_targets == 1 and (resolved == "classification" or is_classifier),
    )


def predict(model: Any, table: Any, task: Task) -> Array:
    """Return the model's own scores for an array or a DataFrame."""
    answer = model.predict_proba(table) if hasattr(model, "predict_proba") else model.predict(table)
    return scores_of(answer, task)


def _check_options(model: Any) -> None:
    options = model.get_params() if hasattr(model, "get_params") else {}
    if options.get("pred_early_stop"):
        raise ConversionError(
            "LightGBM: pred_early_stop is not converted: it skips trees row by row; predict without it"
        )


def _booster(model: Any) -> Any:
    return model.booster_ if hasattr(model, "booster_") else model


def _known_categories(booster: Any, rows: Rows) -> Named:
    """Return the categories of the pandas columns that training had; LightGBM keeps them in order of the columns.

    Raises:
        ConversionError: the rows have another number of such columns.
    """
    kept = booster.pandas_categorical or []
    columns = [
        i
        for i, column in enumerate(rows.columns)
        if rows.is_text(column) or hasattr(rows.dtypes.get(str(column.name)), "categories")
    ]
    if columns and kept and len(columns) != len(kept):
        raise ConversionError(
            f"LightGBM: the model was trained on {len(kept)} columns of categories, and {len(columns)} of the rows' "
            f"columns hold categories or strings; pass the rows with the dtypes of the training data"
        )
    return dict(zip(columns, kept, strict=True)) if columns and kept else {}


def _names(booster: Any, rows: Rows) -> list[str] | None:
    """Return the feature names as the rows spell them, None where LightGBM made them up for an array."""
    names = booster.feature_name()
    if names == [f"Column_{i}" for i in range(len(names))]:
        return None
    # LightGBM keeps a blank in a name as an underscore.
    spelled = {str(column.name).replace(" ", "_"): str(column.name) for column in rows.columns}
    return [spelled.get(name, name) for name in names]
