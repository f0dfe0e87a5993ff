"""Which rows a net is asked about, and how far two right runs of it may part."""

from collections.abc import Mapping

import numpy as np
import pytest
from widedeep.export.convert.rows import read_rows
from widedeep.export.convert.tensorflow_native import rounding, steady
from widedeep.serving.contract.tensors import Array

REAL = np.linspace(0, 1, 40, dtype=np.float32).reshape(20, 2)
ROWS = read_rows({"x": REAL}, input_name="x")


def smooth(arrays: Mapping[str, Array]) -> Array:
    return np.asarray(np.tanh(arrays["x"].astype(np.float64).sum(axis=1, keepdims=True)))


def torn(arrays: Mapping[str, Array]) -> Array:
    """Turn within a few roundings of the input, as a deep net does far outside its training rows."""
    return np.asarray(0.5 + 0.5 * np.sin(1e7 * arrays["x"].astype(np.float64).sum(axis=1, keepdims=True)))


def test_real_rows_always_have_the_nets_own_answer() -> None:
    answer = steady(torn, ROWS)
    np.testing.assert_array_equal(answer({"x": REAL[3:9]}), torn({"x": REAL[3:9]}))


def test_other_rows_have_an_answer_only_where_rounding_does_not_turn_it() -> None:
    probe = REAL[:5] + np.float32(0.01)
    np.testing.assert_array_equal(steady(smooth, ROWS)({"x": probe}), smooth({"x": probe}))
    assert np.isnan(steady(torn, ROWS)({"x": probe})).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-45, 3e38, -2e7])
def test_a_row_with_a_number_that_overflows_or_is_too_small_has_no_answer(value: float) -> None:
    probe = np.array([[0.5, 0.25], [value, 0.5]], np.float32)
    assert np.isnan(steady(smooth, ROWS)({"x": probe})).ravel().tolist() == [False, True]


def test_a_large_net_has_no_answer_outside_the_range_of_the_real_rows() -> None:
    probe = np.array([[0.5, 0.25], [1.5, 0.5], [-0.5, 0.5]], np.float32)
    assert np.isfinite(steady(smooth, ROWS)({"x": probe})).all()
    assert np.isnan(steady(smooth, ROWS, is_large=True)({"x": probe})).ravel().tolist() == [False, True, True]


def test_whole_numbers_are_moved_only_if_the_net_takes_them_as_floats() -> None:
    rows = read_rows({"x": np.arange(40).reshape(20, 2)}, input_name="x")
    probe = {"x": np.array([[100, 200]])}
    assert np.isfinite(steady(torn, rows)(probe)).all()
    assert np.isnan(steady(torn, rows, {"x"})(probe)).all()


def test_rounding_is_none_for_a_smooth_net_and_bounded_for_any() -> None:
    assert rounding(smooth, ROWS) == 0
    assert rounding(torn, ROWS) == 1e-4
    assert 1e-5 < rounding(lambda arrays: np.sin(40 * arrays["x"].astype(np.float64)), ROWS) < 1e-4


def test_a_net_that_refuses_the_rows_leaves_the_refusal_to_the_gate() -> None:
    def refuse(_: Mapping[str, Array]) -> Array:
        raise ValueError("no")

    assert rounding(refuse, ROWS) == 0
    with pytest.raises(ValueError, match="no"):
        steady(refuse, ROWS)({"x": REAL})
