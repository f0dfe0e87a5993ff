"""Metrics of values against scikit-learn, on real rows and real models."""

from typing import Any

import numpy as np
import pytest
from sklearn import metrics
from sklearn.datasets import load_diabetes, load_linnerud
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from widedeep.serving.batch.evaluation.intervals import Z
from widedeep.serving.batch.evaluation.moments import Moments
from widedeep.serving.batch.evaluation.regression import MAX_OUTPUTS, Regression
from widedeep.serving.batch.evaluation.tally import Tally
from widedeep.serving.contract.tensors import Array

PREDICTORS = ("ensemble", "linear", "near")


def judged(rows: Array, truth: Array) -> tuple[Array, list[Array]]:
    truth = truth.reshape(len(truth), -1).astype(np.float64)
    half = len(rows) // 2
    members = [
        model.fit(rows[:half], truth[:half]).predict(rows[half:]).reshape(len(rows) - half, -1)
        for model in (Ridge(0.1), KNeighborsRegressor(3))
    ]
    return truth[half:], [answer.astype(np.float32) for answer in (np.mean(members, axis=0), *members)]


def report(truth: Array, answers: list[Array]) -> tuple[dict[str, Any], dict[str, Any]]:
    measure, tally = Regression(PREDICTORS[: len(answers)], truth.shape[1]), Tally()
    moments = Moments.of(measure.count(tally, truth, answers))
    return measure.summary(moments), measure.details(tally)[0]


@pytest.fixture(scope="module")
def one_output() -> tuple[Array, list[Array]]:
    return judged(*load_diabetes(return_X_y=True))


@pytest.fixture(scope="module")
def three_outputs() -> tuple[Array, list[Array]]:
    return judged(*load_linnerud(return_X_y=True))


def test_errors_of_one_output_are_those_of_scikit_learn(one_output: tuple[Array, list[Array]]) -> None:
    truth, answers = one_output
    summary, further = report(truth, answers)
    for name, answer in zip(PREDICTORS, answers, strict=True):
        assert summary[name]["rmse"]["value"] == pytest.approx(metrics.root_mean_squared_error(truth, answer))
        assert summary[name]["mae"]["value"] == pytest.approx(metrics.mean_absolute_error(truth, answer))
        assert summary[name]["mean_error"]["value"] == pytest.approx((answer - truth).mean())
        assert further[name]["r2"]["value"] == pytest.approx(metrics.r2_score(truth, answer))
    assert "outputs" not in further["ensemble"]


def test_errors_of_several_outputs_are_told_together_and_apart(three_outputs: tuple[Array, list[Array]]) -> None:
    truth, answers = three_outputs
    summary, further = report(truth, answers)
    for name, answer in zip(PREDICTORS, answers, strict=True):
        mean_square = metrics.mean_squared_error(truth, answer)
        assert summary[name]["rmse"]["value"] == pytest.approx(np.sqrt(mean_square))
        assert further[name]["r2"]["value"] == pytest.approx(metrics.r2_score(truth, answer))
        apart = metrics.root_mean_squared_error(truth, answer, multioutput="raw_values")
        assert [one["rmse"]["value"] for one in further[name]["outputs"]] == pytest.approx(apart.tolist())
        each = metrics.r2_score(truth, answer, multioutput="raw_values")
        assert [one["r2"] for one in further[name]["outputs"]] == pytest.approx(each.tolist())


def test_differences_are_of_the_same_rows(one_output: tuple[Array, list[Array]]) -> None:
    truth, answers = one_output
    found = report(truth, answers)[0]["near"]["difference"]
    absolute = [np.abs(answer - truth)[:, 0] for answer in answers]
    difference = absolute[0] - absolute[2]
    assert found["mae"]["value"] == pytest.approx(difference.mean())
    assert found["mae"]["high"] - found["mae"]["value"] == pytest.approx(
        Z * difference.std(ddof=1) / np.sqrt(len(truth))
    )
    expected = metrics.root_mean_squared_error(truth, answers[0]) - metrics.root_mean_squared_error(truth, answers[2])
    assert found["rmse"]["value"] == pytest.approx(expected)
    # The jackknife knows nothing of the delta method; at 221 rows the two differ by a few per cent.
    squares = [np.square(answer - truth)[:, 0] for answer in answers]
    n = len(truth)
    left_out = [np.sqrt((square.sum() - square) / (n - 1)) for square in squares]
    values = left_out[0] - left_out[2]
    jackknife = np.sqrt((n - 1) * values.var())
    assert found["rmse"]["high"] - found["rmse"]["value"] == pytest.approx(Z * jackknife, rel=0.05)


def test_no_error_at_all_has_no_width() -> None:
    truth = np.arange(5.0)[:, None]
    summary, further = report(truth, [truth, truth + 1])
    assert summary["ensemble"]["rmse"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert summary["linear"]["mean_error"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert further["ensemble"]["r2"]["value"] == 1.0


def test_a_constant_truth_has_no_r2() -> None:
    truth = np.ones((4, 1))
    assert report(truth, [np.arange(4.0)[:, None]])[1]["ensemble"]["r2"]["value"] is None


def test_outputs_beyond_the_most_are_not_told_apart() -> None:
    truth = np.random.default_rng(0).normal(size=(6, MAX_OUTPUTS + 1))
    summary, further = report(truth, [truth + 0.5])
    assert summary["ensemble"]["rmse"]["value"] == pytest.approx(0.5)
    assert further["ensemble"]["r2"]["value"] is None
    assert "outputs" not in further["ensemble"]
