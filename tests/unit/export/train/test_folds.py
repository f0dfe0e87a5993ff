"""Folds and parts are stratified and lose no class."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.export.train.data_error import DataError
from widedeep.export.train.folds import deal, part


@given(
    counts=st.lists(st.integers(2, 12), min_size=2, max_size=6),
    n_folds=st.integers(2, 4),
    seed=st.integers(0, 9),
)
def test_every_class_is_outside_of_every_fold(counts: list[int], n_folds: int, seed: int) -> None:
    target = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = deal(target, "classification", n_folds, seed)
    assert sorted(np.concatenate(folds)) == list(range(len(target)))
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    for fold in folds:
        held_out = np.bincount(target[fold], minlength=len(counts))
        assert (held_out < counts).all()
        assert (held_out <= np.ceil(np.array(counts) / n_folds)).all()


def test_folds_of_a_regression_have_low_and_high_values() -> None:
    target = np.random.default_rng(0).normal(size=503)
    folds = deal(target, "regression", 5, 0)
    assert sorted(np.concatenate(folds)) == list(range(503))
    assert max(abs(target[fold].mean() - target.mean()) for fold in folds) < 0.02


def test_the_seed_decides() -> None:
    target = np.arange(100) % 3
    first, again, other = (deal(target, "classification", 4, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_more_folds_than_rows_and_a_class_of_one_row_are_refused() -> None:
    with pytest.raises(DataError, match="2 to 3 folds for 3 rows, got 4"):
        deal(np.array([0, 0, 1]), "classification", 4, 0)
    with pytest.raises(DataError, match="class index 1 has a single row"):
        deal(np.array([0, 0, 1]), "classification", 2, 0)


@given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=5), share=st.floats(0.05, 0.9))
def test_a_part_has_its_share_of_every_class(counts: list[int], share: float) -> None:
    target = np.repeat(np.arange(len(counts)), counts)
    index = part(target, "classification", round(share * len(target)), 0, keep=2, least=1)
    drawn = np.bincount(target[index], minlength=len(counts))
    assert len(set(index.tolist())) == len(index)
    assert (np.array(counts) - drawn >= 2).all()
    assert (drawn[np.array(counts) > 2] >= 1).all()


def test_a_part_of_a_regression_covers_its_values() -> None:
    target = np.random.default_rng(0).normal(size=1000)
    index = part(target, "regression", 100, 0)
    assert len(set(index.tolist())) == 100
    assert abs(target[index].mean() - target.mean()) < 0.02
