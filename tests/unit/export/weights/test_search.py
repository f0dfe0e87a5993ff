from collections.abc import Callable

import numpy as np
import pytest
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.linear import minimize_on_simplex
from widedeep.export.weights.pool_loss import LogLoss, pool_loss
from widedeep.export.weights.search import nelder_mead, random_search

Make = Callable[..., HeldOut]


def test_nelder_mead_ends_where_the_gradient_leads(make_classification: Make, make_regression: Make) -> None:
    for make in (make_classification, make_regression):
        loss = pool_loss(make())
        best = loss(minimize_on_simplex(loss)[None])[0]
        assert loss(nelder_mead(loss)[None])[0] == pytest.approx(best, rel=1e-4)


def test_random_search_comes_near_and_is_never_worse_than_uniform_or_a_single_member(make_classification: Make) -> None:
    loss = pool_loss(make_classification((0.5, 1.0, 1.5, 2.0)))
    found = random_search(loss, np.random.default_rng(0))
    best = loss(minimize_on_simplex(loss)[None])[0]
    assert found.sum() == pytest.approx(1)
    assert loss(found[None])[0] <= loss(np.concatenate([np.eye(4), np.full((1, 4), 0.25)])).min()
    assert loss(found[None])[0] == pytest.approx(best, rel=1e-2)


def test_a_search_over_many_rows_is_bounded() -> None:
    class Counting(LogLoss):
        n_calls = 0

        def __call__(self, weights: np.ndarray) -> np.ndarray:
            Counting.n_calls += len(weights)
            return np.square(weights - 0.1).sum(axis=1)

    loss = Counting(np.broadcast_to(np.float64(0.5), (20, 1_000_000)))
    random_search(loss, np.random.default_rng(0))
    nelder_mead(loss)
    assert Counting.n_calls < 300
