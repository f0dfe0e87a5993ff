"""Estimators made of others, with members of every kind inside."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.feature_selection import RFE
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import GammaRegressor, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

XGBOOST: dict[str, Any] = {"n_estimators": 4, "max_depth": 3, "n_jobs": 1}
LIGHTGBM: dict[str, Any] = {"n_estimators": 4, "num_leaves": 5, "n_jobs": 1, "verbose": -1}


def members() -> list[tuple[str, Any]]:
    return [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
        ("xgboost", xgboost.XGBClassifier(**XGBOOST)),
        ("lightgbm", lightgbm.LGBMClassifier(**LIGHTGBM)),
        ("histogram", HistGradientBoostingClassifier(max_iter=3)),
        ("forest", RandomForestClassifier(3, max_depth=4, random_state=0)),
    ]


def regressors() -> list[tuple[str, Any]]:
    return [
        ("linear", Ridge()),
        ("xgboost", xgboost.XGBRegressor(**XGBOOST)),
        ("lightgbm", lightgbm.LGBMRegressor(**LIGHTGBM)),
        ("histogram", HistGradientBoostingRegressor(max_iter=3)),
    ]


TREE: dict[str, Any] = {"max_depth": 3, "random_state": 0}
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "vote": lambda: VotingClassifier(members(), voting="soft"),
    "vote, weighted": lambda: VotingClassifier(
        members(), voting="soft", flatten_transform=False, weights=[1, 2, 3, 1, 1]
    ),
    "stack": lambda: StackingClassifier(members(), cv=2),
    "stack with a tree on top": lambda: StackingClassifier(
        members()[:3], DecisionTreeClassifier(**TREE), cv=2, passthrough=True
    ),
    "stack of labels": lambda: StackingClassifier(members()[:2], cv=2, stack_method="predict"),
    "sigmoid, boosted": lambda: CalibratedClassifierCV(xgboost.XGBClassifier(**XGBOOST), cv=2),
    "sigmoid, pipeline": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC()), cv=2),
    "sigmoid, once": lambda: CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=2, ensemble=False),
    "isotonic, bayes": lambda: CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2),
    "isotonic, histogram": lambda: CalibratedClassifierCV(
        HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=5), method="isotonic", cv=2
    ),
    "temperature": lambda: CalibratedClassifierCV(GaussianNB(), method="temperature", cv=2),
    "one against the rest": lambda: OneVsRestClassifier(make_pipeline(StandardScaler(), LogisticRegression())),
    "one against the rest, boosted": lambda: OneVsRestClassifier(xgboost.XGBClassifier(**XGBOOST)),
    "bag of pipelines": lambda: BaggingClassifier(
        make_pipeline(StandardScaler(), LogisticRegression()), 2, max_features=0.7, random_state=0
    ),
    "bag of trees": lambda: BaggingClassifier(n_estimators=3, max_features=0.7, random_state=0),
    "bag of labels": lambda: BaggingClassifier(make_pipeline(StandardScaler(), SVC()), 2, random_state=0),
    "boosted lines": lambda: AdaBoostClassifier(GaussianNB(), n_estimators=3),
    "gradient boosting from zero": lambda: GradientBoostingClassifier(n_estimators=3, init="zero", random_state=0),
    "search": lambda: GridSearchCV(
        make_pipeline(StandardScaler(), SGDClassifier("modified_huber", random_state=0)), {}
    ),
    "search in a pipeline": lambda: make_pipeline(StandardScaler(), GridSearchCV(LogisticRegression(), {"C": [1, 2]})),
    "eliminated features": lambda: RFE(DecisionTreeClassifier(**TREE), n_features_to_select=2),
    "neighbours by distance": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(weights="distance")),
    "neighbours by angle": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(metric="cosine")),
    "discriminant, shrunk": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "counts": lambda: make_pipeline(MinMaxScaler(clip=True), MultinomialNB()),
    "counts, complement": lambda: make_pipeline(MinMaxScaler(clip=True), ComplementNB()),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "vote": lambda: VotingRegressor(regressors()),
    "stack": lambda: StackingRegressor(regressors()[:3], DecisionTreeRegressor(max_depth=4), cv=2, passthrough=True),
    "bag": lambda: BaggingRegressor(make_pipeline(StandardScaler(), SVR()), 2, random_state=0),
    "boosted trees": lambda: AdaBoostRegressor(n_estimators=3, random_state=0),
    "logarithm of the target": lambda: TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    "scaled target": lambda: TransformedTargetRegressor(
        RandomForestRegressor(3, max_depth=4), transformer=StandardScaler()
    ),
    "quantiles of the target": lambda: TransformedTargetRegressor(
        Ridge(), transformer=QuantileTransformer(n_quantiles=30)
    ),
    "poisson": PoissonRegressor,
    "gamma": lambda: make_pipeline(StandardScaler(), GammaRegressor()),
    "neighbours by distance": lambda: KNeighborsRegressor(weights="distance"),
}


QUICK = {
    "vote, weighted",
    "stack with a tree on top",
    "sigmoid, pipeline",
    "isotonic, bayes",
    "temperature",
    "bag of labels",
}
QUICK |= {"one against the rest", "boosted lines", "neighbours by distance", "logarithm of the target", "boosted trees"}


def quickly(names: Iterable[str]) -> list[Any]:
    """Return names as parameters, of which those that are not in `QUICK` are left to the slow set."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


