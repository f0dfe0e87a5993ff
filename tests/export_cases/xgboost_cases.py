"""XGBoost; "usual" is onnxmltools 1.16."""

from typing import Any

import numpy as np
import scipy.sparse
import xgboost
from widedeep.serving.contract.tensors import Array

from .case import Made, case
from .data import cancer, diabetes, frame, halves, iris, seconds, with_gaps

SMALL: dict[str, Any] = {"n_estimators": 12, "max_depth": 3, "n_jobs": 1, "random_state": 0}
SMALL_TARGETS = ("reg:pseudohubererror", "reg:squaredlogerror", "count:poisson", "reg:gamma", "reg:tweedie")


def estimator(cls: Any, rows: Any, target: Array, **options: Any) -> Made:
    model = cls(**SMALL | options).fit(rows, target)
    answer = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return Made(model, *halves(rows), answer)


def classifier(rows: Any, labels: Array, **options: Any) -> Made:
    return estimator(xgboost.XGBClassifier, rows, labels, **options)


def regressor(rows: Any, target: Array, **options: Any) -> Made:
    return estimator(xgboost.XGBRegressor, rows, target, **options)


def booster(rows: Array, target: Any, objective: str, **options: Any) -> Made:
    parameters = {"objective": objective, "max_depth": 3, "nthread": 1, "seed": 0} | options
    model = xgboost.train(parameters, xgboost.DMatrix(rows, target), 8)
    return Made(model, *halves(rows), lambda table: model.predict(xgboost.DMatrix(table)))


def two_targets() -> Array:
    target = diabetes()[1]
    return np.stack([target, 1000 - 2 * target], axis=1)


@case("XGBoost", "binary classifier")
def binary() -> Made:
    return classifier(*cancer())


@case("XGBoost", "multiclass classifier, base score of each class")
def multiclass() -> Made:
    return classifier(*iris())


@case("XGBoost", "missing values")
def missing() -> Made:
    rows, labels = cancer()
    return classifier(with_gaps(rows), labels)


@case("XGBoost", "monotone constraints")
def monotone() -> Made:
    return regressor(*diabetes(), monotone_constraints=(1,) * 10)


@case("XGBoost", "float64 rows finer than float32")
def times() -> Made:
    rows, labels = cancer()
    return classifier(seconds(rows), labels)


@case("XGBoost", "columns with names")
def named() -> Made:
    rows, target = diabetes()
    return regressor(frame(rows).iloc[:, 1:], target)


@case("XGBoost", "categorical columns, split one against the rest")
def one_hot_splits() -> Made:
    rows, labels = cancer()
    return classifier(frame(rows), labels, enable_categorical=True, max_cat_to_onehot=32)


@case("XGBoost", "categorical columns, split by sets")
def set_splits() -> Made:
    rows, labels = cancer()
    return classifier(frame(rows), labels, enable_categorical=True, max_cat_to_onehot=2)


@case("XGBoost", "early stopping, estimator")
def early_stopping() -> Made:
    (rows, labels), options = cancer(), SMALL | {"n_estimators": 60, "early_stopping_rounds": 2, "learning_rate": 1.0}
    model = xgboost.XGBClassifier(**options).fit(
        rows[:400], labels[:400], eval_set=[(rows[400:], labels[400:])], verbose=0
    )
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    return Made(model, *halves(rows), model.predict_proba)


@case("XGBoost", "early stopping, Booster (predicts with all rounds)")
def early_stopping_booster() -> Made:
    rows, labels = cancer()
    train, test = xgboost.DMatrix(rows[:400], labels[:400]), xgboost.DMatrix(rows[400:], labels[400:])
    model = xgboost.train(
        {"objective": "binary:logistic", "nthread": 1, "eta": 1.0},
        train,
        60,
        [(test, "t")],
        early_stopping_rounds=2,
        verbose_eval=False,
    )
    return Made(model, *halves(rows), lambda table: model.predict(xgboost.DMatrix(table)))


