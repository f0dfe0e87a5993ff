"""scikit-learn's histogram boosting: trees one after the other, grown leaf by leaf, on bins of the numbers."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from ...serving.contract.tensors import Array
from ..search.space import Choice, Params, Real, Space, Whole, check_params
from ..weights.metrics import row_losses
from .boosting import Course, Part, fit_boosting, least_rows, most_rounds, words_choice
from .kind import Family, Float64Array, Lesson
from .pipeline import FittedPipeline
from .problem import Problem

_FEWEST_AT_ONCE = 8
_MOST_CATEGORIES = 250
"""The library takes at most 255 categories a column."""


@dataclass(frozen=True, slots=True)
class HistGradientBoosting:
    """Boosting that differs from the other two in its bins, its growth and its categories."""

    name: str = "hist_gradient_boosting"
    family: Family = "wide"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        return {
            "learning_rate": Real(0.05 if problem.n_outputs > 5 else 0.02, 0.3, log=True),
            "max_leaf_nodes": Whole(4, 96, log=True),
            "min_samples_leaf": Whole(2, 100, log=True),
            "max_features": Real(0.2, 1.0),
            "l2": Real(1e-3, 30.0, log=True),
            "max_bins": Choice((64, 255)),
            **words_choice(problem, *_ways(problem)),
        }

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        rate = 0.1 if problem.n_outputs > 5 else 0.06
        words = {"words": _ways(problem)[0]} if problem.text else {}
        means = {"words": "target"} if problem.text else {}
        return (
            {
                "learning_rate": rate, "max_leaf_nodes": 16, "min_samples_leaf": 15, "max_features": 0.6, "l2": 1.0,
                "max_bins": 255, **words,
            },
            {
                "learning_rate": rate, "max_leaf_nodes": 8, "min_samples_leaf": 10, "max_features": 0.4, "l2": 1.0,
                "max_bins": 64, **means,
            },
        )  # fmt: skip

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a model trained until rows held out are predicted no better, or for the settled rounds."""
        check_params(self.space(problem), params)
        leaves, least = int(params["max_leaf_nodes"]), float(params["min_samples_leaf"])
        return fit_boosting(self, problem, params, lesson, most_rounds(problem, leaves, least, len(lesson.rows)))

    def train(self, course: Course) -> Any:
        """Return a scikit-learn estimator, trained a few rounds at a time."""
        is_regression = course.problem.task == "regression"
        make = HistGradientBoostingRegressor if is_regression else HistGradientBoostingClassifier
        part, matrix = course.part, _with_values(course.part.matrix)
        model = make(
            learning_rate=float(course.params["learning_rate"]),
            max_leaf_nodes=int(course.params["max_leaf_nodes"]),
            min_samples_leaf=least_rows(int(course.params["min_samples_leaf"]), len(part.target)),
            max_features=float(course.params["max_features"]),
            l2_regularization=float(course.params["l2"]),
            max_bins=int(course.params["max_bins"]),
            categorical_features=list(course.categories) or None,
            early_stopping=False,
            warm_start=True,
            random_state=course.seed,
        )
        learned = 0
        is_waited_for = course.held is None and course.watch.stop_at == float("inf")
        while learned < course.n_rounds:
            more = course.n_rounds if is_waited_for else max(_FEWEST_AT_ONCE, learned // 4)
            learned = min(course.n_rounds, learned + more)
            model.set_params(max_iter=learned).fit(matrix, part.target, sample_weight=part.weights)
            if _is_over(model, course):
                break
        if course.watch.losses:
            del model._predictors[course.watch.best :]
        return model

    def strengths(self, model: Any) -> Float64Array:
        """Return what all splits on each column of the matrix gained."""
        gains = np.zeros(model.n_features_in_)
        for trees in model._predictors:
            for tree in trees:
                splits = tree.nodes[tree.nodes["is_leaf"] == 0]
                np.add.at(gains, splits["feature_idx"], np.maximum(splits["gain"], 0.0))
        return gains


def _with_values(matrix: Array) -> Array:
    """Return a matrix without columns of gaps only, which the library cannot bin: constant ones are never split."""
    gone = np.isnan(matrix).all(axis=0)
    return np.where(gone, np.zeros((), matrix.dtype), matrix) if gone.any() else matrix


def _ways(problem: Problem) -> tuple[str, ...]:
    fits = all(problem.n_words.get(name, 0) <= _MOST_CATEGORIES for name in problem.text)
    return ("categories", "one_hot", "target") if fits else ("target", "one_hot")


def _is_over(model: Any, course: Course) -> bool:
    problem, held, watch = course.problem, course.held, course.watch
    if held is None:
        return watch.is_over(None)
    staged = model.staged_predict if problem.task == "regression" else model.staged_predict_proba
    new = itertools.islice(staged(held.matrix), len(watch.losses), None)
    return any(watch.is_over(_loss(np.asarray(scores, np.float64), problem, held)) for scores in new)


def _loss(scores: Float64Array, problem: Problem, held: Part) -> float:
    if problem.task == "regression":
        losses = (scores - held.target) ** 2
        return float(np.sqrt(np.average(losses, weights=held.weights)))
    return float(np.average(row_losses(scores, held.target, problem.task), weights=held.weights))
