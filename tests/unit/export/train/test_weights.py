"""Weights are checked, balanced and brought to the mean 1."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from widedeep.export.train.data_error import DataError
from widedeep.export.train.target import Target, read_target
from widedeep.export.train.weights import read_weights, with_mean_one


def _target(values: list[Any]) -> Target:
    return read_target("y", pa.chunked_array([pa.array(values)]))


CLASSES = _target(["a", "a", "a", "b", "b"])
KEPT = np.arange(5)


def _columns(values: list[Any]) -> dict[str, Any]:
    return {"w": pa.chunked_array([pa.array(values)])}


def test_balanced_classes_weigh_n_by_k_times_their_rows() -> None:
    weights = read_weights(None, {}, KEPT, CLASSES, "balanced")
    assert weights is not None
    assert np.allclose(weights, [5 / 6, 5 / 6, 5 / 6, 5 / 4, 5 / 4])


def test_there_are_none_unless_asked_for() -> None:
    assert read_weights(None, {}, KEPT, CLASSES) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 1, -1, 1, 1], "-1 in row 2"),
        ([1, 1, 1, None, 1], "nan in row 3"),
        ([1.0, np.inf, 1, 1, 1], "inf in row 1"),
        ([0, 0, 0, 0, 0], "zero in every row"),
        (["1", "x", "1", "1", "1"], "holds string; expected numbers"),
    ],
)
def test_weights_that_are_none_are_refused(values: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_weights("w", _columns(values), KEPT, CLASSES)


def test_a_class_without_weight_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match="class 'b' cannot be balanced"):
        read_weights("w", _columns([1, 1, 1, 0, 0]), KEPT, CLASSES, "balanced")


def test_values_cannot_be_balanced() -> None:
    with pytest.raises(DataError, match="class weights are for classes"):
        read_weights(None, {}, KEPT, _target([0.5, 1.5, 2.5, 3.5, 4.5]), "balanced")


def test_a_part_that_weighs_nothing_counts_evenly() -> None:
    assert with_mean_one(np.zeros(3)).tolist() == [1, 1, 1]
