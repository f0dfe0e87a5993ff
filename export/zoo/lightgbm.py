"""LightGBM: trees one after the other, grown leaf by leaf."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..search.space import Choice, Params, Real, Space, Whole, check_params
from .boosting import Course, Watch, fit_boosting, least_rows, most_rounds, words_choice
from .kind import Family, Float64Array, Lesson
from .pipeline import FittedPipeline
from .problem import Problem

_ROWS_A_CATEGORY = 100
"""The library's own default, with which words split nothing where rows are few."""


@dataclass(frozen=True, slots=True)
class LightGBM:
    """Source: Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017."""

    name: str = "lightgbm"
    family: Family = "wide"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        return {
            "learning_rate": Real(0.05 if problem.n_outputs > 5 else 0.01, 0.3, log=True),
            "num_leaves": Whole(4, 128, log=True),
            "min_child_samples": Whole(2, 100, log=True),
            "subsample": Real(0.5, 1.0),
            "colsample": Real(0.3, 1.0),
            "l1": Real(1e-4, 10.0, log=True),
            "l2": Real(1e-3, 30.0, log=True),
            "extra_trees": Choice((False, True)),
            **words_choice(problem, "categories", "one_hot", "target"),
        }

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        rate = 0.1 if problem.n_outputs > 5 else 0.05
        common = {"l1": 1e-3, "l2": 1.0}
        words = {"words": "categories"} if problem.text else {}
        means = {"words": "target"} if problem.text else {}
        return (
            {
                "learning_rate": rate, "num_leaves": 16, "min_child_samples": 10, "subsample": 0.8, "colsample": 0.7,
                "extra_trees": False, **common, **words,
            },
            {
                "learning_rate": rate, "num_leaves": 31, "min_child_samples": 10, "subsample": 0.8, "colsample": 0.7,
                "extra_trees": True, **common, **means,
            },
            {
                "learning_rate": rate, "num_leaves": 48, "min_child_samples": 30, "subsample": 0.7, "colsample": 0.4,
                "extra_trees": False, **common, "l2": 5.0, **words,
            },
        )  # fmt: skip

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a model trained until rows held out are predicted no better, or for the settled rounds."""
        check_params(self.space(problem), params)
        limit = most_rounds(problem, int(params["num_leaves"]), float(params["min_child_samples"]), len(lesson.rows))
        return fit_boosting(self, problem, params, lesson, limit)

    def train(self, course: Course) -> Any:
        """Return a LightGBM estimator."""
        import lightgbm

        part, held = course.part, course.held
        settings: dict[str, Any] = {
            "n_estimators": course.n_rounds,
            "learning_rate": course.params["learning_rate"],
            "num_leaves": int(course.params["num_leaves"]),
            "min_child_samples": least_rows(int(course.params["min_child_samples"]), len(part.target)),
            "subsample": course.params["subsample"],
            "subsample_freq": 1,
            "colsample_bytree": course.params["colsample"],
            "reg_alpha": course.params["l1"],
            "reg_lambda": course.params["l2"],
            "extra_trees": bool(course.params["extra_trees"]),
            "min_data_per_group": least_rows(_ROWS_A_CATEGORY, len(part.target)),
            "random_state": course.seed,
            "n_jobs": course.n_threads,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }
        asked: dict[str, Any] = {"callbacks": [_listener(course.watch, course.n_rounds)]}
        if course.categories:
            asked["categorical_feature"] = list(course.categories)
        make = lightgbm.LGBMRegressor if course.problem.task == "regression" else lightgbm.LGBMClassifier
        model = make(**settings)
        if held is not None:
            asked["eval_set"] = [(held.matrix, held.target)]
            asked["eval_sample_weight"] = None if held.weights is None else [held.weights]
            asked["eval_metric"] = _metric(course.problem)
        with warnings.catch_warnings():
            # Newer releases want eval_X and eval_y in the place of eval_set, which older ones do not know.
            warnings.simplefilter("ignore", lightgbm.basic.LGBMDeprecationWarning)
            model.fit(part.matrix, part.target, sample_weight=part.weights, **asked)
        return model

    def strengths(self, model: Any) -> Float64Array:
        """Return what all splits on each column of the matrix gained."""
        return np.asarray(model.booster_.feature_importance(importance_type="gain"), np.float64)


def _metric(problem: Problem) -> str:
    if problem.task == "regression":
        return "rmse"
    return "binary_logloss" if problem.n_outputs == 2 else "multi_logloss"


def _listener(watch: Watch, n_rounds: int) -> Any:
    from lightgbm.callback import EarlyStopException

    def hear(env: Any) -> None:
        found = env.evaluation_result_list
        is_over = watch.is_over(found[-1][2] if found else None)
        if is_over or (found and env.iteration == n_rounds - 1):
            raise EarlyStopException((watch.best if watch.losses else env.iteration + 1) - 1, found)

    return hear