def fitted(model: Any, rows: Array, target: Array) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few iterations, and of names that LightGBM makes up
        return model.fit(rows, target)


@pytest.mark.parametrize("name", quickly(CLASSIFIERS))
def test_a_classifier_of_classifiers_keeps_its_probabilities(iris: Data, score: Score, name: str) -> None:
    rows, labels = iris
    model = fitted(CLASSIFIERS[name](), rows[::2], labels[::2])
    answer = score(convert(model, rows[::2]), {"tabular": rows[1::2]})
    np.testing.assert_allclose(answer, _asked(model.predict_proba, rows[1::2]), atol=1e-5)


@pytest.mark.parametrize(
    "name", quickly(["vote", "stack", "isotonic, histogram", "sigmoid, pipeline", "boosted lines"])
)
def test_two_classes_are_no_special_case(cancer: Data, score: Score, name: str) -> None:
    rows, labels = cancer[0][:, :8], cancer[1]
    model = fitted(CLASSIFIERS[name](), rows[::3], labels[::3])
    answer = score(convert(model, rows[::3]), {"tabular": rows[1::3]})
    np.testing.assert_allclose(answer, _asked(model.predict_proba, rows[1::3]), atol=1e-5)


@pytest.mark.parametrize("name", quickly(REGRESSORS))
def test_a_regressor_of_regressors_keeps_its_values(diabetes: Data, score: Score, name: str) -> None:
    rows, target = diabetes
    model = fitted(REGRESSORS[name](), rows[::2], target[::2])
    answer = score(convert(model, rows[::2]), {"tabular": rows[1::2]})
    np.testing.assert_allclose(answer[:, 0], _asked(model.predict, rows[1::2]), rtol=1e-5)


@pytest.mark.parametrize("model", [MultiOutputRegressor, RegressorChain])
def test_regressors_of_several_targets_keep_them_all(diabetes: Data, score: Score, model: Any) -> None:
    rows, target = diabetes
    trained = model(Ridge()).fit(rows, np.column_stack([target, target / 7]))
    np.testing.assert_allclose(score(convert(trained, rows), {"tabular": rows}), trained.predict(rows), rtol=1e-5)


def test_a_calibration_may_keep_the_classifier_it_was_given(iris: Data, score: Score) -> None:
    forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(iris[0][::2], iris[1][::2])
    model = CalibratedClassifierCV(FrozenEstimator(forest)).fit(iris[0][1::2], iris[1][1::2])
    answer = score(convert(model, iris[0]), {"tabular": iris[0]})
    np.testing.assert_allclose(answer, model.predict_proba(iris[0]), atol=1e-6)


def test_categories_that_a_model_cuts_to_whole_numbers_are_cut(iris: Data, score: Score) -> None:
    rows = np.round(iris[0])
    model = CategoricalNB().fit(rows, iris[1])
    member = convert(model, rows)
    np.testing.assert_allclose(score(member, {"tabular": rows + 0.25}), model.predict_proba(rows + 0.25), atol=1e-6)


def test_boosters_in_a_vote_take_the_categories_of_a_data_frame(iris: Data, score: Score) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": iris[0][:, 0], "kind": pd.Categorical(rng.choice(["x", "y", "z"], 150))})
    labels = ((frame["kind"] == "y") ^ (frame["size"] > 6)).to_numpy().astype(int)
    voters = [
        ("histogram", HistGradientBoostingClassifier(max_iter=4)),
        ("lightgbm", lightgbm.LGBMClassifier(**LIGHTGBM, min_child_samples=2)),
        ("xgboost", xgboost.XGBClassifier(**XGBOOST, enable_categorical=True)),
    ]
    model = fitted(VotingClassifier(voters, voting="soft"), frame, labels)
    answer = score(
        convert(model, frame), {"tabular": frame[["size"]].to_numpy(), "kind": frame[["kind"]].to_numpy(object)}
    )
    np.testing.assert_allclose(answer, _asked(model.predict_proba, frame), atol=1e-5)


def test_a_target_transformer_without_a_way_back_here_is_refused(diabetes: Data) -> None:
    quantiles = QuantileTransformer(n_quantiles=30, output_distribution="normal")
    model = TransformedTargetRegressor(Ridge(), transformer=quantiles).fit(*diabetes)
    with pytest.raises(ConversionError, match="way back through QuantileTransformer is not converted; use a scaler"):
        convert(model, diabetes[0])


def _asked(method: Callable[[Any], Array], rows: Any) -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(method(rows))
