from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from widedeep.export.convert import convert
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.lightgbm import parse, read
from widedeep.export.convert.lightgbm_objective import LINKS
from widedeep.export.convert.rows import assemble, read_rows
from widedeep.export.convert.trained import Wish
from widedeep.export.member import ConversionError, ParityError
from widedeep.export.parity import Claim, gather, prove
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

SMALL: dict[str, Any] = {"n_estimators": 12, "num_leaves": 6, "n_jobs": 1, "random_state": 0, "verbose": -1}


def classifier(rows: Any, labels: Array, **options: Any) -> lightgbm.LGBMClassifier:
    return lightgbm.LGBMClassifier(**SMALL | options).fit(rows, labels)


def regressor(rows: Any, target: Array, fit: dict[str, Any] | None = None, **options: Any) -> lightgbm.LGBMRegressor:
    return lightgbm.LGBMRegressor(**SMALL | options).fit(rows, target, **fit or {})


def squared(target: Array, predicted: Array) -> tuple[Array, Array]:
    return predicted - target, np.ones_like(predicted)


def rows_at_thresholds(model: Any, rows: Array) -> Array:
    """Return a real row for every split, its feature at the threshold and one float64 step to either side."""
    splits = model.booster_.trees_to_dataframe().dropna(subset=["threshold"])
    features = splits["split_feature"].str.removeprefix("Column_").astype(int).to_numpy()
    threshold = splits["threshold"].to_numpy(np.float64)
    out = np.tile(rows[np.arange(len(splits)) % len(rows)], (3, 1)).astype(np.float64)
    steps = [np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)]
    out[np.arange(len(out)), np.tile(features, 3)] = np.concatenate(steps)
    return out


def test_a_binary_classifier_has_two_columns_and_is_right_at_every_threshold(cancer: Data, score: Score) -> None:
    model = classifier(*cancer)
    member = convert(model, cancer[0])
    assert (member.task, member.classes, member.n_outputs) == ("classification", (0, 1), 2)
    probes = rows_at_thresholds(model, cancer[0])
    np.testing.assert_allclose(score(member, {"tabular": probes}), model.predict_proba(probes), atol=1e-6)


def test_a_multiclass_classifier_is_right_at_every_threshold(iris: Data, score: Score) -> None:
    model = classifier(*iris)
    probes = rows_at_thresholds(model, iris[0])
    answer = score(convert(model, iris[0]), {"tabular": probes})
    np.testing.assert_allclose(answer, model.predict_proba(probes), atol=1e-6)


def test_float32_rows_are_declared_as_such_and_compared_in_float64(iris: Data, score: Score) -> None:
    rows = iris[0].astype(np.float32)
    model = classifier(rows, iris[1])
    member = convert(model, rows)
    assert member.inputs[0].datatype == "FP32"
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-6)


def test_time_stamps_keep_all_their_digits(score: Score) -> None:
    rng = np.random.default_rng(0)
    stamps = 1.7e9 + rng.random((2000, 2)) * 100
    model = regressor(stamps, np.sin(stamps[:, 0]) + stamps[:, 1] - 1.7e9, n_estimators=40)
    probes = rows_at_thresholds(model, stamps)
    answer = score(convert(model, stamps), {"tabular": probes})
    np.testing.assert_allclose(answer[:, 0], model.predict(probes), rtol=1e-5)


@pytest.mark.parametrize("objective", ["l2", "l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"])
def test_a_regression_is_converted_with_its_link(diabetes: Data, score: Score, objective: str) -> None:
    model = regressor(*diabetes, objective=objective)
    member = convert(model, diabetes[0])
    assert (member.task, member.classes, member.n_outputs) == ("regression", (), 1)
    answer = score(member, {"tabular": diabetes[0]})
    np.testing.assert_allclose(answer[:, 0], model.predict(diabetes[0]), rtol=1e-5)


@pytest.mark.parametrize("boosting", ["rf", "dart", "goss"])
def test_other_ways_to_boost_are_right_too(iris: Data, score: Score, boosting: str) -> None:
    options = {"subsample": 0.7, "subsample_freq": 1} if boosting == "rf" else {}
    model = classifier(*iris, boosting_type=boosting, **options)
    answer = score(convert(model, iris[0]), {"tabular": iris[0]})
    np.testing.assert_allclose(answer, model.predict_proba(iris[0]), atol=1e-6)


def test_it_stops_where_early_stopping_did(iris: Data, score: Score) -> None:
    rows, labels = iris
    train = lightgbm.Dataset(rows[::2], labels[::2])
    model = lightgbm.train(
        {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1},
        train,
        80,
        valid_sets=[train.create_valid(rows[1::2], labels[1::2])],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
        keep_training_booster=True,  # otherwise the later rounds are thrown away
    )
    assert model.best_iteration < 80
    answer = score(convert(model, rows), {"tabular": rows})
    np.testing.assert_allclose(answer, model.predict(rows), atol=1e-6)
    assert np.abs(answer - model.predict(rows, num_iteration=-1)).max() > 1e-3


def test_missing_values_seen_in_training_follow_the_trained_direction(cancer: Data, score: Score) -> None:
    rows = cancer[0].copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    model = classifier(rows, cancer[1])
    member = convert(model, rows)
    assert member.inputs[0].allow_nan
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-6)


def test_missing_values_never_seen_in_training_count_as_zero(diabetes: Data, score: Score) -> None:
    model = regressor(*diabetes)
    rows = diabetes[0].copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.3] = np.nan
    answer = score(convert(model, diabetes[0]), {"tabular": rows})
    np.testing.assert_allclose(answer[:, 0], model.predict(rows), rtol=1e-5)


