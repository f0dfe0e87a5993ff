import numpy as np
import pytest
from widedeep.export.zoo.hold_out import held_out


def test_every_class_stays_among_the_rows_to_learn_from() -> None:
    target = np.array([0] * 40 + [1] * 40 + [2])
    for seed in range(20):
        assert set(target[~held_out(target, "classification", seed)]) == {0, 1, 2}


def test_each_class_is_held_out_in_proportion() -> None:
    target = np.repeat(np.arange(3), [100, 200, 300])
    mask = held_out(target, "classification", seed=3)
    shares = [mask[target == label].mean() for label in range(3)]
    assert shares == pytest.approx([0.2, 0.2, 0.2], abs=0.01)


def test_values_held_out_spread_over_the_whole_range() -> None:
    target = np.arange(500, dtype=np.float64)
    assert np.diff(np.flatnonzero(held_out(target, "regression", seed=1))).tolist() == [5] * 99


def test_a_tenth_of_many_rows_is_held_out() -> None:
    mask = held_out(np.zeros(30_000), "regression", seed=0)
    assert mask.mean() == pytest.approx(0.1, abs=0.001)


def test_the_seed_draws_the_rows() -> None:
    target = np.arange(100) % 2
    first, again, other = (held_out(target, "classification", seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
