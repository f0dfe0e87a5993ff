from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from widedeep.export.convert import convert
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.rows import assemble, read_rows
from widedeep.export.convert.trained import Wish
from widedeep.export.convert.xgboost import parse, read
from widedeep.export.convert.xgboost_objective import LINKS
from widedeep.export.member import ConversionError, ParityError
from widedeep.export.parity import Claim, gather, prove
from widedeep.serving.contract.tensors import Array

from .conftest import Data, Score

SMALL: dict[str, Any] = {"n_estimators": 12, "max_depth": 3, "n_jobs": 1, "random_state": 0}
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def classifier(rows: Array, labels: Array, **options: Any) -> xgboost.XGBClassifier:
    return xgboost.XGBClassifier(**SMALL | options).fit(rows, labels)


def regressor(rows: Array, target: Array, **options: Any) -> xgboost.XGBRegressor:
    return xgboost.XGBRegressor(**SMALL | options).fit(rows, target)


def booster(rows: Array, labels: Array, objective: str, rounds: int = 3, **options: Any) -> xgboost.Booster:
    parameters = {"objective": objective, "max_depth": 3, "nthread": 1} | options
    return xgboost.train(parameters, xgboost.DMatrix(rows, labels), rounds)


def rows_at_thresholds(model: Any, rows: Array) -> Array:
    """Return a real row for every split, its feature at the threshold and one float32 step to either side."""
    splits = model.get_booster().trees_to_dataframe().query("Feature != 'Leaf'")
    features = splits["Feature"].str[1:].astype(int).to_numpy()
    threshold = splits["Split"].to_numpy(np.float32)
    steps = [np.nextafter(threshold, np.float32(-np.inf)), threshold, np.nextafter(threshold, np.float32(np.inf))]
    out = np.tile(rows[np.arange(len(splits)) % len(rows)], (3, 1))
    out[np.arange(len(out)), np.tile(features, 3)] = np.concatenate(steps)
    return out


@FLOATS
def test_a_binary_classifier_has_two_columns_and_is_right_at_every_threshold(
    cancer: Data, score: Score, dtype: type
) -> None:
    rows, labels = cancer[0].astype(dtype), cancer[1]
    model = classifier(rows, labels)
    member = convert(model, rows)
    assert (member.task, member.classes, member.n_outputs) == ("classification", (0, 1), 2)
    probes = rows_at_thresholds(model, rows)
    np.testing.assert_allclose(score(member, {"tabular": probes}), model.predict_proba(probes), atol=1e-6)


@FLOATS
def test_a_multiclass_classifier_is_right_at_every_threshold(iris: Data, score: Score, dtype: type) -> None:
    rows, labels = iris[0].astype(dtype), iris[1]
    model = classifier(rows, labels)
    member = convert(model, rows)
    assert member.classes == (0, 1, 2)
    probes = rows_at_thresholds(model, rows)
    np.testing.assert_allclose(score(member, {"tabular": probes}), model.predict_proba(probes), atol=1e-6)


@pytest.mark.parametrize(
    "objective",
    ["reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:gamma", "reg:tweedie", "count:poisson"],
)
def test_a_regression_is_converted_with_its_link(diabetes: Data, score: Score, objective: str) -> None:
    model = regressor(diabetes[0], diabetes[1] / 100, objective=objective)
    member = convert(model, diabetes[0])
    assert (member.task, member.classes, member.n_outputs) == ("regression", (), 1)
    probes = rows_at_thresholds(model, diabetes[0])
    np.testing.assert_allclose(score(member, {"tabular": probes})[:, 0], model.predict(probes), rtol=1e-5)


def test_a_logistic_regression_of_a_share_is_a_regression(cancer: Data) -> None:
    assert convert(regressor(*cancer, objective="reg:logistic"), cancer[0]).task == "regression"


def test_one_quantile_is_a_regression(diabetes: Data) -> None:
    model = regressor(*diabetes, objective="reg:quantileerror", quantile_alpha=0.9)
    assert convert(model, diabetes[0]).n_outputs == 1


def test_a_random_forest_adds_up_all_its_parallel_trees(iris: Data, score: Score) -> None:
    model = xgboost.XGBRFClassifier(**SMALL).fit(*iris)
    answer = score(convert(model, iris[0]), {"tabular": iris[0]})
    np.testing.assert_allclose(answer, model.predict_proba(iris[0]), atol=1e-6)


def test_an_estimator_stops_where_early_stopping_did_and_its_booster_does_not(iris: Data, score: Score) -> None:
    rows, labels = iris
    model = xgboost.XGBClassifier(**SMALL | {"n_estimators": 60, "early_stopping_rounds": 3})
    model.fit(rows[::2], labels[::2], eval_set=[(rows[1::2], labels[1::2])], verbose=False)
    raw = model.get_booster()
    assert model.best_iteration + 1 < raw.num_boosted_rounds()
    stopped, all_rounds = (score(convert(m, rows), {"tabular": rows}) for m in (model, raw))
    np.testing.assert_allclose(stopped, model.predict_proba(rows), atol=1e-6)
    np.testing.assert_allclose(all_rounds, raw.predict(xgboost.DMatrix(rows)), atol=1e-6)
    assert np.abs(stopped - all_rounds).max() > 1e-3


def test_missing_values_follow_the_trained_direction(cancer: Data, score: Score) -> None:
    rows = cancer[0].copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    model = classifier(rows, cancer[1])
    member = convert(model, rows)
    assert member.inputs[0].allow_nan
    np.testing.assert_allclose(score(member, {"tabular": rows}), model.predict_proba(rows), atol=1e-6)


