"""Means and squared deviations that merge."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from widedeep.serving.batch.evaluation.moments import Floats, Moments

columns = arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(0, 30)), elements=st.floats(-1e6, 1e6))


@given(columns, st.integers(0, 30))
def test_those_of_the_whole_are_the_merge_of_those_of_any_split(rows: Floats, cut: int) -> None:
    whole, merged = Moments.of(rows), Moments.of(rows[:, :cut])
    merged.merge(Moments.of(rows[:, cut:]))
    assert merged.n == whole.n == rows.shape[1]
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(merged.m2, whole.m2, rtol=1e-9, atol=1e-3)  # of deviations up to 1e6, squared


def test_a_small_spread_far_from_zero_is_not_lost() -> None:
    rows = 1e9 + np.random.default_rng(0).normal(size=(1, 40_000))
    merged = Moments.of(rows[:, :1])
    for start in range(1, 40_000, 1000):
        merged.merge(Moments.of(rows[:, start : start + 1000]))
    # Sums of squares would have lost all digits: 1e18 leaves a spread of 128.
    assert merged.variance()[0, 0] == pytest.approx(rows.var(ddof=1), rel=1e-6)


def test_groups_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    rows, groups = rng.normal(size=(4, 500)), rng.choice([0, 1, 3], 500)
    found = Moments.of(rows, groups, 5)
    assert found.n.tolist() == np.bincount(groups, minlength=5).tolist()
    for group in (0, 1, 3):
        own = rows[:, groups == group]
        np.testing.assert_allclose(found.mean[group], own.mean(axis=1))
        np.testing.assert_allclose(found.variance()[group], own.var(axis=1, ddof=1))
        np.testing.assert_allclose(found.standard_error()[group], own.std(axis=1, ddof=1) / np.sqrt(own.shape[1]))
    assert found.mean[2].tolist() == [0.0] * 4


def test_groups_that_meet_in_one_place_become_one() -> None:
    rng = np.random.default_rng(2)
    rows, groups = rng.normal(size=(2, 300)), rng.integers(0, 3, 300)
    moved = Moments.of(rows, groups, 3).moved([1, 0, 1], 2)
    np.testing.assert_allclose(moved.mean[1], rows[:, groups != 1].mean(axis=1))
    np.testing.assert_allclose(moved.variance()[1], rows[:, groups != 1].var(axis=1, ddof=1))


def test_one_row_has_no_spread_that_could_be_told() -> None:
    assert np.isnan(Moments.of(np.ones((1, 1))).standard_error()).all()
