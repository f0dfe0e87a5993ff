"""XGBoost: trees one after the other, grown level by level."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..search.space import Choice, Params, Real, Space, Whole, check_params
from .boosting import Course, Watch, fit_boosting, most_rounds, words_choice
from .kind import Family, Float64Array, Lesson
from .pipeline import FittedPipeline
from .problem import Problem


@dataclass(frozen=True, slots=True)
class XGBoost:
    """Source: Chen and Guestrin, XGBoost: A Scalable Tree Boosting System, KDD 2016."""

    name: str = "xgboost"
    family: Family = "wide"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        return {
            "learning_rate": Real(0.05 if problem.n_outputs > 5 else 0.01, 0.3, log=True),
            "max_depth": Whole(2, 10),
            "min_child_weight": Real(0.1, 30.0, log=True),
            "subsample": Real(0.5, 1.0),
            "colsample": Real(0.3, 1.0),
            "l1": Real(1e-4, 10.0, log=True),
            "l2": Real(1e-2, 30.0, log=True),
            "max_bin": Choice((64, 256)),
            **words_choice(problem, "categories", "one_hot", "target"),
        }

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        rate = 0.1 if problem.n_outputs > 5 else 0.05
        common = {"l1": 1e-3, "l2": 1.0, "max_bin": 256}
        words = {"words": "categories"} if problem.text else {}
        means = {"words": "target"} if problem.text else {}
        return (
            {
                "learning_rate": rate, "max_depth": 5, "min_child_weight": 1.0, "subsample": 0.8, "colsample": 0.7,
                **common, **words,
            },
            {
                "learning_rate": rate, "max_depth": 3, "min_child_weight": 1.0, "subsample": 0.8, "colsample": 0.5,
                **common, **means,
            },
            {
                "learning_rate": rate, "max_depth": 6, "min_child_weight": 5.0, "subsample": 0.7, "colsample": 0.5,
                **common, "l2": 5.0, **words,
            },
        )  # fmt: skip

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a model trained until rows held out are predicted no better, or for the settled rounds."""
        check_params(self.space(problem), params)
        limit = most_rounds(problem, 2 ** int(params["max_depth"]), float(params["min_child_weight"]), len(lesson.rows))
        return fit_boosting(self, problem, params, lesson, limit)

    def train(self, course: Course) -> Any:
        """Return an XGBoost estimator."""
        import xgboost

        settings: dict[str, Any] = {
            "n_estimators": course.n_rounds,
            "learning_rate": course.params["learning_rate"],
            "max_depth": int(course.params["max_depth"]),
            "min_child_weight": course.params["min_child_weight"],
            "subsample": course.params["subsample"],
            "colsample_bytree": course.params["colsample"],
            "reg_alpha": course.params["l1"],
            "reg_lambda": course.params["l2"],
            "max_bin": int(course.params["max_bin"]),
            "tree_method": "hist",
            "random_state": course.seed,
            "n_jobs": course.n_threads,
            "verbosity": 0,
            "callbacks": [_listener(course.watch)],
        }
        if course.categories:
            n_columns = course.part.matrix.shape[1]
            settings["enable_categorical"] = True
            settings["feature_types"] = ["c" if i in course.categories else "q" for i in range(n_columns)]
        make = xgboost.XGBRegressor if course.problem.task == "regression" else xgboost.XGBClassifier
        model = make(**settings, eval_metric=_metric(course.problem))
        part, held = course.part, course.held
        asked: dict[str, Any] = {}
        if held is not None:
            asked["eval_set"] = [(held.matrix, held.target)]
            asked["sample_weight_eval_set"] = None if held.weights is None else [held.weights]
        model.fit(part.matrix, part.target, sample_weight=part.weights, verbose=False, **asked)
        model.set_params(callbacks=None)
        return model

    def strengths(self, model: Any) -> Float64Array:
        """Return what all splits on each column of the matrix gained."""
        gains = model.get_booster().get_score(importance_type="total_gain")
        return np.array([gains.get(f"f{i}", 0.0) for i in range(model.n_features_in_)])


def _metric(problem: Problem) -> str:
    if problem.task == "regression":
        return "rmse"
    return "logloss" if problem.n_outputs == 2 else "mlogloss"


def _listener(watch: Watch) -> Any:
    from xgboost.callback import TrainingCallback

    class Listener(TrainingCallback):
        """Tells the watch of every round, and leaves the best rounds only."""

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - theirs
            curves: dict[str, list[float]] = next(iter(evals_log.values()), {})
            loss = next(iter(curves.values()))[-1] if curves else None
            return watch.is_over(loss)

        def after_training(self, model: Any) -> Any:
            return model[: watch.best] if watch.losses else model

    return Listener()
