"""The best classes of each row as text."""

import numpy as np
from widedeep.serving.protocol.classification import top_classes

SCORES = np.array([[0.25, 0.5, 0.25], [1.0, -3.5, 0.0]], np.float32)


def test_classes_come_best_first_with_their_names() -> None:
    assert top_classes(SCORES, 2, ("cat", "dog", "owl")).tolist() == [
        ["0.500000:1:dog", "0.250000:0:cat"],
        ["1.000000:0:cat", "0.000000:2:owl"],
    ]


def test_classes_without_names_have_their_index_only() -> None:
    assert top_classes(SCORES, 1).tolist() == [["0.500000:1"], ["1.000000:0"]]


def test_more_classes_than_there_are_means_all() -> None:
    assert top_classes(SCORES, 9).shape == (2, 3)