@case("XGBoost", "DART")
def dart() -> Made:
    return classifier(*iris(), booster="dart", rate_drop=0.3)


@case("XGBoost", "gblinear")
def linear() -> Made:
    return classifier(*iris(), booster="gblinear")


@case("XGBoost", "random forest of several classes")
def forest() -> Made:
    return estimator(xgboost.XGBRFClassifier, *iris(), subsample=0.7)


@case("XGBoost", "trees of one leaf only")
def stumps() -> Made:
    rows, target = diabetes()
    model = xgboost.XGBRegressor(**SMALL | {"gamma": 2e5}).fit(rows, target)
    assert any(len(tree.split("\n")) < 3 for tree in model.get_booster().get_dump())
    return Made(model, *halves(rows), model.predict)


@case("XGBoost", "several targets, one tree each")
def targets() -> Made:
    return regressor(diabetes()[0], two_targets())


@case("XGBoost", "several targets, leaves of vectors")
def vector_leaves() -> Made:
    return regressor(diabetes()[0], two_targets(), multi_strategy="multi_output_tree", tree_method="hist")


@case("XGBoost", "several quantiles")
def quantiles() -> Made:
    return regressor(*diabetes(), objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9])


@case("XGBoost", "several labels a row")
def multilabel() -> Made:
    rows, labels = iris()
    return classifier(rows, np.stack([labels > 0, labels > 1], axis=1).astype(int))


@case("XGBoost", "trained with another mark than NaN for missing")
def other_missing() -> Made:
    rows, labels = cancer()
    return classifier(np.nan_to_num(with_gaps(rows), nan=-999.0), labels, missing=-999.0)


@case("XGBoost", "trained on a sparse matrix")
def sparse() -> Made:
    rows, labels = cancer()
    rows = np.where(rows < np.median(rows, axis=0), 0, rows)
    model = xgboost.XGBClassifier(**SMALL).fit(scipy.sparse.csr_matrix(rows), labels)
    return Made(model, *halves(rows), model.predict_proba)


def _objective(objective: str, **options: Any) -> None:
    @case("XGBoost", objective)
    def make() -> Made:
        rows, target = diabetes()
        return regressor(rows, target / 100 if objective in SMALL_TARGETS else target, objective=objective, **options)


for _name in ("reg:absoluteerror", *SMALL_TARGETS):
    _objective(_name)


@case("XGBoost", "reg:logistic")
def share() -> Made:
    rows, target = diabetes()
    return regressor(rows, target / target.max(), objective="reg:logistic")


@case("XGBoost", "rank:pairwise")
def ranking() -> Made:
    rows, target = diabetes()
    return Made(
        model := xgboost.XGBRanker(**SMALL | {"objective": "rank:pairwise"}).fit(
            rows, (target / 100).astype(int), qid=np.arange(len(rows)) // 20
        ),
        *halves(rows),
        model.predict,
    )


@case("XGBoost", "survival:cox Booster")
def cox() -> Made:
    return booster(*diabetes(), "survival:cox")


@case("XGBoost", "survival:aft Booster")
def aft() -> Made:
    rows, target = diabetes()
    data = xgboost.DMatrix(rows)
    data.set_float_info("label_lower_bound", target)
    data.set_float_info("label_upper_bound", target)
    model = xgboost.train({"objective": "survival:aft", "max_depth": 3, "nthread": 1}, data, 8)
    return Made(model, *halves(rows), lambda table: model.predict(xgboost.DMatrix(table)))


@case("XGBoost", "binary:logitraw Booster")
def logits() -> Made:
    return booster(*cancer(), "binary:logitraw")


@case("XGBoost", "binary:hinge")
def hinge() -> Made:
    return booster(*cancer(), "binary:hinge")


@case("XGBoost", "multi:softmax Booster")
def softmax() -> Made:
    return booster(*iris(), "multi:softmax", num_class=3)


@case("XGBoost", "multi:softprob Booster")
def softprob() -> Made:
    return booster(*iris(), "multi:softprob", num_class=3)
