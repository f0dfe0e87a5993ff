"""What XGBoost does beyond one sum of trees of numbers, each against the model itself on rows at its thresholds."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xgboost
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

SMALL: dict[str, Any] = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1, "random_state": 0}


def classifier(rows: Any, labels: Array, **options: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(**SMALL | options).fit(rows, labels)


def regressor(rows: Any, target: Array, **options: Any) -> xgboost.XGBRegressor:
    return xgboost.XGBRegressor(enable_categorical=True, **SMALL | options).fit(rows, target)


def booster(rows: Any, labels: Array, objective: str, **options: Any) -> xgboost.Booster:
    data = xgboost.DMatrix(rows, labels)
    if objective.startswith("rank:"):
        data.set_group([len(rows) // 2, len(rows) - len(rows) // 2])
    return xgboost.train({"objective": objective, "max_depth": 3, "nthread": 1} | options, data, 4)


def answer(model: Any, rows: Any) -> Array:
    if isinstance(model, xgboost.Booster):
        rows, ask = xgboost.DMatrix(rows, enable_categorical=True), model.predict
    else:
        ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    scores = np.asarray(ask(rows))
    return scores.reshape(len(scores), -1)


def spoilt(rows: Array) -> Array:
    """Return the rows with every tenth value missing, and rounded so that many lie on thresholds."""
    out = np.round(rows, 2)
    out[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    return out


EVERY: Mapping[str, Callable[[Array, Array, Array], Any]] = {
    "dart, a classifier": lambda x, y, _: classifier(x, y, booster="dart", rate_drop=0.5),
    "dart, a regression": lambda x, _, t: regressor(x, t, booster="dart", rate_drop=0.5),
    "a linear booster": lambda x, _, t: regressor(x, t, booster="gblinear", verbosity=0),
    "a linear booster of several targets": lambda x, _, t: regressor(x, t_of(t), booster="gblinear", verbosity=0),
    "a linear classifier": lambda x, y, _: classifier(x, y, booster="gblinear", verbosity=0),
    "several targets, a tree for each": lambda x, _, t: regressor(x, t_of(t)),
    "several targets in every leaf": lambda x, _, t: regressor(x, t_of(t), multi_strategy="multi_output_tree"),
    "several classes in every leaf": lambda x, y, _: classifier(x, y, multi_strategy="multi_output_tree"),
    "several quantiles": lambda x, _, t: regressor(x, t, objective="reg:quantileerror", quantile_alpha=[0.1, 0.5, 0.9]),
    "a forest": lambda x, y, _: xgboost.XGBRFClassifier(**SMALL).fit(x, y),
    "a forest of several targets": lambda x, _, t: xgboost.XGBRFRegressor(**SMALL).fit(x, t_of(t)),
    "boosted forests": lambda x, y, _: classifier(x, y, num_parallel_tree=3),
    "pruned trees": lambda x, _, t: booster(x, t, "reg:squarederror", tree_method="exact", gamma=20000.0),
    "some trees of one leaf": lambda x, y, _: classifier(x, y, gamma=9.0),
    "shares": lambda x, _, t: regressor(x, t / 400, objective="reg:logistic"),
    "shares, classified": lambda x, y, _: classifier(x, y > 0, objective="reg:logistic"),
    "labels, whose probabilities are asked": lambda x, y, _: classifier(x, y, objective="multi:softmax"),
    "survival, cox": lambda x, _, t: booster(x, t, "survival:cox"),
    "ranking": lambda x, y, _: booster(x, y, "rank:ndcg"),
    "log-odds": lambda x, y, _: booster(x, y > 0, "binary:logitraw"),
    "a base score for each class": lambda x, y, _: classifier(x, y, base_score=[0.2, 0.5, 0.3]),
    "an objective of one's own": lambda x, _, t: regressor(x, t, objective=lambda a, b: (b - a, np.ones_like(b))),
    "monotone": lambda x, _, t: regressor(x, t, monotone_constraints=(1, -1, 0, 0)),
}


def t_of(target: Array) -> Array:
    return np.column_stack([target, -target, target**2 / 100])


@pytest.mark.parametrize("name", EVERY)
def test_it_is_right(diabetes: Data, score: Score, name: str) -> None:
    rows, target = spoilt(diabetes[0][:, :4]), diabetes[1]
    model = EVERY[name](rows, np.digitize(target, [100, 200]), target)
    member = convert(model, rows)
    expected = answer(model, rows)
    assert member.n_outputs == expected.shape[1]
    np.testing.assert_allclose(score(member, {"tabular": rows}), expected, rtol=1e-5, atol=1e-5)


def test_survival_times_are_right(diabetes: Data, score: Score) -> None:
    data = xgboost.DMatrix(diabetes[0])
    data.set_float_info("label_lower_bound", diabetes[1])
    data.set_float_info("label_upper_bound", diabetes[1] * 2)
    model = xgboost.train({"objective": "survival:aft", "nthread": 1}, data, 4)
    scored = score(convert(model, diabetes[0]), {"tabular": diabetes[0]})
    np.testing.assert_allclose(scored, answer(model, diabetes[0]), rtol=1e-5)


@pytest.mark.parametrize("missing", [-1.0, 0.0, 1e-50])
def test_another_value_than_nan_may_stand_for_a_missing_one(diabetes: Data, score: Score, missing: float) -> None:
    rows = np.where(np.random.default_rng(0).random(diabetes[0].shape) < 0.2, missing, diabetes[0])
    model = regressor(rows, diabetes[1], missing=missing)
    probes = np.concatenate([rows, np.where(rows == missing, np.nan, rows), np.where(rows == missing, 0, rows)])
    scored = score(convert(model, rows), {"tabular": probes})
    np.testing.assert_allclose(scored, answer(model, probes), rtol=1e-5)
    assert np.abs(scored - answer(model, np.nan_to_num(probes) + 1)).max() > 1


def test_several_labels_are_served_as_values_if_asked_for(cancer: Data, score: Score) -> None:
    model = classifier(cancer[0], np.column_stack([cancer[1], 1 - cancer[1], cancer[0][:, 0] > 15]))
    member = convert(model, cancer[0], task="regression")
    assert (member.task, member.n_outputs) == ("regression", 3)
    scored = score(member, {"tabular": cancer[0]})
    np.testing.assert_allclose(scored, model.predict_proba(cancer[0]), atol=1e-6)


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_a_booster_from_a_file_is_right(iris: Data, score: Score, tmp_path: Path, form: str) -> None:
    classifier(*iris).save_model(tmp_path / f"model.{form}")
    model = xgboost.Booster(model_file=tmp_path / f"model.{form}")
    scored = score(convert(model, iris[0]), {"tabular": iris[0]})
    np.testing.assert_allclose(scored, answer(model, iris[0]), atol=1e-6)


@pytest.mark.parametrize("onehot", [1, 100])
@pytest.mark.parametrize("booster_of", [False, True])
def test_categories_given_as_codes_are_right(diabetes: Data, score: Score, onehot: int, booster_of: bool) -> None:
    """Whether a split is by one category or by a set of them."""
    rows = diabetes[0][:, :3].copy()
    rows[:, 2] = np.arange(len(rows)) % 40
    target = diabetes[1] + 100 * np.isin(rows[:, 2] % 7, [1, 3])
    options = {"feature_types": ["q", "q", "c"], "max_cat_to_onehot": onehot}
    estimator = regressor(rows, target, **options)
    model = estimator.get_booster() if booster_of else estimator
    probes = np.tile(rows[:8], (12, 1))
    probes[:, 2] = np.repeat([0, 1, 1.5, 3.75, 39, 40, 1000, -1, -0.5, 2**24, np.nan, 7], 8)
    scored = score(convert(model, rows), {"tabular": probes})
    np.testing.assert_allclose(scored, answer(model, probes), rtol=1e-5)


def worded(rows: Array, words: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows[:, :2], columns=["age", "sex"])
    place = np.random.default_rng(0).integers(0, len(words), len(rows))
    frame["word"] = pd.Categorical.from_codes(place, categories=words)
    return frame


def with_unseen(frame: pd.DataFrame) -> tuple[Array, pd.DataFrame]:
    """Return words of which every fifth was not seen in training, and the frame with them as pandas keeps them."""
    given = frame["word"].astype(object).to_numpy(copy=True)
    given[::5] = "unseen"
    missing = frame["word"].mask(given == "unseen")
    return given[:, np.newaxis], frame.assign(word=missing)


@pytest.mark.parametrize("words", [["red", "green", "blue", "a b", "7"], ["rot", "grün", "weiß", "é"]])
def test_words_are_looked_up_and_an_unseen_one_is_missing(diabetes: Data, score: Score, words: list[str]) -> None:
    frame = worded(diabetes[0], words)
    model = regressor(frame, diabetes[1] + 100 * (frame["word"].cat.codes % 2))
    member = convert(model, frame)
    word = next(spec for spec in member.inputs if spec.name == "word")
    assert (word.datatype, word.categories) == ("BYTES", tuple(words))
    given, seen = with_unseen(frame)
    tensors = {"tabular": frame[["age", "sex"]].to_numpy(), "word": given}
    expected = answer(model, seen)
    np.testing.assert_allclose(score(member, tensors), expected, rtol=1e-5)


def test_words_beyond_ascii_need_the_order_of_training(diabetes: Data) -> None:
    frame = worded(diabetes[0], ["rot", "grün", "weiß", "é"])
    model = regressor(frame, diabetes[1] + 100 * (frame["word"].cat.codes % 2))
    other = frame.assign(word=frame["word"].cat.reorder_categories(["é", "grün", "rot", "weiß"]))
    with pytest.raises(ConversionError, match="'word' are not all ASCII, and XGBoost keeps such names only in part"):
        convert(model, other)


def test_words_where_training_had_numbers_are_refused(diabetes: Data) -> None:
    frame = worded(diabetes[0], ["1", "2", "3"])
    model = regressor(frame.astype({"word": float}), diabetes[1])
    with pytest.raises(ConversionError, match="column 'word' holds strings, but the model was trained on numbers"):
        convert(model, frame)


def test_a_word_whose_code_stands_for_missing_is_missing(diabetes: Data, score: Score) -> None:
    """XGBoost compares codes with `missing` too."""
    frame = worded(diabetes[0], ["red", "green", "blue"])
    model = regressor(frame, diabetes[1] + 100 * (frame["word"].cat.codes % 2), missing=0.0)
    tensors = {"tabular": frame[["age", "sex"]].to_numpy(), "word": frame[["word"]].to_numpy(object)}
    np.testing.assert_allclose(score(convert(model, frame), tensors), answer(model, frame), rtol=1e-5)


def test_what_a_sparse_matrix_leaves_out_is_served_as_nan(cancer: Data, score: Score) -> None:
    dense = np.where(cancer[0] < np.median(cancer[0], axis=0), 0, cancer[0])
    matrix = scipy.sparse.csr_matrix(dense)
    model = classifier(matrix, cancer[1])
    with pytest.raises(ConversionError, match="for XGBoost with NaN where the matrix holds nothing"):
        convert(model, matrix)
    rows = np.where(dense == 0, np.nan, dense)
    scored = score(convert(model, rows), {"tabular": rows})
    np.testing.assert_allclose(scored, model.predict_proba(matrix), atol=1e-6)
    assert np.abs(model.predict_proba(dense) - scored).max() > 0.1


def test_a_model_that_answers_one_number_proves_nothing(diabetes: Data) -> None:
    with pytest.raises(ConversionError, match="vary by only 0 over the 442 rows given, so agreement would prove noth"):
        convert(regressor(*diabetes, gamma=1e9), diabetes[0])


def test_columns_of_numbers_that_are_categories_are_looked_up(diabetes: Data, score: Score) -> None:
    frame = pd.DataFrame(diabetes[0][:, :2], columns=["age", "sex"])
    frame["size"] = pd.Categorical.from_codes(np.arange(len(frame)) % 5, categories=[50, 10, 40, 20, 30])
    model = regressor(frame, diabetes[1] + 100 * (frame["size"].cat.codes % 2))
    member = convert(model, frame)
    given = np.where(np.arange(len(frame)) % 7, frame["size"].astype(int), 99)[:, np.newaxis]
    named = {spec.feature_names: spec.name for spec in member.inputs}
    tensors = {named["age", "sex"]: frame[["age", "sex"]].to_numpy(), named["size",]: given}
    expected = answer(model, frame.assign(size=frame["size"].mask(given[:, 0] == 99)))
    np.testing.assert_allclose(score(member, tensors), expected, rtol=1e-5)
