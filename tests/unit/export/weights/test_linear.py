from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.linear import fit_best_single, fit_simplex, fit_uniform, minimize_on_simplex
from widedeep.export.weights.metrics import row_losses
from widedeep.export.weights.pool_loss import pool_loss
from widedeep.serving.contract.combiner import Combiner, LinearPool, tempered

Make = Callable[..., HeldOut]


@pytest.fixture(params=["classification", "regression"])
def make(request: pytest.FixtureRequest, make_classification: Make, make_regression: Make) -> Make:
    return make_classification if request.param == "classification" else make_regression


def loss_of(combiner: Combiner, held_out: HeldOut) -> float:
    return float(row_losses(combiner(held_out.scores), held_out.target, held_out.task).mean())


def test_the_loss_of_weights_is_the_loss_of_the_pool_that_is_served(make: Make) -> None:
    held_out = make()
    weights = np.array([0.2, 0.5, 0.3])
    pool = LinearPool(weights, normalize=held_out.task == "classification")
    assert pool_loss(held_out)(weights[None])[0] == pytest.approx(loss_of(pool, held_out), rel=1e-9)


def test_the_gradient_is_that_of_finite_differences(make: Make) -> None:
    loss = pool_loss(make())
    weights = np.array([0.2, 0.5, 0.3])
    numeric = approx_fprime(weights, lambda w: loss(w[None])[0], 1e-7)
    np.testing.assert_allclose(loss.gradient(weights), numeric, rtol=1e-4, atol=1e-6)


def test_the_best_single_member_is_the_one_with_the_least_noise(make: Make) -> None:
    combiner = fit_best_single(make((1.5, 0.3, 1.0)), 0)
    assert combiner.used == (1,)


def test_uniform_is_the_mean(make: Make) -> None:
    held_out = make()
    np.testing.assert_allclose(fit_uniform(held_out, 0)(held_out.scores), held_out.scores.mean(axis=0))


def test_no_point_of_the_simplex_is_better_than_the_one_found(make: Make) -> None:
    loss = pool_loss(make((0.5, 0.8, 1.0, 1.5)))
    found = minimize_on_simplex(loss)
    others = np.concatenate([np.eye(4), np.random.default_rng(0).dirichlet(np.full(4, 0.5), 3000)])
    near = 0.99 * found + 0.01 * others
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert loss(found[None])[0] <= loss(np.concatenate([others, near])).min() + 1e-9


def test_a_member_of_pure_noise_gets_no_weight(make_classification: Make) -> None:
    """The other member is not sure enough: one that is too sure would gain from being diluted, even with noise."""
    held_out = make_classification((0.0,))
    noise = np.random.default_rng(1).dirichlet(np.ones(3), held_out.n_rows)
    scores = np.stack([tempered(held_out.scores[0], 1.5), noise])
    assert fit_simplex(HeldOut(scores, held_out.target, held_out.task), 0).used == (0,)


def test_the_order_of_members_does_not_matter(make: Make) -> None:
    held_out, order = make(), [2, 0, 1]
    moved = HeldOut(held_out.scores[order], held_out.target, held_out.task)
    for fit in (fit_best_single, fit_uniform, fit_simplex):
        there, here = fit(moved, 0), fit(held_out, 0)
        assert isinstance(there, LinearPool)
        assert isinstance(here, LinearPool)
        # The minimiser stops within 1e-12 of the lowest loss, which leaves weights the root of that.
        np.testing.assert_allclose(there.weights, here.weights[order], atol=1e-4)


def test_errors_that_cancel_share_the_weight() -> None:
    target = np.linspace(-1, 1, 20)[:, None]
    wave = np.where(np.arange(20) % 2, 1.0, -1.0)[:, None]
    combiner = fit_simplex(HeldOut(np.stack([target + wave, target - wave]), target, "regression"), 0)
    assert isinstance(combiner, LinearPool)
    np.testing.assert_allclose(combiner.weights, [0.5, 0.5], atol=1e-6)


def test_members_without_any_error_are_no_trouble() -> None:
    target = np.linspace(-1, 1, 20)[:, None]
    combiner = fit_simplex(HeldOut(np.stack([target, target]), target, "regression"), 0)
    np.testing.assert_allclose(combiner(np.stack([target, target])), target)
