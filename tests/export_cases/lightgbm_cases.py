"""LightGBM; "usual" is onnxmltools 1.16."""

from typing import Any

import lightgbm
import numpy as np
from widedeep.serving.contract.tensors import Array

from .case import Made, case
from .data import cancer, diabetes, frame, halves, iris, seconds, with_codes, with_gaps

SMALL: dict[str, Any] = {
    "n_estimators": 12,
    "num_leaves": 7,
    "min_child_samples": 5,
    "n_jobs": 1,
    "random_state": 0,
    "verbose": -1,
}


def estimator(cls: Any, rows: Any, target: Array, fit: dict[str, Any] | None = None, **options: Any) -> Made:
    model = cls(**SMALL | options).fit(rows, target, **fit or {})
    answer = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return Made(model, *halves(rows), answer)


def classifier(rows: Any, labels: Array, **options: Any) -> Made:
    return estimator(lightgbm.LGBMClassifier, rows, labels, **options)


def regressor(rows: Any, target: Array, **options: Any) -> Made:
    return estimator(lightgbm.LGBMRegressor, rows, target, **options)


@case("LightGBM", "binary classifier")
def binary() -> Made:
    return classifier(*cancer())


@case("LightGBM", "multiclass classifier")
def multiclass() -> Made:
    return classifier(*iris())


@case("LightGBM", "missing values")
def missing() -> Made:
    rows, labels = cancer()
    return classifier(with_gaps(rows), labels)


@case("LightGBM", "float64 rows finer than float32")
def times() -> Made:
    rows, labels = cancer()
    return classifier(seconds(rows), labels)


@case("LightGBM", "zero_as_missing")
def zeros() -> Made:
    rows, labels = cancer()
    return classifier(np.where(rows < np.median(rows, axis=0), 0, rows), labels, zero_as_missing=True)


@case("LightGBM", "categories as whole numbers")
def codes() -> Made:
    rows, labels = cancer()
    return classifier(with_codes(rows), labels, fit={"categorical_feature": [0]}, min_data_per_group=5)


@case("LightGBM", "categorical columns of words")
def words() -> Made:
    rows, labels = cancer()
    return classifier(frame(rows), labels, min_data_per_group=5)


@case("LightGBM", "early stopping")
def early_stopping() -> Made:
    rows, labels = cancer()
    model = lightgbm.LGBMClassifier(**SMALL | {"n_estimators": 60, "learning_rate": 1.0}).fit(
        rows[:400],
        labels[:400],
        eval_set=[(rows[400:], labels[400:])],
        callbacks=[lightgbm.early_stopping(2, verbose=False)],
    )
    assert model.best_iteration_ < 60
    return Made(model, *halves(rows), model.predict_proba)


@case("LightGBM", "DART")
def dart() -> Made:
    return classifier(*iris(), boosting_type="dart", drop_rate=0.5)


@case("LightGBM", "random forest")
def forest() -> Made:
    return classifier(*iris(), boosting_type="rf", subsample=0.6, subsample_freq=1)


@case("LightGBM", "linear trees")
def linear_trees() -> Made:
    return regressor(*diabetes(), linear_tree=True)


@case("LightGBM", "multiclassova")
def one_against_all() -> Made:
    return classifier(*iris(), objective="multiclassova")


@case("LightGBM", "reg_sqrt")
def roots() -> Made:
    return regressor(*diabetes(), reg_sqrt=True)


@case("LightGBM", "ranking")
def ranking() -> Made:
    rows, target = diabetes()
    groups = [20] * 22 + [2]
    return estimator(lightgbm.LGBMRanker, rows, (target / 100).astype(int), fit={"group": groups})


@case("LightGBM", "cross_entropy")
def cross_entropy() -> Made:
    rows, target = diabetes()
    return regressor(rows, target / target.max(), objective="cross_entropy")


def _objective(objective: str) -> None:
    @case("LightGBM", objective)
    def make() -> Made:
        return regressor(*diabetes(), objective=objective)


for _name in ("regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"):
    _objective(_name)


@case("LightGBM", "an objective of the user's own")
def own_objective() -> Made:
    rows, target = diabetes()
    return regressor(rows, target, objective=lambda y, p: (p - y, np.ones_like(y)))
