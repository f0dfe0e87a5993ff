import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, root_mean_squared_error
from widedeep.export.weights import metrics_of
from widedeep.export.weights.metrics import row_losses


def test_log_loss_and_accuracy_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), 50)
    target = rng.integers(4, size=50)
    metrics = metrics_of(probabilities, target, "classification")
    assert metrics["log_loss"] == pytest.approx(log_loss(target, probabilities, labels=range(4)))
    assert metrics["accuracy"] == (probabilities.argmax(axis=1) == target).mean()


def test_an_impossible_truth_costs_what_the_resolution_of_float32_allows() -> None:
    probabilities = np.array([[1.0, 0.0]])
    assert metrics_of(probabilities, np.array([1]), "classification")["log_loss"] == pytest.approx(15.94, abs=0.01)


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 2)])
def test_errors_of_a_regression_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    target, predictions = rng.normal(size=shape), rng.normal(size=shape)
    metrics = metrics_of(predictions, target, "regression")
    assert metrics["rmse"] == pytest.approx(root_mean_squared_error(target.ravel(), predictions.ravel()))
    assert metrics["mae"] == pytest.approx(mean_absolute_error(target, predictions))


def test_a_column_of_predictions_meets_a_flat_target() -> None:
    assert metrics_of(np.array([[1.0], [3.0]]), np.array([1.0, 1.0]), "regression") == {"rmse": 2**0.5, "mae": 1.0}


def test_row_losses_average_to_the_metric() -> None:
    rng = np.random.default_rng(0)
    probabilities, target = rng.dirichlet(np.ones(3), 20), rng.integers(3, size=20)
    expected = metrics_of(probabilities, target, "classification")["log_loss"]
    assert row_losses(probabilities, target, "classification").mean() == pytest.approx(expected)
    values, truth = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    squared = row_losses(values, truth, "regression").mean()
    assert squared == pytest.approx(metrics_of(values, truth, "regression")["rmse"] ** 2)
