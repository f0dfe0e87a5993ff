from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.log_pool import fit_log_pool, fit_log_pool_bias, log_scores, penalized_loss
from widedeep.export.weights.metrics import row_losses
from widedeep.serving.contract.combiner import LogPool

Make = Callable[..., HeldOut]


@pytest.mark.parametrize("with_bias", [False, True])
def test_the_gradient_is_that_of_finite_differences(make_classification: Make, with_bias: bool) -> None:
    held_out = make_classification(n_rows=50)
    parameters = np.array([0.4, 1.2, 0.1, *([0.3, -0.2, 0.1] if with_bias else [])])
    logs = log_scores(held_out)
    _, gradient = penalized_loss(parameters, logs, held_out.target, with_bias=with_bias)
    numeric = approx_fprime(
        parameters, lambda p: penalized_loss(p, logs, held_out.target, with_bias=with_bias)[0], 1e-7
    )
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


def test_what_is_minimised_is_the_loss_of_the_pool_that_is_served(make_classification: Make) -> None:
    held_out = make_classification()
    weights, bias = np.array([0.4, 1.2, 0.1]), np.array([0.3, -0.2, 0.1])
    served = LogPool(weights, bias=bias, clip=fit_log_pool(held_out, 0).clip)
    deviation = np.concatenate([weights - 1 / 3, bias])
    penalty = deviation @ deviation / (2 * held_out.n_rows)
    loss, _ = penalized_loss(np.concatenate([weights, bias]), log_scores(held_out), held_out.target, with_bias=True)
    expected = row_losses(served(held_out.scores), held_out.target, held_out.task).mean()
    assert loss - penalty == pytest.approx(expected, rel=1e-9)


def test_the_sum_of_weights_undoes_a_wrong_scale(make_classification: Make) -> None:
    held_out = make_classification((0.0,), n_rows=5000)
    flattened = np.sqrt(held_out.scores)
    flattened /= flattened.sum(axis=2, keepdims=True)
    pool = fit_log_pool(HeldOut(flattened, held_out.target, held_out.task), 0)
    # Standard error of about 0.05 on 5,000 rows.
    assert pool.coefficients[0] == pytest.approx(2.0, abs=0.15)


def test_a_bias_undoes_wrong_shares_of_the_classes(make_classification: Make) -> None:
    held_out = make_classification((0.0,), n_rows=5000)
    shifted = held_out.scores * [4.0, 1.0, 1.0]
    shifted /= shifted.sum(axis=2, keepdims=True)
    pool = fit_log_pool_bias(HeldOut(shifted, held_out.target, held_out.task), 0)
    assert pool.bias is not None
    assert np.exp(pool.bias[1] - pool.bias[0]) == pytest.approx(4.0, rel=0.2)


def test_weights_are_not_negative_and_a_harmful_member_gets_none(make_classification: Make) -> None:
    held_out = make_classification((0.5, 0.8, 0.8))
    scores = held_out.scores.copy()
    scores[2] = 1 / scores[2] / (1 / scores[2]).sum(axis=1, keepdims=True)  # says the opposite of what it knows
    pool = fit_log_pool(HeldOut(scores, held_out.target, held_out.task), 0)
    assert (pool.coefficients >= 0).all()
    assert pool.used == (0, 1)


def test_the_pool_is_better_on_its_rows_than_the_plain_geometric_mean(make_classification: Make) -> None:
    held_out = make_classification((0.3, 1.0, 3.0))
    losses = [
        row_losses(pool(held_out.scores), held_out.target, held_out.task).mean()
        for pool in (fit_log_pool_bias(held_out, 0), fit_log_pool(held_out, 0), LogPool(np.full(3, 1 / 3), clip=1e-5))
    ]
    assert losses == sorted(losses)


def test_members_without_mistakes_on_few_rows_are_not_made_infinitely_sure() -> None:
    scores = np.array([[[0.7, 0.3], [0.3, 0.7]] * 5])
    pool = fit_log_pool_bias(HeldOut(scores, np.array([0, 1] * 5), "classification"), 0)
    assert pool(scores).max() < 0.999
