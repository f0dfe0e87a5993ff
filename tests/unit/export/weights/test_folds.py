import numpy as np
import pytest
from widedeep.export.weights.folds import deal, rest
from widedeep.export.weights.held_out import HeldOut


def held_out(target: np.ndarray) -> HeldOut:
    return HeldOut(np.zeros((1, len(target), 3)), target, "classification")


def test_every_row_is_in_one_fold_and_classes_are_shared_evenly() -> None:
    target = np.repeat([0, 1, 2], [50, 13, 2])
    folds = deal(held_out(target), 5, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(65))
    counts = np.array([np.bincount(target[fold], minlength=3) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all()


def test_folds_depend_on_the_seed_alone() -> None:
    data = held_out(np.arange(60) % 3)
    one, same, other = (deal(data, 5, np.random.default_rng(seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("n_folds", [2, 7])
def test_the_rest_of_a_fold_is_every_other_row(n_folds: int) -> None:
    fold = deal(held_out(np.arange(20) % 3), n_folds, np.random.default_rng(0))[0]
    assert set(rest(fold, 20)) == set(range(20)) - set(fold)
