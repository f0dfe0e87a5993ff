"""Metrics of probabilities against scikit-learn, on real rows and real models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from widedeep.serving.batch.evaluation.classification import CLIP, Classification
from widedeep.serving.batch.evaluation.intervals import Z
from widedeep.serving.batch.evaluation.moments import Moments
from widedeep.serving.batch.evaluation.tally import Tally
from widedeep.serving.contract.tensors import Array

PREDICTORS = ("ensemble", "linear", "bayes")


@dataclass(frozen=True)
class Judged:
    """Real rows that the models never saw."""

    truth: Array
    answers: list[Array]
    measure: Classification

    def report(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, dict[str, Any]]]:
        tally = Tally()
        moments = Moments.of(self.measure.count(tally, self.truth, self.answers))
        further, sections = self.measure.details(tally)
        return self.measure.summary(moments), sections, further


def judged(rows: Array, labels: Array) -> Judged:
    order = np.random.default_rng(0).permutation(len(rows))
    train, test = order[::2], order[1::2]
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=0.05)), GaussianNB(var_smoothing=1e-3)]
    members = [model.fit(rows[train], labels[train]).predict_proba(rows[test]) for model in models]
    answers = [answer.astype(np.float32) for answer in (np.mean(members, axis=0), *members)]
    return Judged(labels[test], answers, Classification(PREDICTORS, tuple(map(str, np.unique(labels)))))


@pytest.fixture(scope="module")
def ten_classes() -> Judged:
    return judged(*load_digits(return_X_y=True))


@pytest.fixture(scope="module")
def two_classes() -> Judged:
    return judged(*load_breast_cancer(return_X_y=True))


@pytest.fixture(scope="module", params=["ten_classes", "two_classes"])
def either(request: pytest.FixtureRequest) -> Judged:
    found: Judged = request.getfixturevalue(request.param)
    return found


def test_log_loss_accuracy_and_brier_score_are_those_of_scikit_learn(either: Judged) -> None:
    summary, _, _ = either.report()
    for name, answer in zip(PREDICTORS, either.answers, strict=True):
        wide = answer.astype(np.float64)
        clipped = np.maximum(wide, CLIP)
        expected = {
            "log_loss": metrics.log_loss(either.truth, clipped / clipped.sum(axis=1, keepdims=True)),
            "accuracy": metrics.accuracy_score(either.truth, wide.argmax(axis=1)),
            "brier": metrics.brier_score_loss(
                either.truth,
                wide[:, 1].clip(0, 1) if wide.shape[1] == 2 else wide / wide.sum(axis=1, keepdims=True),
                labels=np.unique(either.truth),
            ),
        }
        for metric, value in expected.items():
            # scikit-learn wants rows that sum to 1, ours do so to the resolution of float32.
            assert summary[name][metric]["value"] == pytest.approx(value, rel=1e-5), metric
            assert summary[name][metric]["low"] <= value <= summary[name][metric]["high"]


def test_differences_are_of_the_same_rows(ten_classes: Judged) -> None:
    summary, _, _ = ten_classes.report()
    rows = np.arange(len(ten_classes.truth))
    losses = [
        -np.log(np.maximum(answer[rows, ten_classes.truth].astype(float), CLIP)) for answer in ten_classes.answers
    ]
    difference = losses[0] - losses[2]
    found = summary["bayes"]["difference"]["log_loss"]
    assert found["value"] == pytest.approx(difference.mean())
    assert found["high"] - found["value"] == pytest.approx(Z * difference.std(ddof=1) / np.sqrt(len(rows)))
    hits = [answer.argmax(axis=1) == ten_classes.truth for answer in ten_classes.answers]
    assert summary["bayes"]["difference"]["accuracy"]["value"] == pytest.approx(hits[0].mean() - hits[2].mean())
    assert "difference" not in summary["ensemble"]


def test_the_area_under_the_curve_is_that_of_scikit_learn_to_the_width_of_a_bin(two_classes: Judged) -> None:
    _, _, further = two_classes.report()
    for name, answer in zip(PREDICTORS, two_classes.answers, strict=True):
        found, expected = further[name]["roc_auc"], metrics.roc_auc_score(two_classes.truth, answer[:, 1])
        assert abs(found["value"] - expected) <= found["binning"] + 1e-12
        # Naive Bayes is often too sure for the resolution of float32, so more of its rows tie.
        assert found["binning"] < (5e-3 if name == "bayes" else 5e-4)


def test_rare_positives_with_small_scores_have_bins_of_their_own() -> None:
    rng = np.random.default_rng(4)
    truth = (rng.random(20_000) < 0.005).astype(np.int64)
    odds = rng.normal(-6, 1, 20_000) + 2 * truth
    score = (1 / (1 + np.exp(-odds))).astype(np.float32)
    tally, measure = Tally(), Classification(["ensemble"], ("no", "yes"))
    measure.count(tally, truth, [np.stack([1 - score, score], axis=1)])
    found = measure.details(tally)[0]["ensemble"]["roc_auc"]
    assert found["value"] == pytest.approx(metrics.roc_auc_score(truth, score), abs=found["binning"])
    assert found["binning"] < 2e-3


def test_the_confusion_matrix_is_that_of_scikit_learn(ten_classes: Judged) -> None:
    _, sections, _ = ten_classes.report()
    expected = metrics.confusion_matrix(ten_classes.truth, ten_classes.answers[0].argmax(axis=1))
    assert sections["confusion"]["rows_by_truth"] == expected.tolist()
    assert sections["confusion"]["classes"] == list("0123456789")


def test_no_confusion_matrix_is_kept_of_many_classes() -> None:
    measure = Classification(["ensemble"], [str(i) for i in range(101)])
    tally = Tally()
    measure.count(tally, np.array([5]), [np.full((1, 101), 1 / 101, np.float32)])
    assert "confusion" not in tally.counts
    assert "confusion" not in measure.details(tally)[1]


def test_the_calibration_error_is_the_mean_gap_of_the_bins(ten_classes: Judged) -> None:
    _, _, further = ten_classes.report()
    answer = ten_classes.answers[2].astype(np.float64)
    confidence, hit = answer.max(axis=1), answer.argmax(axis=1) == ten_classes.truth
    place = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs((hit - confidence)[place == i].sum()) for i in range(15)]
    assert further["bayes"]["ece"]["value"] == pytest.approx(sum(gaps) / len(hit))
    table = further["bayes"]["calibration"]
    assert sum(row["n"] for row in table) == len(hit)
    last = table[-1]
    assert (last["from"], last["to"]) == (pytest.approx(14 / 15, abs=1e-6), 1.0)
    assert last["confidence"] == pytest.approx(confidence[place == 14].mean())
    assert last["share"]["value"] == pytest.approx(hit[place == 14].mean())
    assert last["share"]["low"] < last["share"]["value"] < last["share"]["high"]


def test_a_calibrated_predictor_shows_the_calibration_error_that_chance_makes() -> None:
    rng = np.random.default_rng(5)
    errors, by_chance = [], []
    for _ in range(50):
        odds = rng.normal(size=(1000, 3)) * 1.5
        answer = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
        truth = (rng.random((1000, 1)) > answer.cumsum(axis=1)).sum(axis=1).clip(max=2)
        measure, tally = Classification(["ensemble"], list("abc")), Tally()
        measure.count(tally, truth, [answer.astype(np.float32)])
        found = measure.details(tally)[0]["ensemble"]
        errors.append(found["ece"]["value"])
        by_chance.append(found["ece_by_chance"])
    assert np.mean(errors) == pytest.approx(np.mean(by_chance), rel=0.06)


def test_a_certain_mistake_costs_the_logarithm_of_the_clip() -> None:
    measure = Classification(["ensemble"], ("no", "yes"))
    columns = measure.count(Tally(), np.array([1]), [np.array([[1.0, 0.0]], np.float32)])
    assert columns[:, 0].tolist() == [pytest.approx(-np.log(CLIP)), 0.0, 1.0]
