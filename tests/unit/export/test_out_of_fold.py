from typing import Any

import numpy as np
import pytest
from widedeep.export.out_of_fold import Recipe, cross_fit
from widedeep.serving.contract.tensors import Array

N_ROWS = 12
INPUTS = {"x": np.arange(N_ROWS, dtype=np.float64)[:, None]}
LABELS = np.arange(N_ROWS) * 10
FOLDS = [np.array([0, 7, 3]), np.array([11, 1, 2, 8]), np.array([4, 5, 6, 9, 10])]


class Memory:
    """A model that knows the rows it was trained on and answers 1 for these, 0 for others."""

    def __init__(self, x: Array, labels: Array, seed: int) -> None:
        self.seen = dict(zip(x[:, 0], labels, strict=True))
        self.seed = seed

    def score(self, x: Array) -> Array:
        return np.array([[float(value in self.seen), value] for value in x[:, 0]], np.float32)


def _recipe() -> Recipe:
    return Recipe(
        "memory",
        lambda inputs, labels, seed: Memory(inputs["x"], labels, seed),
        lambda model, inputs: model.score(inputs["x"]),
    )


def test_every_row_is_scored_by_a_model_that_has_not_seen_it_and_in_its_own_place() -> None:
    scores = cross_fit(_recipe(), INPUTS, LABELS, FOLDS).scores
    np.testing.assert_array_equal(scores[:, 0], np.zeros(N_ROWS))
    np.testing.assert_array_equal(scores[:, 1], np.arange(N_ROWS))
    assert scores.dtype == np.float64


def test_the_model_that_is_kept_has_seen_every_row_with_its_label() -> None:
    model: Any = cross_fit(_recipe(), INPUTS, LABELS, FOLDS, seed=3).model
    assert model.seen == {float(row): row * 10 for row in range(N_ROWS)}
    assert model.seed == 3


def test_progress_is_told_after_each_training() -> None:
    told: list[None] = []
    cross_fit(_recipe(), INPUTS, LABELS, FOLDS, on_fit=lambda: told.append(None))
    assert len(told) == len(FOLDS) + 1


@pytest.mark.parametrize(
    "folds",
    [[], FOLDS[:2], [*FOLDS, np.array([0])], [*FOLDS[:2], np.array([4, 5, 6, 9, 12])]],
    ids=["none", "rows missing", "a row twice", "a row that is not there"],
)
def test_folds_that_are_no_partition_of_the_rows_are_refused(folds: list[Array]) -> None:
    with pytest.raises(ValueError, match="folds that hold each of 12 rows exactly once"):
        cross_fit(_recipe(), INPUTS, LABELS, folds)
