import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError, ParityError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])
XGBOOST: dict[str, Any] = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}
LIGHTGBM: dict[str, Any] = {"n_estimators": 8, "num_leaves": 6, "n_jobs": 1, "verbose": -1}

CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(max_iter=2000),
    "scaled logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "sgd": lambda: make_pipeline(MinMaxScaler(), SGDClassifier(loss="log_loss", random_state=0)),
    "naive bayes": GaussianNB,
    "quadratic": QuadraticDiscriminantAnalysis,
    "neighbours": lambda: make_pipeline(StandardScaler(), KNeighborsClassifier(7)),
    "network": lambda: make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=60, random_state=0)),
    "tree": lambda: DecisionTreeClassifier(max_depth=4, random_state=0),
    "forest": lambda: RandomForestClassifier(8, max_depth=5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(8, max_depth=5, random_state=0),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=5),
    "adaboost": lambda: AdaBoostClassifier(n_estimators=4, random_state=0),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(max_iter=2000), cv=2),
    "voting": lambda: VotingClassifier(
        [("a", LogisticRegression(max_iter=2000)), ("b", GaussianNB())], voting="soft", flatten_transform=False
    ),
    "stacking": lambda: StackingClassifier(
        [("a", LogisticRegression(max_iter=2000)), ("b", DecisionTreeClassifier(max_depth=2, random_state=0))], cv=2
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": LinearRegression,
    "scaled ridge": lambda: make_pipeline(StandardScaler(), Ridge()),
    "robust lasso": lambda: make_pipeline(RobustScaler(), Lasso()),
    "neighbours": KNeighborsRegressor,
    "forest": lambda: RandomForestRegressor(5, max_depth=6, random_state=0),
    "gradient boosting": lambda: GradientBoostingRegressor(n_estimators=5, random_state=0),
    "histogram boosting": lambda: HistGradientBoostingRegressor(max_iter=5),
    "histogram boosting, poisson": lambda: HistGradientBoostingRegressor(max_iter=5, loss="poisson"),
}


def fitted(model: Any, rows: Any, target: Array) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few iterations
        return model.fit(rows, target)


@FLOATS
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_keeps_its_probabilities(iris: Data, score: Score, name: str, dtype: type) -> None:
    rows = iris[0].astype(dtype)
    model = fitted(CLASSIFIERS[name](), rows, iris[1])
    member = convert(model, rows)
    assert (member.task, member.classes, member.n_outputs) == ("classification", (0, 1, 2), 3)
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-5)


@FLOATS
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_keeps_its_values(diabetes: Data, score: Score, name: str, dtype: type) -> None:
    rows = diabetes[0].astype(dtype)
    model = fitted(REGRESSORS[name](), rows, diabetes[1])
    member = convert(model, rows)
    assert (member.task, member.classes, member.n_outputs) == ("regression", (), 1)
    np.testing.assert_allclose(score(member, {"tabular": rows})[:, 0], model.predict(rows), rtol=1e-5)


def test_two_classes_have_two_columns_and_may_be_named_by_strings(cancer: Data, score: Score) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(cancer[0], np.array(["bad", "good"])[cancer[1]])
    member = convert(model, cancer[0])
    assert (member.classes, member.n_outputs) == (("bad", "good"), 2)
    np.testing.assert_allclose(score(member, {"tabular": cancer[0]}), model.predict_proba(cancer[0]), atol=1e-6)


def test_several_values_have_several_columns(diabetes: Data, score: Score) -> None:
    rows, target = diabetes
    model = LinearRegression().fit(rows, np.column_stack([target, target**2]))
    member = convert(model, rows)
    assert member.n_outputs == 2
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict(rows), rtol=1e-5)


