from collections.abc import Callable

import numpy as np
from scipy.optimize import approx_fprime
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.log_pool import fit_log_pool_bias
from widedeep.export.weights.metrics import row_losses
from widedeep.export.weights.stacking import fit_stacking, penalized_loss
from widedeep.serving.contract.combiner import LogPool

Make = Callable[..., HeldOut]


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(40, 6)), rng.integers(3, size=40)
    parameters, centre = rng.normal(size=21), rng.normal(size=21)
    _, gradient = penalized_loss(parameters, features, target, centre, 10.0)
    numeric = approx_fprime(parameters, lambda p: penalized_loss(p, features, target, centre, 10.0)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-6)


def test_classes_that_members_confuse_are_told_apart(make_classification: Make) -> None:
    """A member that swaps two classes is useless to a pool that keeps classes apart, and perfect to stacking."""
    held_out = make_classification((0.2,))
    swapped = HeldOut(held_out.scores[:, :, [1, 0, 2]], held_out.target, held_out.task)
    stacked, pooled = (
        row_losses(fit(swapped, 0)(swapped.scores), swapped.target, swapped.task).mean()
        for fit in (fit_stacking, fit_log_pool_bias)
    )
    assert stacked < 0.7 * pooled


def test_without_evidence_it_stays_at_the_log_pool(make_classification: Make) -> None:
    held_out = make_classification((0.5, 1.0), n_rows=30)
    pool, start = fit_stacking(held_out, 0), fit_log_pool_bias(held_out, 0)
    assert isinstance(pool, LogPool)
    kernel = start.coefficients[None, :, None] * np.eye(3)[:, None, :]
    assert np.abs(pool.coefficients - kernel).max() < 0.1


def test_a_class_that_no_row_shows_is_no_trouble(make_classification: Make) -> None:
    held_out = make_classification(n_classes=4)
    without = held_out.take(np.flatnonzero(held_out.target != 2))
    answer = fit_stacking(without, 0)(without.scores)
    assert np.isfinite(answer).all()
    assert answer[:, 2].mean() < without.scores[:, :, 2].mean()
