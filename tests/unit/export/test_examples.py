import io

import numpy as np
from widedeep.export.examples import examples_bytes, pick_examples


def _sure(labels: list[int], probability: float = 0.9, n_classes: int = 3) -> np.ndarray:
    scores = np.full((len(labels), n_classes), (1 - probability) / (n_classes - 1))
    scores[np.arange(len(labels)), labels] = probability
    return scores


def test_rows_are_those_that_the_ensemble_has_right_and_a_member_wrong() -> None:
    target = np.array([0, 1, 2, 1])
    ensemble = _sure([0, 1, 2, 0])
    members = np.stack([_sure([0, 0, 2, 0]), _sure([0, 1, 2, 1])])

    assert pick_examples(target, ensemble, members, 5, task="classification").tolist() == [1]


def test_the_row_that_most_members_fail_comes_first() -> None:
    target = np.array([0, 0, 0])
    members = np.stack([_sure([1, 1, 0]), _sure([0, 1, 0]), _sure([0, 2, 1])])

    picked = pick_examples(target, _sure([0, 0, 0]), members, 3, task="classification")

    assert picked[0] == 1
    assert sorted(picked.tolist()) == [0, 1, 2]


def test_each_class_has_its_turn_before_any_has_a_second_one() -> None:
    target = np.array([0, 0, 0, 1])
    members = np.stack([_sure([1, 1, 1, 0]), _sure([1, 1, 1, 1])])

    picked = pick_examples(target, _sure([0, 0, 0, 1]), members, 2, task="classification")

    assert set(target[picked].tolist()) == {0, 1}


def test_rows_of_a_regression_are_nearer_than_every_member() -> None:
    target = np.array([1.0, 2.0, 3.0])
    ensemble = np.array([[1.0], [2.1], [9.0]])
    members = np.array([[[0.0], [2.2], [3.0]], [[2.0], [1.8], [3.5]]])

    assert pick_examples(target, ensemble, members, 5, task="regression").tolist() == [0, 1]


def test_there_may_be_no_such_rows() -> None:
    target = np.array([0, 1])

    right = _sure([0, 1])

    assert len(pick_examples(target, right, np.stack([right, right]), 4, task="classification")) == 0


def test_the_file_holds_the_picked_rows_without_pickles() -> None:
    target = np.array([0, 1, 2])
    text = np.array([["oslo"], ["rome"], [""]], object)

    data = examples_bytes(
        np.array([2, 0]),
        target=target,
        ensemble=_sure([0, 1, 2]),
        scores={"deep": _sure([0, 0, 0])},
        inputs={"city": text},
    )

    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        assert archive["target"].tolist() == [2, 0]
        assert archive["inputs/city"].tolist() == [[""], ["oslo"]]
        assert archive["scores/deep"].shape == (2, 3)