@FLOATS
@pytest.mark.parametrize(
    "last",
    [
        lambda: DecisionTreeClassifier(random_state=0),
        lambda: RandomForestClassifier(8, random_state=0),
        lambda: HistGradientBoostingClassifier(max_iter=8),
        lambda: xgboost.XGBClassifier(**XGBOOST),
        lambda: lightgbm.LGBMClassifier(**LIGHTGBM),
    ],
    ids=["tree", "forest", "histogram boosting", "xgboost", "lightgbm"],
)
def test_trees_behind_a_scaler_are_probed_at_their_thresholds_and_right(
    cancer: Data, score: Score, last: Callable[[], Any], dtype: type
) -> None:
    rows = cancer[0].astype(dtype)
    model = make_pipeline(StandardScaler(), last()).fit(rows, cancer[1])
    member = convert(model, rows)
    assert member.certificate.probes > 1000
    np.testing.assert_allclose(score(member, {"tabular": rows}), _without_names(model, rows), atol=1e-5)


def test_histogram_boosting_keeps_all_digits_of_its_thresholds(score: Score) -> None:
    stamps = 1.7e9 + np.random.default_rng(0).random((1500, 2)) * 100
    model = HistGradientBoostingRegressor(max_iter=20).fit(stamps, np.sin(stamps[:, 0]))
    answer = score(convert(model, stamps), {"tabular": stamps})
    np.testing.assert_allclose(answer[:, 0], model.predict(stamps), atol=1e-6)