def test_values_next_to_zero_count_as_zero(diabetes: Data, score: Score) -> None:
    rows = np.where(np.abs(diabetes[0]) < 0.03, 0, diabetes[0])
    model = regressor(rows, diabetes[1])
    tiny = float(np.float32(1e-35))
    probes = np.tile(rows[:10], (6, 1))
    probes[:, :] = np.where(probes == 0, np.repeat([0, tiny, -tiny, 2 * tiny, -2 * tiny, 1e-300], 10)[:, None], probes)
    answer = score(convert(model, rows), {"tabular": probes})
    np.testing.assert_allclose(answer[:, 0], model.predict(probes), rtol=1e-5)


def test_categories_as_whole_numbers_are_split_by_membership(diabetes: Data, score: Score) -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 70, len(diabetes[0]))
    rows = np.column_stack([diabetes[0][:, :3], kinds])
    options = {"min_child_samples": 2, "min_data_per_group": 2, "cat_smooth": 1.0}
    model = regressor(rows, diabetes[1] + 40 * (kinds % 7), fit={"categorical_feature": [3]}, **options)
    assert "num_cat=0" not in model.booster_.model_to_string().split("Tree=1")[0]
    probes = np.tile(rows[:8], (9, 1))
    probes[:, 3] = np.repeat([0, 7, 7.5, 69, 70, 1000, -1, -0.5, np.nan], 8)
    answer = score(convert(model, rows), {"tabular": probes})
    np.testing.assert_allclose(answer[:, 0], model.predict(probes), rtol=1e-5)


def test_columns_of_a_frame_are_matched_whatever_their_spelling(cancer: Data, score: Score) -> None:
    frame = pd.DataFrame(cancer[0][:, :3], columns=["mean radius", "texture", "area"])
    model = classifier(frame[["area", "mean radius"]], cancer[1])
    member = convert(model, frame)
    assert member.inputs[0].feature_names == ("mean radius", "texture", "area")
    answer = score(member, {"tabular": frame.to_numpy()})
    np.testing.assert_allclose(answer, model.predict_proba(frame[["area", "mean radius"]]), atol=1e-6)


def test_integers_pass_through_the_type_that_lightgbm_gives_them(diabetes: Data, score: Score) -> None:
    rows = (diabetes[0] * 1e9).astype(np.int64)
    model = regressor(rows, diabetes[1])
    answer = score(convert(model, rows), {"tabular": rows})
    np.testing.assert_allclose(answer[:, 0], model.predict(rows), rtol=1e-5)


def test_labels_may_be_strings(iris: Data) -> None:
    names = np.array(["setosa", "versicolor", "virginica"])
    assert convert(classifier(iris[0], names[iris[1]]), iris[0]).classes == ("setosa", "versicolor", "virginica")


def test_converting_twice_gives_the_same_bytes(iris: Data) -> None:
    first, second = (convert(classifier(*iris), iris[0]) for _ in range(2))
    assert first.graph == second.graph


def test_the_gate_finds_thresholds_that_were_rounded_to_float32(cancer: Data) -> None:
    """Rows of ordinary precision alone do not show it."""
    model = classifier(*cancer)
    trained = read(model, read_rows(cancer[0], input_name="tabular"), Wish())
    boosted = parse(model)
    rounded = [replace(t, threshold=t.threshold.astype(np.float32).astype(np.float64)) for t in boosted.trees.trees]
    graph = Graph()
    faulty = replace(boosted, trees=replace(boosted.trees, trees=rounded))
    finished = graph.finish(faulty.append(graph, assemble(graph, trained.rows, np.float64)), 2)
    claim = Claim(tuple(trained.rows.specs.values()), "classification", 2, trained.native, trained.rows.arrays, {})
    assert prove(finished.data, claim, gather(claim)).rows == len(cancer[0])
    informed = replace(claim, thresholds=trained.thresholds)
    with pytest.raises(ParityError, match="Worst is probe"):
        prove(finished.data, informed, gather(informed))


def test_one_against_all_is_refused_since_its_scores_are_no_distribution(iris: Data) -> None:
    with pytest.raises(ConversionError, match="multiclassova answers probabilities that do not sum to one; train with"):
        convert(classifier(*iris, objective="multiclassova"), iris[0])


def test_a_classifier_with_an_objective_of_ones_own_is_refused(iris: Data) -> None:
    model = classifier(iris[0], iris[1] > 0, objective=squared)
    with pytest.raises(ConversionError, match="with an objective of its own answers no probabilities"):
        convert(model, iris[0])


def test_a_classifier_that_predicts_values_is_refused(iris: Data) -> None:
    model = classifier(iris[0], iris[1] > 0, objective="l2")
    with pytest.raises(ConversionError, match="LGBMClassifier with regression answers no probabilities"):
        convert(model, iris[0])


def test_skipping_trees_row_by_row_is_refused(cancer: Data) -> None:
    with pytest.raises(ConversionError, match="pred_early_stop is not converted: it skips trees row by row"):
        convert(classifier(*cancer, pred_early_stop=True), cancer[0])


def test_an_objective_that_is_not_on_the_list_is_refused_by_name(
    diabetes: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every objective of this release is on the list, so that one is taken off it."""
    monkeypatch.delitem(LINKS, "gamma")
    with pytest.raises(ConversionError, match="objective gamma is not converted: write it to ONNX yourself"):
        convert(regressor(*diabetes, objective="gamma"), diabetes[0])


def test_an_estimator_that_is_not_fitted_is_refused(cancer: Data) -> None:
    with pytest.raises(ConversionError, match="LGBMClassifier is not fitted; fit it first"):
        convert(lightgbm.LGBMClassifier(), cancer[0])
