from collections.abc import Callable

import numpy as np
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.least_squares import fit_nnls, fit_nnls_per_output, solve_nnls
from widedeep.export.weights.linear import fit_simplex
from widedeep.export.weights.metrics import row_losses
from widedeep.serving.contract.combiner import LinearPool

Make = Callable[..., HeldOut]


def test_known_weights_are_recovered() -> None:
    scores = np.random.default_rng(0).normal(size=(4, 100))
    weights = np.array([0.5, 0.0, 1.25, 0.1])
    np.testing.assert_allclose(solve_nnls(scores, weights @ scores), weights, atol=1e-10)


def test_a_weight_that_would_be_negative_is_zero() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 100))
    found = solve_nnls(scores, scores[0] - 0.5 * scores[1])
    assert found[1] == 0
    assert found[0] > 0


def test_a_free_sum_is_at_least_as_good_on_its_rows_as_the_simplex(make_regression: Make) -> None:
    held_out = make_regression()
    shrunk = HeldOut(0.5 * held_out.scores, held_out.target, held_out.task)
    free, convex = (
        row_losses(fit(shrunk, 0)(shrunk.scores), shrunk.target, shrunk.task).mean() for fit in (fit_nnls, fit_simplex)
    )
    assert free < 0.1 * convex


def test_each_output_gets_the_weights_that_suit_it() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 50, 2))
    target = np.stack([scores[0, :, 0], 0.3 * scores[1, :, 1]], axis=1)
    pool = fit_nnls_per_output(HeldOut(scores, target, "regression"), 0)
    assert isinstance(pool, LinearPool)
    np.testing.assert_allclose(pool.weights, [[1, 0], [0, 0.3]], atol=1e-10)


def test_if_every_weight_would_be_zero_the_best_single_member_serves() -> None:
    target = np.linspace(1, 2, 20)[:, None]
    held_out = HeldOut(np.stack([-target, -2 * target]), target, "regression")
    assert fit_nnls(held_out, 0).used == (0,)
    assert fit_nnls_per_output(held_out, 0).used == (0,)