@pytest.fixture(scope="module")
def flats() -> tuple[pd.DataFrame, Array]:
    """Rows with floats, integers, strings and categories, as a user's table has them."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "floor area": rng.normal(80, 20, 300),
            "age": rng.uniform(0, 100, 300),
            "rooms": rng.integers(1, 7, 300),
            "city": rng.choice(["oslo", "paris", "rome"], 300),
            "energy": pd.Categorical(rng.choice(["a", "b", "c"], 300)),
        }
    )
    dear = frame["floor area"] + 30 * (frame["city"] == "paris") + 5 * frame["rooms"] + rng.normal(0, 10, 300) > 105
    return frame, dear.to_numpy().astype(int)


def tensors(frame: pd.DataFrame) -> dict[str, Array]:
    return {
        "tabular_fp64": frame[["floor area", "age"]].to_numpy(),
        "tabular_int64": frame[["rooms"]].to_numpy(),
        "city": frame[["city"]].to_numpy(object),
        "energy": frame[["energy"]].to_numpy(object),
    }


@pytest.mark.parametrize(
    "last",
    [
        lambda: LogisticRegression(max_iter=1000),
        lambda: RandomForestClassifier(8, random_state=0),
        lambda: xgboost.XGBClassifier(**XGBOOST),
        lambda: lightgbm.LGBMClassifier(**LIGHTGBM),
    ],
    ids=["logistic", "forest", "xgboost", "lightgbm"],
)
def test_a_table_of_numbers_and_strings_is_taken_as_it_is(
    flats: tuple[pd.DataFrame, Array], score: Score, last: Callable[[], Any]
) -> None:
    frame, dear = flats
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["rooms", "floor area", "age"]),
            ("strings", OneHotEncoder(handle_unknown="ignore"), ["energy", "city"]),
        ]
    )
    model = make_pipeline(columns, last()).fit(frame, dear)
    member = convert(model, frame)
    assert {spec.name: spec.categories for spec in member.inputs} == {
        "tabular_fp64": (),
        "tabular_int64": (),
        "city": ("oslo", "paris", "rome"),
        "energy": ("a", "b", "c"),
    }
    unseen = frame.assign(city=np.where(frame["rooms"] > 3, "berlin", frame["city"]))
    for rows in (frame, unseen):
        np.testing.assert_allclose(score(member, tensors(rows)), _without_names(model, rows), atol=1e-5)


def test_columns_that_a_pipeline_drops_are_no_inputs(flats: tuple[pd.DataFrame, Array]) -> None:
    frame, dear = flats
    columns = ColumnTransformer([("strings", OrdinalEncoder(), ["city"]), ("numbers", "passthrough", ["age"])])
    member = convert(make_pipeline(columns, GaussianNB()).fit(frame, dear), frame)
    assert [spec.name for spec in member.inputs] == ["tabular_fp64", "city"]
    assert member.inputs[0].feature_names == ("floor area", "age")


def test_one_table_of_a_dict_is_named_where_there_are_several(iris: Data) -> None:
    rows = {"flower": iris[0], "more": iris[0]}
    model = GaussianNB().fit(*iris)
    assert convert(model, rows, inputs=["flower"]).inputs[0].name == "flower"
    with pytest.raises(ConversionError, match=r"hold 'flower', 'more' and the model takes one table; say which"):
        convert(model, rows)


def test_names_given_for_a_dict_are_in_the_declaration(iris: Data) -> None:
    names = ("sepal length", "sepal width", "petal length", "petal width")
    model = GaussianNB().fit(pd.DataFrame(iris[0], columns=names), iris[1])
    for rows, feature_names in [({"tabular": iris[0]}, {"tabular": names}), (iris[0], names)]:
        assert convert(model, rows, feature_names=feature_names).inputs[0].feature_names == names


@FLOATS
def test_missing_values_are_filled_in_the_type_of_the_rows(diabetes: Data, score: Score, dtype: type) -> None:
    rows = diabetes[0].astype(dtype)
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), RandomForestRegressor(4, max_depth=5))
    model.fit(rows, diabetes[1])
    member = convert(model, rows)
    assert member.inputs[0].allow_nan
    np.testing.assert_allclose(score(member, {"tabular": rows})[:, 0], model.predict(rows), rtol=1e-5)


def test_missing_values_are_forbidden_where_the_model_refuses_them(iris: Data) -> None:
    assert not convert(LogisticRegression(max_iter=2000).fit(*iris), iris[0]).inputs[0].allow_nan


def test_missing_values_that_only_some_columns_may_have_are_refused_unless_forbidden(iris: Data) -> None:
    rows = pd.DataFrame(iris[0][:, :2], columns=["length", "width"])
    rows.loc[::7, "length"] = np.nan
    filled = ColumnTransformer([("filled", SimpleImputer(), ["length"]), ("as it is", "passthrough", ["width"])])
    model = make_pipeline(filled, LogisticRegression()).fit(rows, iris[1])
    with pytest.raises(ConversionError, match=r"'tabular': the rows hold missing values.*say allow_nan=False"):
        convert(model, rows)
    assert not convert(model, rows, allow_nan=False).inputs[0].allow_nan


def test_a_forest_sends_missing_values_where_it_does_although_it_never_saw_any(iris: Data, score: Score) -> None:
    rows = iris[0].copy()
    model = RandomForestClassifier(8, random_state=0).fit(rows, iris[1])
    rows[::10, 0] = np.nan
    member = convert(model, rows)
    assert member.inputs[0].allow_nan
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-6)


def test_converting_twice_gives_the_same_bytes(iris: Data) -> None:
    first, second = (convert(CLASSIFIERS["scaled logistic"]().fit(*iris), iris[0]) for _ in range(2))
    assert first.graph == second.graph


def test_the_source_names_every_step(iris: Data) -> None:
    member = convert(CLASSIFIERS["scaled logistic"]().fit(*iris), iris[0])
    assert member.source["class"] == "Pipeline(StandardScaler, LogisticRegression)"


WRONG_IN_SKL2ONNX: dict[str, Callable[[], Any]] = {
    "binary discriminant analysis": LinearDiscriminantAnalysis,
    "neighbours weighted by distance": lambda: KNeighborsClassifier(weights="distance"),
    "isotonic calibration": lambda: CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=2),
}


@pytest.mark.parametrize("name", WRONG_IN_SKL2ONNX)
def test_what_skl2onnx_converts_wrongly_is_right_here(cancer: Data, score: Score, name: str) -> None:
    model = WRONG_IN_SKL2ONNX[name]().fit(cancer[0][::2], cancer[1][::2])
    member = convert(model, cancer[0][::2])
    others = cancer[0][1::2]
    np.testing.assert_allclose(score(member, {"tabular": others}), model.predict_proba(others), atol=1e-6)


def test_a_difference_does_not_pass_the_gate(cancer: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    model = LogisticRegression(max_iter=5000).fit(*cancer)
    right = LogisticRegression.predict_proba
    monkeypatch.setattr(LogisticRegression, "predict_proba", lambda self, rows: right(self, rows)[:, ::-1])
    with pytest.raises(ParityError, match=r"is not the model: \d+ of \d+ rows differ .* (row|probe) \d+"):
        convert(model, cancer[0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: IsolationForest(n_estimators=5), "IsolationForest is neither a classifier nor a regressor"),
        (LinearSVC, "LinearSVC has no probabilities; wrap it in CalibratedClassifierCV"),
        (lambda: make_pipeline(KNNImputer(), GaussianNB()), "KNNImputer is not converted: .* use SimpleImputer"),
        (
            lambda: make_pipeline(FunctionTransformer(lambda x: x + 1), GaussianNB()),
            r"FunctionTransformer\(<lambda>\) calls Python code, which no graph can hold; numpy's log1p",
        ),
        (GaussianProcessClassifier, "GaussianProcessClassifier is not converted: .* calibrate an SVC"),
        (LabelSpreading, "LabelSpreading has no converter, neither here nor in skl2onnx"),
        (lambda: KNeighborsClassifier(weights=lambda d: d + 1), "weights=.* calls Python code; train with 'uniform'"),
    ],
    ids=["isolation forest", "linear svc", "imputer", "function", "gaussian process", "spreading", "weights"],
)
def test_what_is_not_converted_is_refused_by_name(iris: Data, model: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(fitted(model(), *iris), iris[0])


def test_a_model_that_is_not_fitted_is_refused(iris: Data) -> None:
    with pytest.raises(ConversionError, match="LogisticRegression is not fitted"):
        convert(LogisticRegression(), iris[0])


def test_a_classifier_of_a_single_class_is_refused(iris: Data) -> None:
    model = DecisionTreeClassifier().fit(iris[0], np.full(len(iris[0]), 7))
    with pytest.raises(ConversionError, match="the model knows the class 7 only; train it on rows of two or more"):
        convert(model, iris[0])


def test_a_threshold_of_its_own_for_labels_is_refused(cancer: Data) -> None:
    model = FixedThresholdClassifier(make_pipeline(StandardScaler(), LogisticRegression()), threshold=0.9).fit(*cancer)
    with pytest.raises(ConversionError, match=r"FixedThresholdClassifier labels by a threshold of its own.*estimator_"):
        convert(model, cancer[0])
    assert convert(model.estimator_, cancer[0]).classes == (0, 1)


def test_strings_that_a_model_takes_for_numbers_are_refused(iris: Data) -> None:
    rows = pd.DataFrame(iris[0]).rename(columns=str).astype({"0": "string"})
    model = HistGradientBoostingClassifier(max_iter=3).fit(rows, iris[1])
    with pytest.raises(ConversionError, match=r"strings reaches HistGradientBoostingClassifier.*encode it"):
        convert(model, rows)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_categories_given_as_numbers_are_compared_and_never_cut(score: Score, dtype: type) -> None:
    codes = np.random.default_rng(0).integers(0, 6, (400, 2)).astype(dtype)
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(codes, codes[:, 0] % 2 > 0)
    rows = np.array([[2, 1], [2.5, 1], [7, -1], [0, 0.75]]).astype(dtype)
    np.testing.assert_allclose(score(convert(model, codes), {"tabular": rows}), model.predict_proba(rows), atol=1e-6)


def test_several_targets_of_a_classifier_are_refused(iris: Data) -> None:
    model = RandomForestClassifier(3).fit(iris[0], np.column_stack([iris[1], iris[1] % 2]))
    with pytest.raises(ConversionError, match="answers several targets"):
        convert(model, iris[0])


def test_labels_that_are_truth_values_become_numbers_and_fractions_are_refused(iris: Data) -> None:
    assert convert(GaussianNB().fit(iris[0], iris[1] > 0), iris[0]).classes == (0, 1)
    with pytest.raises(ConversionError, match="must be strings or whole numbers"):
        convert(GaussianNB().fit(*iris), iris[0], classes=[0.5, 1.5, 2.5])


def _without_names(model: Any, rows: Any) -> Array:
    """Return probabilities; LightGBM makes up feature names of its own and then misses them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return np.asarray(model.predict_proba(rows))
