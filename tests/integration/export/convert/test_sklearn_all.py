"""Every classifier and regressor of scikit-learn: right on rows it never saw, or refused; never silently wrong."""

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import all_estimators
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

pytestmark = pytest.mark.slow

GIVEN: dict[str, tuple[Any, ...]] = {
    "VotingClassifier": ([("a", LogisticRegression(max_iter=2000)), ("b", GaussianNB())],),
    "StackingClassifier": ([("a", LogisticRegression(max_iter=2000)), ("b", GaussianNB())],),
    "VotingRegressor": ([("a", Ridge()), ("b", Ridge(10))],),
    "StackingRegressor": ([("a", Ridge()), ("b", Ridge(10))],),
    "MultiOutputRegressor": (Ridge(),),
    "RegressorChain": (Ridge(),),
}
WITH_A_CLASSIFIER = {
    "OneVsRestClassifier",
    "OneVsOneClassifier",
    "OutputCodeClassifier",
    "FixedThresholdClassifier",
    "TunedThresholdClassifierCV",
    "SelfTrainingClassifier",
    "ClassifierChain",
    "MultiOutputClassifier",
}
POSITIVE = {"MultinomialNB", "ComplementNB", "CategoricalNB", "GammaRegressor", "PoissonRegressor"}
REFUSED = {
    "ClassifierChain": "several targets|cannot be trained",
    "DummyClassifier": "vary by only 0",
    "DummyRegressor": "vary by only 0",
    "FixedThresholdClassifier": "labels by a threshold of its own",
    "GaussianProcessClassifier": "is not converted: its graph needs an operator",
    "LabelPropagation": "has no converter",
    "LabelSpreading": "has no converter",
    "LinearSVC": "no probabilities",
    "NearestCentroid": "has no converter",
    "NuSVC": "no probabilities",
    "OneVsOneClassifier": "no probabilities",
    "OutputCodeClassifier": "no probabilities",
    "PassiveAggressiveClassifier": "no probabilities",
    "Perceptron": "no probabilities",
    "RadiusNeighborsClassifier": "is not converted: it refuses rows without neighbours",
    "RadiusNeighborsRegressor": "is not converted: it has no answer|vary by only 0",
    "RidgeClassifier": "no probabilities",
    "RidgeClassifierCV": "no probabilities",
    "SVC": "no probabilities",
    "TunedThresholdClassifierCV": "labels by a threshold of its own",
}
"""Class -> why it is refused."""

RIGHT_OR_REFUSED = {
    "BernoulliNB": "vary by only 0",
    "KNeighborsClassifier": "is not the model",
    "QuantileRegressor": "vary by only 0",
    "SGDClassifier": "is not the model",
    "KernelRidge": "is not the model",
}
"""Class -> why it may be refused: among equal neighbours, and where float32 becomes zero, rounding decides."""


def made(name: str, kind: Any) -> Any:
    """Return a small estimator of a class."""
    if name in WITH_A_CLASSIFIER:
        return kind(LogisticRegression(max_iter=2000))
    model = kind(*GIVEN.get(name, ()))
    wanted = {"n_estimators": 8, "random_state": 0, "voting": "soft"} | ({"max_iter": 10} if "Hist" in name else {})
    wanted |= {"loss": "log_loss"} if name == "SGDClassifier" else {}
    wanted |= {"hidden_layer_sizes": (8,)} if name.startswith("MLP") else {}
    known = model.get_params(deep=False)
    return model.set_params(**{key: value for key, value in wanted.items() if key in known})


def compare(name: str, kind: Any, rows: Array, target: Array, score: Score, *, scaled: bool) -> str | None:
    """Return the reason of a refusal, None where the graph is right, an empty text where training fails."""
    if name == "CategoricalNB":
        rows = (rows > np.median(rows, axis=0)).astype(rows.dtype)
    elif name in POSITIVE:
        rows = np.abs(rows)
    scaler = MinMaxScaler(clip=True) if name in POSITIVE else StandardScaler()
    try:
        model = made(name, kind)
        model = make_pipeline(scaler, model) if scaled and name != "CategoricalNB" else model
        model.fit(rows[::2], target[::2])
    except (ValueError, TypeError, IndexError, AttributeError, np.linalg.LinAlgError):
        return ""
    try:
        member = convert(model, rows[::2])
    except ConversionError as error:
        return str(error)
    others = rows[1::2]
    expected = model.predict_proba(others) if member.classes else model.predict(others).reshape(len(others), -1)
    sizes = 1.0 if member.classes else np.maximum(1.0, np.abs(expected))
    difference = np.abs(score(member, {"tabular": others}) - expected) / sizes
    assert difference.max() <= 1e-5, f"{name} is silently wrong by {difference.max():.3g}"
    return None


FORMS = pytest.mark.parametrize("form", [(np.float32, False), (np.float64, True)])
"""Type of the rows, and whether a scaler comes first."""


@FORMS
@pytest.mark.parametrize(("name", "kind"), [e for e in all_estimators("classifier") if e[0] != "ClassifierChain"])
def test_a_classifier_is_right_or_refused(
    iris: Data, cancer: Data, score: Score, *, name: str, kind: Any, form: tuple[type, bool]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few iterations and deprecated options
        for rows, target in (iris, cancer):
            _judge(name, compare(name, kind, rows.astype(form[0]), target, score, scaled=form[1]))


@FORMS
@pytest.mark.parametrize(("name", "kind"), all_estimators("regressor"))
def test_a_regressor_is_right_or_refused(
    diabetes: Data, score: Score, name: str, kind: Any, form: tuple[type, bool]
) -> None:
    rows, target = diabetes
    several = name.startswith("Multi") or name == "RegressorChain"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        goal = np.column_stack([target, target / 7]) if several else target
        _judge(name, compare(name, kind, rows.astype(form[0]), goal, score, scaled=form[1]))


def _judge(name: str, refusal: str | None) -> None:
    if refusal is None:
        assert name not in REFUSED, f"{name} is right now; take it off the list"
    elif refusal:
        reason = REFUSED.get(name) or RIGHT_OR_REFUSED.get(name, "nothing")
        assert any(part in refusal for part in reason.split("|")), f"{name}: {refusal}"
