import numpy as np
import pytest
from widedeep.export.zoo.crosses import information, worth_crossing

ROWS = 2000


def columns() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (ROWS, 5))


def test_codes_of_another_thing_tell_nothing() -> None:
    codes = columns()
    assert information(codes[:, 0], codes[:, 1])[0] == pytest.approx(0, abs=0.005)


def test_a_code_tells_all_of_itself() -> None:
    codes = columns()
    assert information(codes[:, 0], codes[:, 0])[0] == pytest.approx(np.log(4), abs=0.01)


def test_many_codes_do_not_pass_for_telling_ones() -> None:
    assert information(np.arange(ROWS) // 2, columns()[:, 0])[0] < 0.2


def test_the_pair_that_tells_only_together_is_found() -> None:
    codes = columns()
    target = (codes[:, 1] + codes[:, 3]) % 2
    assert worth_crossing(codes, target, 1, is_classifier=True) == [(1, 3)]


def test_values_are_told_of_as_well_as_classes() -> None:
    codes = columns()
    target = (codes[:, 0] * codes[:, 2]).astype(np.float64)
    assert worth_crossing(codes, target, 1, is_classifier=False) == [(0, 2)]


def test_pairs_that_tell_nothing_are_none() -> None:
    codes = columns()
    pairs = worth_crossing(codes, codes[:, 4], 10, is_classifier=True)
    assert pairs == []


@pytest.mark.parametrize(("n_columns", "n_pairs"), [(1, 5), (5, 0)])
def test_without_two_columns_or_a_wish_there_are_no_pairs(n_columns: int, n_pairs: int) -> None:
    codes = columns()
    assert worth_crossing(codes[:, :n_columns], codes[:, 0], n_pairs, is_classifier=True) == []
