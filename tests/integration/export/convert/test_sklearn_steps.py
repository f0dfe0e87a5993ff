"""Every common step in front of a model: on a DataFrame with numbers, truth values, strings and categories."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest, VarianceThreshold
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError, Member
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.tensors import Array

from .conftest import Score

Table = tuple[pd.DataFrame, Array]
NUMBERS = ["area", "age", "rooms"]

LAST: dict[str, Callable[[], Any]] = {
    "linear": lambda: LogisticRegression(max_iter=2000),
    "forest": lambda: RandomForestClassifier(4, max_depth=4, random_state=0),
    "xgboost": lambda: xgboost.XGBClassifier(n_estimators=4, max_depth=3, n_jobs=1),
}
STEPS: dict[str, tuple[Callable[[], Any], str]] = {
    "standard": (StandardScaler, "xgboost"),
    "min max, clipped": (lambda: MinMaxScaler(clip=True), "forest"),
    "max abs": (MaxAbsScaler, "forest"),
    "robust": (RobustScaler, "forest"),
    "normalizer": (Normalizer, "linear"),
    "power": (PowerTransformer, "forest"),
    "power, xgboost": (PowerTransformer, "xgboost"),
    "quantile, uniform": (lambda: QuantileTransformer(n_quantiles=30), "forest"),
    "quantile, normal": (lambda: QuantileTransformer(n_quantiles=30, output_distribution="normal"), "forest"),
    "polynomial": (lambda: make_pipeline(StandardScaler(), PolynomialFeatures(3)), "linear"),
    "interactions": (lambda: PolynomialFeatures(2, interaction_only=True, include_bias=False), "forest"),
    "splines, constant": (SplineTransformer, "linear"),
    "splines, linear": (lambda: SplineTransformer(4, degree=2, extrapolation="linear", include_bias=False), "linear"),
    "splines, periodic": (lambda: SplineTransformer(extrapolation="periodic"), "linear"),
    "splines, continued": (lambda: SplineTransformer(extrapolation="continue"), "linear"),
    "bins, one-hot": (lambda: KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), "linear"),
    "bins, ordinal": (lambda: KBinsDiscretizer(4, encode="ordinal", strategy="uniform"), "forest"),
    "binarizer": (lambda: Binarizer(threshold=50), "linear"),
    "a numpy function": (lambda: FunctionTransformer(np.log1p, np.expm1), "forest"),
    "scaler after a numpy function": (lambda: make_pipeline(FunctionTransformer(np.sqrt), StandardScaler()), "forest"),
    "principal components": (lambda: make_pipeline(StandardScaler(), PCA(2, whiten=True)), "linear"),
    "singular values": (lambda: TruncatedSVD(2), "linear"),
    "best features": (lambda: SelectKBest(k=2), "forest"),
    "varying features": (lambda: VarianceThreshold(3.0), "forest"),
    "features from a model": (lambda: SelectFromModel(DecisionTreeClassifier(random_state=0)), "linear"),
    "eliminated features": (lambda: RFE(DecisionTreeClassifier(random_state=0), n_features_to_select=2), "forest"),
    "a union": (lambda: make_union(StandardScaler(), make_pipeline(MinMaxScaler(), PCA(1))), "linear"),
}
QUICK = {"standard", "power", "quantile, normal", "splines, linear", "bins, one-hot", "scaler after a numpy function"}
"""Steps of the quick suite; the others are left to the slow set."""

ENCODERS: dict[str, Callable[[], Any]] = {
    "unknown ignored": lambda: OneHotEncoder(handle_unknown="ignore"),
    "dense": lambda: OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "rare together": lambda: OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=40),
    "one dropped": lambda: OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
    "ordinal": lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    "target": lambda: TargetEncoder(cv=3),
}


@pytest.fixture(scope="module")
def flats() -> Table:
    """300 flats of three classes."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "area": rng.normal(80, 15, 300).clip(20),
            "age": rng.uniform(0, 100, 300),
            "rooms": rng.integers(1, 7, 300),
            "old": rng.random(300) > 0.5,
            "city": rng.choice(["oslo", "paris", "rome", "bonn"], 300, p=[0.4, 0.3, 0.2, 0.1]),
            "energy": pd.Categorical(rng.choice(["a", "b", "c"], 300)),
            "code": rng.integers(0, 5, 300).astype(float),
        }
    )
    worth = frame["area"] / 15 + 2 * (frame["city"] == "paris") + (frame["code"] == 2) - frame["old"]
    return frame, np.digitize(worth + rng.normal(0, 0.5, 300), [5.0, 6.5])


