import numpy as np
import pytest
from widedeep.export.weights.diversity import diversity_of
from widedeep.export.weights.held_out import HeldOut


def test_disagreement_is_the_share_of_rows_labelled_differently() -> None:
    scores = np.array(
        [[[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [[0.6, 0.4], [0.3, 0.7], [0.1, 0.9], [0.7, 0.3]]]
    )
    found = diversity_of(HeldOut(scores, np.array([0, 0, 1, 1]), "classification"), ["deep", "wide"])
    assert found["pairwise_disagreement"] == {"deep": {"deep": 0, "wide": 0.25}, "wide": {"deep": 0.25, "wide": 0}}


def test_error_correlation_is_that_of_the_probability_missing_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.dirichlet(np.ones(3), (2, 100)), rng.integers(3, size=100)
    found = diversity_of(HeldOut(scores, target, "classification"), ["a", "b"])
    missing = 1 - scores[:, np.arange(100), target]
    assert found["error_correlation"]["a"]["b"] == pytest.approx(np.corrcoef(missing)[0, 1])
    assert found["error_correlation"]["a"]["a"] == 1


def test_a_regression_has_correlations_of_predictions_and_of_errors() -> None:
    rng = np.random.default_rng(0)
    scores, target = rng.normal(size=(2, 100, 1)), rng.normal(size=(100, 1))
    found = diversity_of(HeldOut(scores, target, "regression"), ["a", "b"])
    assert found["prediction_correlation"]["a"]["b"] == pytest.approx(np.corrcoef(scores[..., 0])[0, 1])
    assert found["error_correlation"]["b"]["a"] == pytest.approx(np.corrcoef((scores - target)[..., 0])[0, 1])


def test_a_member_that_never_varies_correlates_with_nothing() -> None:
    scores = np.stack([np.ones((5, 1)), np.arange(5.0)[:, None]])
    found = diversity_of(HeldOut(scores, np.zeros((5, 1)), "regression"), ["flat", "steep"])
    assert found["error_correlation"] == {"flat": {"flat": 1, "steep": 0}, "steep": {"flat": 0, "steep": 1}}
