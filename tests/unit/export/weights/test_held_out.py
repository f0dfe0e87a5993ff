import numpy as np
import pytest
from widedeep.export.weights.held_out import check_held_out
from widedeep.serving.contract.tensors import Array

GOOD = np.full((10, 2), 0.5)
CLASSES = np.arange(10) % 2


def _with(value: float, row: int = 3) -> Array:
    scores = GOOD.copy()
    scores[row, 1] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "at least one member"),
        ({"deep": GOOD[:, 0]}, r"member 'deep': expected scores \(n_rows, n_outputs\), got shape \(10,\)"),
        ({"deep": GOOD, "wide": GOOD[:9]}, r"member 'wide': scores have shape \(9, 2\), but those of 'deep' have"),
        ({"deep": GOOD, "wide": _with(np.nan)}, "member 'wide': expected finite scores, got nan in row 3, output 1"),
        ({"deep": GOOD, "wide": _with(np.inf)}, "member 'wide': expected finite scores, got inf"),
        ({"deep": _with(0.6)}, "member 'deep': expected probabilities that sum to 1 .* got sum 1.1 .* in row 3"),
        ({"deep": GOOD + np.array([1.0, -1.0])}, "not negative, got sum 1 and minimum -0.5"),
        ({"deep": np.ones((10, 1))}, "two or more classes, got one column"),
        ({"deep": GOOD[:5]}, "at least 6 rows to learn weights on, got 5"),
    ],
)
def test_scores_that_cannot_be_learned_from_are_refused(scores: dict[str, Array], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_held_out(scores, CLASSES, "classification", min_rows=6)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (CLASSES[:9], r"class indices of shape \(10,\), got shape \(9,\)"),
        (CLASSES.astype(float), "integer class indices, got dtype float64"),
        (CLASSES + 1, "class indices from 0 to 1, got 1 to 2"),
        (CLASSES - 1, "class indices from 0 to 1, got -1 to 0"),
    ],
)
def test_a_target_that_names_no_class_is_refused(target: Array, message: str) -> None:
    with pytest.raises(ValueError, match=f"target: expected {message}"):
        check_held_out({"deep": GOOD}, target, "classification", min_rows=6)


def test_a_target_of_a_regression_must_fit_the_scores_and_be_finite() -> None:
    with pytest.raises(ValueError, match=r"target: expected values of shape \(10, 2\)"):
        check_held_out({"deep": GOOD}, np.ones(10), "regression", min_rows=6)
    with pytest.raises(ValueError, match="target: expected finite values, got inf"):
        check_held_out({"deep": GOOD[:, :1]}, np.full(10, np.inf), "regression", min_rows=6)


def test_probabilities_rounded_to_half_precision_are_accepted() -> None:
    scores = np.random.default_rng(0).dirichlet(np.ones(10), 50).astype(np.float16)
    held_out = check_held_out({"deep": scores}, np.arange(50) % 10, "classification", min_rows=6)
    assert held_out.scores.dtype == np.float64


def test_a_flat_target_of_a_regression_becomes_a_column() -> None:
    assert check_held_out({"a": np.ones((8, 1))}, np.ones(8), "regression", min_rows=6).target.shape == (8, 1)
