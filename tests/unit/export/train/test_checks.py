"""A column gives the target away if each determines the other, and only then."""

from typing import Any

import numpy as np
import pytest
from widedeep.export.train.checks import check_input_names, leak
from widedeep.export.train.columns import Column, Typed
from widedeep.export.train.data_error import DataError
from widedeep.export.train.target import Target

N = 5000
CODES = np.arange(N) % 3
CLASSES = Target("classification", CODES, ("a", "b", "c"), np.arange(N), ())
VALUES = Target("regression", np.random.default_rng(0).normal(size=N), (), np.arange(N), ())


def _numbers(values: Any) -> Typed:
    return Typed(Column("x", "numbers"), np.asarray(values, np.float64))


def test_other_names_for_classes_are_a_leak() -> None:
    words = Typed(Column("x", "words"), np.array(["p", "", "r"], object)[CODES])
    assert "by other names" in leak(words, CLASSES)
    assert "by other names" in leak(_numbers(np.array([5, np.nan, 9])[CODES]), CLASSES)


def test_a_column_that_errs_once_late_is_none() -> None:
    values = CODES.astype(float)
    values[-1] += 1 if values[-1] == 0 else -1
    assert not leak(_numbers(values), CLASSES)


def test_a_finer_or_coarser_column_is_none() -> None:
    assert not leak(_numbers(CODES + 3 * (np.arange(N) % 2)), CLASSES)
    assert not leak(_numbers(CODES == 0), CLASSES)


def test_a_line_of_the_values_is_a_leak_in_spite_of_rounding_and_gaps() -> None:
    values = (-40 * VALUES.values + 7).astype(np.float32).astype(float)
    values[::10] = np.nan
    assert "scale and offset" in leak(_numbers(values), VALUES)


def test_a_curve_or_a_noisy_line_is_none() -> None:
    assert not leak(_numbers(np.exp(VALUES.values)), VALUES)
    assert not leak(_numbers(VALUES.values + 1e-3 * np.random.default_rng(1).normal(size=N)), VALUES)


def test_the_same_few_values_by_other_numbers_are_a_leak_of_a_regression() -> None:
    counts = Target("regression", np.arange(N) % 50 + 0.5, (), np.arange(N), ())
    assert "by other names" in leak(_numbers((np.arange(N) % 50) ** 3), counts)


@pytest.mark.parametrize("name", ["", "scores", "tabular", "label", ".1", "#2"])
def test_names_that_bundles_keep_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be called so"):
        check_input_names(["town", name])


def test_other_names_are_fine() -> None:
    check_input_names(["town", "größe in m²", "a/b", "x.1"])
