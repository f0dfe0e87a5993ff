"""What LightGBM does beyond one sum of trees of numbers, each against the model itself."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from widedeep.export.convert import convert
from widedeep.export.member import ConversionError
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

SMALL: dict[str, Any] = {"n_estimators": 8, "num_leaves": 6, "n_jobs": 1, "random_state": 0, "verbose": -1}
FINE: dict[str, Any] = {"min_child_samples": 2, "min_data_per_group": 2, "cat_smooth": 1.0}
QUIET: dict[str, Any] = {"num_threads": 1, "verbose": -1, "num_leaves": 6}


def classifier(rows: Any, labels: Array, **options: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(**SMALL | options).fit(rows, labels)


def regressor(rows: Any, target: Array, fit: dict[str, Any] | None = None, **options: Any) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(**SMALL | options).fit(rows, target, **fit or {})


def booster(rows: Array, labels: Array, objective: str, **options: Any) -> lightgbm.Booster:
    return lightgbm.train(QUIET | {"objective": objective} | options, lightgbm.Dataset(rows, labels), 4)


def continued(rows: Array, target: Array) -> lightgbm.Booster:
    """Train on complete rows and then on with missing values, which later trees take otherwise."""
    first = lightgbm.train(QUIET, lightgbm.Dataset(np.nan_to_num(rows), target), 4)
    return lightgbm.train(QUIET, lightgbm.Dataset(rows, target), 4, init_model=first)


def answer(model: Any, rows: Any) -> Array:
    ask = model.predict_proba if hasattr(model, "predict_proba") else model.predict
    scores = np.asarray(ask(rows))
    return scores.reshape(len(scores), -1)


def spoilt(rows: Array) -> Array:
    """Return the rows with every tenth value missing and many zero."""
    out = np.where(np.abs(rows) < 0.02, 0, rows)
    out[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    return out


FOREST = {"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1}
EVERY: Mapping[str, Callable[[Array, Array, Array], Any]] = {
    "a forest": lambda x, y, _: classifier(x, y, **FOREST),
    "dart": lambda x, _, t: regressor(x, t, boosting_type="dart"),
    "extra trees": lambda x, _, t: regressor(x, t, extra_trees=True),
    "linear trees": lambda x, _, t: regressor(x, t, linear_tree=True),
    "linear trees of classes": lambda x, y, _: classifier(x, y, linear_tree=True),
    "linear trees of a forest": lambda x, _, t: regressor(x, t, linear_tree=True, **FOREST),
    "zero as missing": lambda x, _, t: regressor(x, t, zero_as_missing=True),
    "zero as missing, classes": lambda x, y, _: classifier(x, y, zero_as_missing=True),
    "no missing values at all": lambda x, _, t: regressor(x, t, use_missing=False),
    "the root of the target": lambda x, _, t: regressor(x, t, reg_sqrt=True),
    "a steeper sigmoid": lambda x, y, _: classifier(x, y > 0, sigmoid=2.0),
    "shares": lambda x, _, t: regressor(x, t / 400, objective="cross_entropy"),
    "shares, with a log link": lambda x, _, t: regressor(x, t / 400, objective="cross_entropy_lambda"),
    "classes by cross entropy": lambda x, y, _: classifier(x, y > 0, objective="cross_entropy"),
    "ranking": lambda x, y, _: lightgbm.LGBMRanker(**SMALL).fit(x, y, group=[142, 300]),
    "an objective of one's own": lambda x, _, t: regressor(x, t, objective=lambda a, b: (b - a, np.ones_like(b))),
    "trained on from another model": lambda x, _, t: continued(x, t),
    "some trees of one leaf": lambda x, y, _: classifier(x, y, min_child_samples=120, n_estimators=3),
    "monotone": lambda x, _, t: regressor(x, t, monotone_constraints=[1, -1, 0, 0]),
}


@pytest.mark.filterwarnings("ignore:Found .linear_tree.:UserWarning")
@pytest.mark.parametrize("name", EVERY)
def test_it_is_right(diabetes: Data, score: Score, name: str) -> None:
    rows, target = spoilt(diabetes[0][:, :4]), diabetes[1]
    model = EVERY[name](rows, np.digitize(target, [100, 200]), target)
    member = convert(model, rows)
    probes = np.concatenate([rows, np.where(rows == 0, 1e-36, rows), np.nan_to_num(rows), -rows])
    expected = answer(model, probes)
    assert member.n_outputs == expected.shape[1]
    np.testing.assert_allclose(score(member, {"tabular": probes}), expected, rtol=1e-5, atol=1e-6)


def test_one_against_all_is_served_as_values_if_asked_for(iris: Data, score: Score) -> None:
    model = classifier(*iris, objective="multiclassova", sigmoid=1.5)
    member = convert(model, iris[0], task="regression")
    assert (member.task, member.n_outputs) == ("regression", 3)
    np.testing.assert_allclose(score(member, {"tabular": iris[0]}), model.predict_proba(iris[0]), atol=1e-6)


def test_a_booster_from_a_text_file_is_right(iris: Data, score: Score, tmp_path: Path) -> None:
    booster(*iris, "multiclass", num_class=3).save_model(tmp_path / "model.txt")
    model = lightgbm.Booster(model_file=tmp_path / "model.txt")
    member = convert(model, iris[0])
    assert (member.task, member.classes) == ("classification", (0, 1, 2))
    np.testing.assert_allclose(score(member, {"tabular": iris[0]}), answer(model, iris[0]), atol=1e-6)


def worded(rows: Array) -> pd.DataFrame:
    frame = pd.DataFrame(rows[:, :2], columns=["age", "sex"])
    words = np.array(["red", "grün", "a b", "7", ""], object)
    frame["word"] = pd.Categorical(words[np.arange(len(rows)) % 5], categories=words)
    frame["size"] = pd.Categorical(np.array(["s", "m", "l"], object)[np.arange(len(rows)) % 3])
    return frame


@pytest.mark.parametrize("from_text", [False, True])
def test_words_are_looked_up_and_an_unseen_one_is_missing(diabetes: Data, score: Score, from_text: bool) -> None:
    frame = worded(diabetes[0])
    target = diabetes[1] + 100 * (frame["word"].cat.codes % 2) + 50 * frame["size"].cat.codes
    model: Any = regressor(frame, target, **FINE)
    model = lightgbm.Booster(model_str=model.booster_.model_to_string()) if from_text else model
    member = convert(model, frame)
    given = frame["word"].astype(object).to_numpy(copy=True)
    given[::5] = "unseen"
    tensors = {
        "tabular": frame[["age", "sex"]].to_numpy(),
        "word": given[:, np.newaxis],
        "size": frame[["size"]].to_numpy(object),
    }
    expected = answer(model, frame.assign(word=frame["word"].mask(given == "unseen")))
    np.testing.assert_allclose(score(member, tensors), expected, rtol=1e-5)


def test_words_need_as_many_columns_of_categories_as_training_had(diabetes: Data) -> None:
    frame = worded(diabetes[0])
    model = regressor(frame, diabetes[1], **FINE)
    with pytest.raises(ConversionError, match="trained on 2 columns of categories, and 1 of the rows' columns hold"):
        convert(model, frame.assign(size=np.arange(len(frame)) % 3))


def test_words_where_training_had_numbers_are_refused(diabetes: Data) -> None:
    frame = worded(diabetes[0])
    model = regressor(frame.assign(word=1.0, size=np.arange(len(frame)) % 3), diabetes[1])
    with pytest.raises(ConversionError, match="column 'word' holds strings, but the model was trained on numbers"):
        convert(model, frame)
