"""scikit-learn's histogram gradient boosting against itself, at its thresholds and with categories it does not know."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from widedeep.export.convert import convert
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

SMALL: dict[str, Any] = {"max_iter": 8, "max_leaf_nodes": 6, "random_state": 0}


def at_thresholds(model: Any, rows: Array) -> Array:
    """Return a real row for every split on a number, at the threshold and one step to either side."""
    nodes = np.concatenate([predictor.nodes for step in model._predictors for predictor in step])
    nodes = nodes[(nodes["is_leaf"] == 0) & (nodes["is_categorical"] == 0)]
    threshold = nodes["num_threshold"]
    out = np.tile(rows[np.arange(len(nodes)) % len(rows)], (3, 1))
    steps = [np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)]
    out[np.arange(len(out)), np.tile(nodes["feature_idx"].astype(int), 3)] = np.concatenate(steps)
    return out


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "gamma", "poisson", "quantile"])
def test_a_regression_is_right_with_every_loss(diabetes: Data, score: Score, loss: str) -> None:
    options = {"quantile": 0.3} if loss == "quantile" else {}
    model = HistGradientBoostingRegressor(loss=loss, **SMALL, **options).fit(*diabetes)
    probes = at_thresholds(model, diabetes[0])
    scored = score(convert(model, diabetes[0]), {"tabular": probes})
    np.testing.assert_allclose(scored[:, 0], model.predict(probes), rtol=1e-5)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_classifier_takes_missing_values_as_trained(iris: Data, score: Score, n_classes: int) -> None:
    rows, labels = iris[0].copy(), np.minimum(iris[1], n_classes - 1)
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    model = HistGradientBoostingClassifier(**SMALL).fit(rows, labels)
    member = convert(model, rows)
    assert (member.n_outputs, member.inputs[0].allow_nan) == (n_classes, True)
    probes = np.concatenate([rows, at_thresholds(model, rows)])
    np.testing.assert_allclose(score(member, {"tabular": probes}), model.predict_proba(probes), atol=1e-6)


def test_categories_that_are_numbers_are_right_and_unknown_ones_are_missing(diabetes: Data, score: Score) -> None:
    """The columns of categories come first inside the model, wherever they stand."""
    kinds = (np.arange(len(diabetes[0])) % 30) * 2.5 - 10
    rows = np.column_stack([diabetes[0][:, 0], kinds, diabetes[0][:, 2]])
    target = diabetes[1] + 100 * (kinds % 3 == 0)
    model = HistGradientBoostingRegressor(categorical_features=[1], **SMALL).fit(rows, target)
    probes = np.tile(rows[:8], (9, 1))
    probes[:, 1] = np.repeat([-10, -7.5, -7.4, 0, 1, 62.5, 65, -100, np.nan], 8)
    scored = score(convert(model, rows), {"tabular": probes})
    np.testing.assert_allclose(scored[:, 0], model.predict(probes), rtol=1e-5)


@pytest.mark.parametrize("features", ["from_dtype", ["word"]])
def test_words_are_right_and_an_unknown_one_is_missing(diabetes: Data, score: Score, features: Any) -> None:
    frame = pd.DataFrame(diabetes[0][:, :2], columns=["age", "sex"])
    frame.insert(1, "word", np.array(["red", "grün", "a b", "7"], object)[np.arange(len(frame)) % 4])
    if features == "from_dtype":
        frame["word"] = frame["word"].astype("category")
    target = diabetes[1] + 100 * frame["word"].isin(["red", "7"])
    model = HistGradientBoostingRegressor(categorical_features=features, **SMALL).fit(frame, target)
    given = frame["word"].astype(object).to_numpy(copy=True)
    given[::5] = "unseen"
    tensors = {"tabular": frame[["age", "sex"]].to_numpy(), "word": given[:, np.newaxis]}
    scored = score(convert(model, frame), tensors)
    is_known = frame["word"].where(given != "unseen", None) if features == "from_dtype" else given
    expected = model.predict(frame.assign(word=is_known))
    np.testing.assert_allclose(scored[:, 0], expected, rtol=1e-5)
