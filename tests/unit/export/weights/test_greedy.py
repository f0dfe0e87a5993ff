from collections.abc import Callable

import numpy as np
import pytest
from widedeep.export.weights.greedy import fit_greedy, select
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.pool_loss import pool_loss
from widedeep.serving.contract.combiner import LinearPool


def test_steps_are_those_worked_out_by_hand() -> None:
    """Errors are 1 and -2: shares of the first give |error| 1, 1/2, 0, 1/4, 2/5, 0."""
    target = np.zeros((1, 1))
    loss = pool_loss(HeldOut(np.array([[[1.0]], [[-2.0]]]), target, "regression"))
    shares = [select(loss, n_steps)[0] for n_steps in range(1, 7)]
    np.testing.assert_allclose(shares, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5, 4 / 6])


def test_of_equal_members_the_first_is_taken() -> None:
    loss = pool_loss(HeldOut(np.full((3, 4, 2), 0.5), np.array([0, 1, 0, 1]), "classification"))
    np.testing.assert_array_equal(select(loss, 5), [1, 0, 0])


def test_weights_are_on_the_simplex_and_better_than_uniform(make_classification: Callable[..., HeldOut]) -> None:
    held_out = make_classification((0.5, 1.0, 3.0))
    combiner = fit_greedy(held_out, 0)
    assert isinstance(combiner, LinearPool)
    assert combiner.weights.sum() == pytest.approx(1)
    assert (combiner.weights >= 0).all()
    loss = pool_loss(held_out)
    assert loss(combiner.weights[None])[0] < loss(np.full((1, 3), 1 / 3))[0]


def test_bags_depend_on_the_seed_alone(make_classification: Callable[..., HeldOut]) -> None:
    held_out = make_classification(n_rows=200)
    one, same, other = (fit_greedy(held_out, seed).to_json()["weights"] for seed in (0, 0, 1))
    assert one == same
    assert one != other
