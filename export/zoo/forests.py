"""Forests: many deep trees, each on rows or thresholds drawn at random, averaged."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.pipeline import Pipeline

from ..search.space import Choice, Params, Real, Space, Whole, check_params
from .encoders import codes, imputed, one_hot, table_columns, target_means
from .kind import Family, Lesson
from .pipeline import FittedPipeline, columns_of
from .problem import Problem

_MANY_CLASSES = 5
_MOST_LEAVES = 60_000
"""Leaves of all trees together: with more, proving the export takes long and serving is slow."""

_TREES_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class Forest:
    """A forest whose trees search the best threshold on rows drawn, or take thresholds drawn on all rows.

    Source: Breiman, Random Forests, 2001; Geurts, Ernst and Wehenkel, Extremely randomized trees, 2006.

    Attributes:
        name: of the kind.
        extra: whether thresholds are drawn.
        family: see `Kind`.
    """

    name: str
    extra: bool
    family: Family = "wide"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        space: dict[str, Any] = {
            "n_trees": Whole(50, 300, log=True),
            "max_features": Real(0.1, 1.0),
            "min_samples_leaf": Whole(1, 30, log=True),
        }
        if problem.task == "classification":
            space["criterion"] = Choice(("gini", "entropy"))
        if not self.extra:
            space["max_samples"] = Real(0.4, 1.0)
        if problem.text:
            space["words"] = Choice(("codes", "one_hot", "target"))
        return space

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with.

        Leaves of several rows first: measured, those of one or two are so sure of themselves that on noisy answers to a
        survey (statsmodels' `fair`, 900 rows) their log loss is hardly below that of the shares of the classes. Many
        classes are mostly told apart well, as digits are, and then leaves of one row do best.
        """
        common: dict[str, Any] = {"n_trees": 150}
        if problem.task == "classification":
            common["criterion"] = "entropy"
        if not self.extra:
            common["max_samples"] = 0.9
        # Measured on the same rows: drawn thresholds do best on target means (0.563 to 0.572), searched ones do not.
        first = {"words": "target" if self.extra else "one_hot"} if problem.text else {}
        second = {"words": "one_hot" if self.extra else "target"} if problem.text else {}
        several = {**common, "max_features": 0.4, "min_samples_leaf": 5, **first}
        many = {**common, "max_features": 0.4, "min_samples_leaf": 12, **second}
        single = {**common, "max_features": 0.3, "min_samples_leaf": 1, **first}
        return (single, several, many) if problem.n_outputs > _MANY_CLASSES else (several, many, single)

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a forest, of fewer trees if the time is over before all have grown."""
        check_params(self.space(problem), params)
        ways: dict[str, Callable[[], Any]] = {
            "codes": lambda: codes(-1),
            "one_hot": lambda: one_hot(max(2, len(lesson.rows) // 500)),
            "target": lambda: target_means(problem, lesson.seed),
        }
        columns = table_columns(problem, imputed(), ways[str(params.get("words", "codes"))]())
        matrix = columns.fit_transform(columns_of(problem, lesson.rows), lesson.target)
        model = self._make(problem, params, lesson)
        grown, n_trees = 0, int(params["n_trees"])
        while grown < n_trees and (grown == 0 or time.monotonic() < lesson.stop_at):
            grown = min(n_trees, grown + _TREES_AT_ONCE)
            model.set_params(n_estimators=grown).fit(matrix, lesson.target, sample_weight=lesson.weights)
        pipeline = Pipeline([("columns", columns), ("model", model)])
        return FittedPipeline(problem, pipeline, np.asarray(model.feature_importances_, np.float64))

    def _make(self, problem: Problem, params: Params, lesson: Lesson) -> Any:
        settings = {
            "max_features": float(params["max_features"]),
            "min_samples_leaf": int(params["min_samples_leaf"]),
            "max_leaf_nodes": max(8, _MOST_LEAVES // int(params["n_trees"])),
            "random_state": lesson.seed,
            "n_jobs": lesson.n_threads,
            "warm_start": True,
        }
        if not self.extra:
            settings["max_samples"] = float(params["max_samples"])
        if problem.task == "regression":
            return (ExtraTreesRegressor if self.extra else RandomForestRegressor)(**settings)
        make = ExtraTreesClassifier if self.extra else RandomForestClassifier
        return make(**settings, criterion=str(params["criterion"]))


RANDOM_FOREST = Forest("random_forest", extra=False)
EXTRA_TREES = Forest("extra_trees", extra=True)
