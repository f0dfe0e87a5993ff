"""scikit-learn; "usual" is skl2onnx 1.20."""

from typing import Any

import lightgbm
import numpy as np
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from widedeep.serving.contract.tensors import Array

from .case import Made, case
from .data import cancer, diabetes, frame, halves, iris, with_codes, with_gaps

BOOSTED: dict[str, Any] = {"n_estimators": 12, "max_depth": 3, "n_jobs": 1, "random_state": 0}
FOREST: dict[str, Any] = {"n_estimators": 12, "random_state": 0}


def fitted(model: Any, rows: Any, target: Array) -> Made:
    model.fit(rows, target)
    answer = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    return Made(model, *halves(rows), answer)


def by_column(encoder: Any) -> ColumnTransformer:
    """Return the first column encoded and the others scaled."""
    return ColumnTransformer(
        [("words", encoder, ["c0"]), ("numbers", StandardScaler(), [f"c{i}" for i in range(1, 10)])]
    )


def _plain(what: str, model: Any, *, scaled: bool = True, double: bool = False) -> None:
    @case("scikit-learn", what)
    def make() -> Made:
        rows, labels = cancer()
        return fitted(
            make_pipeline(StandardScaler(), model) if scaled else model, rows.astype(float) if double else rows, labels
        )


_plain("logistic regression", LogisticRegression())
_plain("SGDClassifier", SGDClassifier(loss="log_loss", random_state=0))
_plain("SVC with probabilities", CalibratedClassifierCV(SVC(), ensemble=False))
_plain("k nearest neighbours, uniform weights", KNeighborsClassifier())
_plain("k nearest neighbours, weighted by distance", KNeighborsClassifier(weights="distance"))
_plain("Gaussian naive Bayes", GaussianNB())
_plain("multilayer perceptron", MLPClassifier((8,), max_iter=200, tol=1e-2, random_state=0))
_plain("QDA", QuadraticDiscriminantAnalysis(reg_param=0.1))
_plain("LDA of two classes", LinearDiscriminantAnalysis())
_plain("AdaBoost", AdaBoostClassifier(n_estimators=8, random_state=0), scaled=False)
_plain("decision tree", DecisionTreeClassifier(max_depth=5, random_state=0), scaled=False)
_plain("random forest", RandomForestClassifier(**FOREST), scaled=False)
_plain("extremely random trees, float64 rows", ExtraTreesClassifier(**FOREST), scaled=False, double=True)
_plain("gradient boosting", GradientBoostingClassifier(n_estimators=12, random_state=0), scaled=False)
_plain("bagged trees", BaggingClassifier(n_estimators=5, random_state=0), scaled=False)
_plain("scaler before a random forest, float32 rows", RandomForestClassifier(**FOREST))
_plain("scaler before a random forest, float64 rows", RandomForestClassifier(**FOREST), double=True)
_plain("scaler before XGBoost, float64 rows", xgboost.XGBClassifier(**BOOSTED), double=True)
_plain("scaler before LightGBM, float64 rows", lightgbm.LGBMClassifier(**BOOSTED, verbose=-1), double=True)
_plain("sigmoid calibration of LinearSVC", CalibratedClassifierCV(LinearSVC(random_state=0)))
_plain("isotonic calibration of Gaussian naive Bayes", CalibratedClassifierCV(GaussianNB(), method="isotonic"))


@case("scikit-learn", "scaler before a random forest regressor")
def forest_regressor() -> Made:
    return fitted(make_pipeline(StandardScaler(), RandomForestRegressor(**FOREST)), *diabetes())


@case("scikit-learn", "ridge regression")
def ridge() -> Made:
    return fitted(Ridge(), *diabetes())


@case("scikit-learn", "Poisson regression")
def poisson() -> Made:
    return fitted(PoissonRegressor(), *diabetes())


@case("scikit-learn", "SVR")
def svr() -> Made:
    return fitted(make_pipeline(StandardScaler(), SVR(C=10)), *diabetes())


@case("scikit-learn", "histogram gradient boosting, missing values")
def histogram() -> Made:
    rows, labels = cancer()
    return fitted(HistGradientBoostingClassifier(max_iter=10), with_gaps(rows), labels)


@case("scikit-learn", "histogram gradient boosting, categories as whole numbers")
def histogram_codes() -> Made:
    rows, labels = cancer()
    return fitted(HistGradientBoostingClassifier(max_iter=10, categorical_features=[0]), with_codes(rows), labels)


@case("scikit-learn", "histogram gradient boosting, categorical columns of words")
def histogram_words() -> Made:
    rows, labels = cancer()
    return fitted(HistGradientBoostingClassifier(max_iter=10), frame(rows), labels)


@case("scikit-learn", "histogram gradient boosting, gamma loss")
def histogram_gamma() -> Made:
    return fitted(HistGradientBoostingRegressor(loss="gamma", max_iter=10), *diabetes())


@case("scikit-learn", "one-hot encoder that ignores unknown words")
def one_hot() -> Made:
    rows, labels = cancer()
    encoder = OneHotEncoder(handle_unknown="ignore")
    return fitted(make_pipeline(by_column(encoder), LogisticRegression()), frame(rows, categorical=False), labels)


@case("scikit-learn", "one-hot encoder with rare words together")
def rare() -> Made:
    rows, labels = cancer()
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=64)
    return fitted(make_pipeline(by_column(encoder), LogisticRegression()), frame(rows, categorical=False), labels)


@case("scikit-learn", "ordinal encoder of words before a random forest")
def ordinal() -> Made:
    rows, labels = cancer()
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return fitted(
        make_pipeline(by_column(encoder), RandomForestClassifier(**FOREST)), frame(rows, categorical=False), labels
    )


@case("scikit-learn", "target encoder of words")
def target_encoder() -> Made:
    rows, labels = cancer()
    return fitted(
        make_pipeline(by_column(TargetEncoder(random_state=0)), LogisticRegression()),
        frame(rows, categorical=False),
        labels,
    )


def _imputed(what: str, dtype: type, **options: Any) -> None:
    @case("scikit-learn", what)
    def make() -> Made:
        rows, labels = cancer()
        steps = [("impute", SimpleImputer(**options)), ("scale", StandardScaler()), ("last", LogisticRegression())]
        return fitted(Pipeline(steps), with_gaps(rows).astype(dtype), labels)


_imputed("imputer, float32 rows", np.float32)
_imputed("imputer, float64 rows", np.float64)
_imputed("imputer with indicators of what was missing", np.float32, add_indicator=True)


def _members() -> list[tuple[str, Any]]:
    return [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
        ("forest", RandomForestClassifier(**FOREST)),
        ("xgboost", xgboost.XGBClassifier(**BOOSTED)),
        ("lightgbm", lightgbm.LGBMClassifier(**BOOSTED, verbose=-1)),
        ("histogram", HistGradientBoostingClassifier(max_iter=10)),
    ]


@case("scikit-learn", "soft vote of five kinds of model")
def vote() -> Made:
    return fitted(VotingClassifier(_members(), voting="soft", n_jobs=1), *cancer())


@case("scikit-learn", "stack of five kinds of model")
def stack() -> Made:
    return fitted(StackingClassifier(_members(), cv=3, n_jobs=1), *iris())
