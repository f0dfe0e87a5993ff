"""Linear models: logistic and ridge regression on numbers brought to one scale and words as columns of their own."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from ..search.space import Choice, Params, Real, Space, Whole, check_params
from .encoders import Curve, one_hot, scaled, table_columns
from .kind import Family, Lesson
from .pipeline import FittedPipeline, columns_of
from .problem import Problem

_MOST_STEPS = 500
_CURVES: tuple[Curve, ...] = ("scaled", "quantile", "splines")
_MOST_SPLINES = 100
"""Columns of numbers up to which splines are tried."""


@dataclass(frozen=True, slots=True)
class Linear:
    """The strongest where there are few rows and much noise, and unlike the trees elsewhere."""

    name: str = "linear"
    family: Family = "wide"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        space: dict[str, Any] = {"c": Real(1e-4, 1e3, log=True)}
        if problem.numeric:
            space["numbers"] = Choice(_CURVES if len(problem.numeric) <= _MOST_SPLINES else _CURVES[:2])
        if problem.text:
            space["min_frequency"] = Whole(1, 50, log=True)
        return space

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        words = {"min_frequency": 5} if problem.text else {}
        if not problem.numeric:
            return ({"c": 1.0, **words}, {"c": 0.05, **words})
        few = len(problem.numeric) <= _MOST_SPLINES
        return (
            {"c": 1.0, "numbers": "scaled", **words},
            {"c": 0.1, "numbers": "splines" if few else "quantile", **words},
            {"c": 1.0, "numbers": "quantile", **words},
        )

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a linear model."""
        check_params(self.space(problem), params)
        curve: Any = params.get("numbers", "scaled")
        table = columns_of(problem, lesson.rows)
        numbers = table[list(problem.numeric)]
        has_gaps = bool(numbers.isna().any(axis=None))
        if curve == "splines" and (numbers.nunique() < 2).any():
            curve = "quantile"  # splines of a column with one value have no width, in this lesson of the rows
        columns = table_columns(
            problem,
            scaled(curve, len(table), lesson.seed, has_gaps=has_gaps),
            one_hot(int(params.get("min_frequency", 1))),
        )
        matrix = columns.fit_transform(table)
        c = float(params["c"])
        model = Ridge(alpha=1 / c) if problem.task == "regression" else LogisticRegression(C=c, max_iter=_MOST_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(matrix, lesson.target, sample_weight=lesson.weights)
        slopes = np.abs(model.coef_).reshape(-1, matrix.shape[1]).mean(axis=0)
        pipeline = Pipeline([("columns", columns), ("model", model)])
        return FittedPipeline(problem, pipeline, slopes * np.asarray(matrix, np.float64).std(axis=0))