def bound(member: Member, frame: pd.DataFrame) -> dict[str, Array]:
    """Return rows as the server binds a table's columns."""
    return bind_columns(member.inputs, {str(name): frame[name].to_numpy(dtype=object) for name in frame})


def by_kind(numeric: Any, encoder: Any, **options: Any) -> ColumnTransformer:
    return ColumnTransformer([("numbers", numeric, NUMBERS), ("words", encoder, ["city", "energy"])], **options)


def assert_right(model: Any, table: Table, score: Score, trained: slice = slice(0, 200)) -> Member:
    """Convert from the rows it was trained on, and compare on all, with values at thresholds for a start."""
    frame, labels = table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant features
        model.fit(frame[trained], labels[trained])
    member = convert(model, frame[trained])
    np.testing.assert_allclose(score(member, bound(member, frame)), asked(model, frame), atol=1e-5)
    return member


def asked(model: Any, rows: Any) -> Array:
    """Return the model's own answer; some encoders warn of unknown categories."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found unknown categories")
        return np.asarray(model.predict_proba(rows))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in STEPS]
)
def test_a_step_keeps_its_values_to_the_digit_that_decides(flats: Table, score: Score, name: str) -> None:
    step, last = STEPS[name]
    rows, labels = flats[0][NUMBERS].to_numpy(float), flats[1]
    model = make_pipeline(step(), LAST[last]()).fit(rows[:200], labels[:200])
    answer = score(convert(model, rows[:200]), {"tabular": rows})
    np.testing.assert_allclose(answer, model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_ranks_of_a_value_that_ends_the_data_many_times_are_those_of_numpy(score: Score, distribution: str) -> None:
    rng = np.random.default_rng(0)
    rows = np.clip(rng.normal(size=(300, 2)), -0.5, 0.5).astype(np.float32) * 80
    step = QuantileTransformer(n_quantiles=30, output_distribution=distribution)
    model = make_pipeline(step, LogisticRegression()).fit(rows, rows.sum(axis=1) > rng.normal(size=300))
    np.testing.assert_allclose(score(convert(model, rows), {"tabular": rows}), model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "dense" else ()) for name in ENCODERS]
)
def test_an_encoder_is_right_for_words_numbers_and_truth_values(flats: Table, score: Score, name: str) -> None:
    columns = ColumnTransformer([("coded", ENCODERS[name](), ["city", "energy", "rooms", "old", "code"])])
    model = make_pipeline(columns, LAST["linear"]())
    member = assert_right(model, flats, score)
    frame = flats[0][:3].assign(city=["atlantis", "oslo", "rome"], code=[2.5, 2.0, 9.0])
    np.testing.assert_allclose(score(member, bound(member, frame)), asked(model, frame), atol=1e-5)


def test_a_category_that_the_encoder_refuses_gets_no_score(flats: Table, score: Score) -> None:
    codes = flats[0][["code"]].to_numpy()
    member = convert(make_pipeline(OneHotEncoder(), LogisticRegression()).fit(codes, flats[1]), codes)
    answer = score(member, {"tabular": np.array([[2.0], [2.5]])})
    assert np.isfinite(answer[0]).all()
    assert np.isnan(answer[1]).all()


@pytest.mark.parametrize("remainder", ["passthrough", "drop"])
def test_columns_left_over_pass_or_are_dropped(flats: Table, score: Score, remainder: str) -> None:
    coded = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("words", coded, ["city", "energy"])], remainder=remainder)
    member = assert_right(make_pipeline(columns, LAST["forest"]()), flats, score)
    assert len(member.inputs) == (5 if remainder == "passthrough" else 2)


def test_columns_may_be_chosen_by_type_place_and_mask(flats: Table, score: Score) -> None:
    columns = ColumnTransformer(
        [
            ("floats", StandardScaler(), make_column_selector(dtype_include=np.float64)),
            ("by place", "passthrough", [2, -4]),
            ("by mask", OneHotEncoder(handle_unknown="ignore"), [False] * 4 + [True, True, False]),
        ],
        transformer_weights={"floats": 0.5},
    )
    assert_right(make_pipeline(columns, LAST["linear"]()), flats, score)


@pytest.mark.parametrize(
    ("strategy", "dtype"),
    [("mean", np.float32), ("median", np.float64), ("most_frequent", np.float32), ("constant", np.float64)],
)
def test_gaps_are_filled_and_marked(score: Score, strategy: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(dtype)
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(int)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    imputer = SimpleImputer(strategy=strategy, add_indicator=True)
    model = make_pipeline(imputer, StandardScaler(), LAST["xgboost"]()).fit(rows, labels)
    member = convert(model, rows)
    assert member.inputs[0].allow_nan
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-5)


def test_gaps_may_be_a_number_and_marked_alone(score: Score) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 3)).round(1)
    rows[rng.random(rows.shape) < 0.2] = -99
    union = make_union(SimpleImputer(missing_values=-99), MissingIndicator(missing_values=-99))
    model = make_pipeline(union, LogisticRegression()).fit(rows, (rows[:, 0] > 0).astype(int))
    np.testing.assert_allclose(score(convert(model, rows), {"tabular": rows}), model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("strategy", ["constant", "most_frequent"])
def test_missing_strings_are_filled_as_in_training(flats: Table, score: Score, strategy: str) -> None:
    frame = flats[0].copy()
    rng = np.random.default_rng(1)
    frame.loc[rng.random(300) < 0.2, "city"] = np.nan
    frame.loc[rng.random(300) < 0.2, "energy"] = np.nan
    filled = make_pipeline(
        SimpleImputer(strategy=strategy, fill_value="none" if strategy == "constant" else None),
        OneHotEncoder(handle_unknown="ignore"),
    )
    member = assert_right(make_pipeline(by_kind(StandardScaler(), filled), LAST["linear"]()), (frame, flats[1]), score)
    assert {spec.name: spec.missing for spec in member.inputs if spec.categories} == {"city": "", "energy": ""}


def test_a_missing_string_may_be_a_category_of_its_own(flats: Table, score: Score) -> None:
    frame = flats[0].copy()
    frame.loc[::5, ["city", "energy"]] = np.nan
    model = make_pipeline(by_kind(StandardScaler(), OneHotEncoder(handle_unknown="ignore")), LAST["linear"]())
    assert_right(model, (frame, flats[1]), score)


def test_missing_and_empty_strings_in_one_column_are_refused(flats: Table) -> None:
    frame = flats[0].copy()
    frame["city"] = np.where(np.arange(300) % 2, frame["city"], "")
    frame.loc[::5, "city"] = np.nan
    model = make_pipeline(by_kind(StandardScaler(), OneHotEncoder(handle_unknown="ignore")), LAST["linear"]())
    model.fit(frame, flats[1])
    with pytest.raises(ConversionError, match=r"'city' holds missing values and empty strings; .* a string of its own"):
        convert(model, frame)


def test_categories_of_a_pandas_column_may_be_numbers(flats: Table, score: Score) -> None:
    frame = flats[0][["area", "energy"]].assign(kind=pd.Categorical(flats[0]["rooms"] * 10))
    frame.loc[::7, "kind"] = np.nan
    columns = ColumnTransformer(
        [("coded", OneHotEncoder(handle_unknown="ignore"), ["kind", "energy"])], remainder="passthrough"
    )
    model = make_pipeline(columns, LAST["forest"]())
    member = assert_right(model, (frame, flats[1]), score)
    unknown = frame[:2].assign(kind=[15.0, 20.0])
    typed = unknown.assign(kind=pd.Categorical([np.nan, 20.0], dtype=frame["kind"].dtype))
    np.testing.assert_allclose(score(member, bound(member, unknown)), model.predict_proba(typed), atol=1e-5)


def test_zeros_of_a_sparse_matrix_are_missing_to_xgboost(flats: Table, score: Score) -> None:
    columns = by_kind("passthrough", OneHotEncoder(handle_unknown="ignore"), sparse_threshold=1.0)
    assert_right(make_pipeline(columns, LAST["xgboost"]()), flats, score)


def test_histogram_boosting_takes_categories_behind_a_step(flats: Table, score: Score) -> None:
    coded = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("words", coded, ["city", "energy"])], remainder="passthrough")
    last = HistGradientBoostingClassifier(max_iter=4, categorical_features=[0, 1])
    assert_right(make_pipeline(columns, last), flats, score)


def test_dates_are_refused_with_what_to_make_of_them(flats: Table) -> None:
    frame = flats[0].assign(built=pd.Timestamp("2001-02-03"))
    model = LogisticRegression(max_iter=2000).fit(frame[["area"]], flats[1])
    with pytest.raises(ConversionError, match=r"column 'built' holds dates or times \(datetime64.*days since a date"):
        convert(model, frame)


def test_numbers_of_the_other_byte_order_are_taken(flats: Table, score: Score) -> None:
    rows = flats[0][NUMBERS].to_numpy(">f8")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, flats[1])
    member = convert(model, rows)
    np.testing.assert_allclose(score(member, {"tabular": rows.astype(float)}), model.predict_proba(rows), atol=1e-6)
