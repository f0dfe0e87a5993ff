from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.linear import fit_simplex
from widedeep.export.weights.metrics import row_losses
from widedeep.export.weights.per_class import fit_per_class, penalized_loss
from widedeep.serving.contract.combiner import LinearPool

Make = Callable[..., HeldOut]


def test_the_gradient_is_that_of_finite_differences(make_classification: Make) -> None:
    held_out = make_classification(n_rows=50)
    rng = np.random.default_rng(0)
    weights, centre = rng.uniform(0.1, 1, 9), rng.uniform(0.1, 1, 9)
    _, gradient = penalized_loss(weights, held_out, centre, 10.0)
    numeric = approx_fprime(weights, lambda w: penalized_loss(w, held_out, centre, 10.0)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-5)


def test_what_is_minimised_is_the_loss_of_the_pool_that_is_served(make_classification: Make) -> None:
    held_out = make_classification()
    weights = np.random.default_rng(0).uniform(0.1, 1, 9)
    loss, _ = penalized_loss(weights, held_out, weights, 10.0)
    answer = LinearPool(weights.reshape(3, 3))(held_out.scores)
    assert loss == pytest.approx(row_losses(answer, held_out.target, held_out.task).mean(), rel=1e-9)


def test_members_that_know_different_classes_share_the_work(make_classification: Make) -> None:
    """The first member knows class 0 from the rest and nothing else; the second one class 2."""
    held_out = make_classification((0.0,), n_rows=3000)
    blurred = []
    for known in (0, 2):
        scores = held_out.scores[0].copy()
        others = [k for k in range(3) if k != known]
        scores[:, others] = scores[:, others].mean(axis=1, keepdims=True)
        blurred.append(scores)
    data = HeldOut(np.stack(blurred), held_out.target, held_out.task)
    pool = fit_per_class(data, 0)
    assert isinstance(pool, LinearPool)
    assert pool.weights[0, 0] > pool.weights[1, 0]
    assert pool.weights[1, 2] > pool.weights[0, 2]
    by_class, by_member = (
        row_losses(combiner(data.scores), data.target, data.task).mean() for combiner in (pool, fit_simplex(data, 0))
    )
    assert by_class < by_member


def test_without_evidence_it_stays_at_the_weights_by_member(make_classification: Make) -> None:
    held_out = make_classification((0.5, 1.0), n_rows=30)
    by_class, by_member = fit_per_class(held_out, 0), fit_simplex(held_out, 0)
    assert isinstance(by_class, LinearPool)
    assert isinstance(by_member, LinearPool)
    np.testing.assert_allclose(by_class.weights, np.tile(by_member.weights[:, None], 3), atol=0.1)