def test_a_booster_takes_its_class_names_from_the_caller(iris: Data) -> None:
    model = booster(*iris, "multi:softprob", num_class=3)
    assert convert(model, iris[0]).classes == (0, 1, 2)
    assert convert(model, iris[0], classes=["setosa", "versicolor", "virginica"]).classes[1] == "versicolor"
    with pytest.raises(ConversionError, match="2 classes were given, the model has 3"):
        convert(model, iris[0], classes=["a", "b"])


def test_a_frame_is_matched_by_name_and_integers_keep_their_type(cancer: Data, score: Score) -> None:
    frame = pd.DataFrame(cancer[0][:, :4], columns=["mean radius", "texture", "perimeter", "area"])
    frame["count"] = np.arange(len(frame)) % 7
    trained = frame[["area", "count", "mean radius"]]
    model = classifier(trained, cancer[1])
    member = convert(model, frame)
    assert {spec.name: spec.feature_names for spec in member.inputs} == {
        "tabular_fp64": ("mean radius", "texture", "perimeter", "area"),
        "tabular_int64": ("count",),
    }
    tensors = {"tabular_fp64": frame.iloc[:, :4].to_numpy(), "tabular_int64": frame[["count"]].to_numpy()}
    np.testing.assert_allclose(score(member, tensors), model.predict_proba(trained), atol=1e-6)


def test_integers_beyond_float32_are_rounded_as_xgboost_rounds_them(diabetes: Data, score: Score) -> None:
    rows = (diabetes[0] * 1e9).astype(np.int64)
    model = regressor(rows, diabetes[1])
    answer = score(convert(model, rows), {"tabular": rows})
    np.testing.assert_allclose(answer[:, 0], model.predict(rows), rtol=1e-5)


def test_converting_twice_gives_the_same_bytes(iris: Data) -> None:
    first, second = (convert(classifier(*iris), iris[0]) for _ in range(2))
    assert first.graph == second.graph
    model = onnx.load_from_string(first.graph)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17), ("ai.onnx.ml", 5)]


def test_the_source_names_the_framework_its_version_and_the_class(iris: Data) -> None:
    member = convert(classifier(*iris), iris[0])
    assert member.source == {"framework": "xgboost", "version": xgboost.__version__, "class": "XGBClassifier"}


@pytest.mark.parametrize("fault", ["comparison", "type"])
def test_the_gate_finds_trees_that_err_only_at_thresholds(cancer: Data, fault: str) -> None:
    """Moved off the thresholds, real rows alone show neither fault."""
    rows = cancer[0] * (1 + 1e-5)
    model = classifier(cancer[0], cancer[1])
    trained = read(model, read_rows(rows, input_name="tabular"), Wish())
    boosted = parse(model)
    trees = replace(boosted.trees, **({"mode": "<="} if fault == "comparison" else {"dtype": np.float64}))
    graph = Graph()
    faulty = replace(boosted, trees=trees)
    features = assemble(graph, trained.rows, trees.dtype)
    margin = graph.cast(faulty.trees.append(graph, features), np.float32)
    positive = graph.add("Sigmoid", graph.add("Add", margin, graph.constant(boosted.base[np.newaxis])))
    finished = graph.finish(graph.two_columns(positive), 2)
    claim = Claim(tuple(trained.rows.specs.values()), "classification", 2, trained.native, trained.rows.arrays, {})
    assert prove(finished.data, claim, gather(claim)).rows == len(rows)
    informed = replace(claim, thresholds=trained.thresholds)
    with pytest.raises(ParityError, match="Worst is probe"):
        prove(finished.data, informed, gather(informed))


REFUSED: Mapping[str, tuple[Callable[[Array, Array], Any], str]] = {
    "hinge": (
        lambda rows, labels: booster(rows, labels, "binary:hinge"),
        "objective binary:hinge is not converted: it answers labels, not probabilities; train with binary:logistic",
    ),
    "softmax": (
        lambda rows, labels: booster(rows, labels, "multi:softmax", num_class=2),
        "objective multi:softmax is not converted: it answers labels; train with multi:softprob",
    ),
    "log-odds": (
        lambda rows, labels: classifier(rows, labels, objective="binary:logitraw"),
        "XGBClassifier with objective binary:logitraw answers no probabilities; train with binary:logistic",
    ),
    "values": (
        lambda rows, labels: classifier(rows, labels, objective="reg:squarederror"),
        "XGBClassifier with objective reg:squarederror answers no probabilities",
    ),
    "several labels": (
        lambda rows, labels: classifier(rows, np.column_stack([labels, 1 - labels, labels])),
        r"binary:logistic with 3 targets \(multilabel\) .* train one model a label, or say task='regression'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_answers_that_are_no_probabilities_are_refused_by_name(cancer: Data, name: str) -> None:
    train, message = REFUSED[name]
    with pytest.raises(ConversionError, match=message):
        convert(train(*cancer), cancer[0])


def test_an_objective_that_is_not_on_the_list_is_refused_by_name(
    diabetes: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every objective of this release is on a list, so that one is taken off it."""
    monkeypatch.delitem(LINKS, "reg:gamma")
    with pytest.raises(ConversionError, match="objective reg:gamma is not converted: write it to ONNX yourself"):
        convert(regressor(*diabetes, objective="reg:gamma"), diabetes[0])


def test_an_estimator_that_is_not_fitted_is_refused(cancer: Data) -> None:
    with pytest.raises(ConversionError, match="XGBClassifier is not fitted; fit it first"):
        convert(xgboost.XGBClassifier(), cancer[0])
