"""What a target is follows from its values, and `task` overrules it."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from widedeep.export.train.data_error import DataError
from widedeep.export.train.target import read_target


def _cells(values: Any, kind: Any = None) -> Any:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([True, False], ("False", "True")),
        ([1, 0], (0, 1)),
        ([-1, 1], (-1, 1)),
        ([1.0, 2.0], (1, 2)),
        (["b", "a"], ("a", "b")),
        ([3, 5, 9], (3, 5, 9)),
    ],
)
def test_few_different_values_are_classes(values: list[Any], classes: tuple[Any, ...]) -> None:
    target = read_target("y", _cells(values * 10))
    assert target.task == "classification"
    assert target.classes == classes
    assert [type(label) for label in target.classes] == [type(label) for label in classes]
    assert target.values.dtype == np.int64


@pytest.mark.parametrize("values", [list(range(40)), [0.5, 1.5] * 20, [1.0, 2.0, 3.0] * 10])
def test_other_numbers_are_values(values: list[Any]) -> None:
    target = read_target("y", _cells(values))
    assert target.task == "regression"
    assert target.values.tolist() == values


def test_whole_numbers_taken_as_classes_are_told() -> None:
    assert "--task regression" in read_target("y", _cells([1, 2, 3] * 10)).notes[0]


def test_the_task_can_be_said() -> None:
    assert read_target("y", _cells([1, 2, 3] * 10), "regression").values[:3].tolist() == [1, 2, 3]
    assert read_target("y", _cells([0.5, 1.5] * 10), "classification").classes == ("0.5", "1.5")
    assert read_target("y", _cells(["1", "2.5"] * 10), "regression").values[:2].tolist() == [1, 2.5]
    with pytest.raises(DataError, match="no regression can predict"):
        read_target("y", _cells(["a", "b"] * 10), "regression")
    with pytest.raises(DataError, match="30 different classes in 30 rows"):
        read_target("y", _cells(np.arange(30) / 7), "classification")


def test_categories_of_whole_numbers_are_classes() -> None:
    cells = pa.chunked_array([pa.array(list(range(25)) * 4).dictionary_encode()])
    assert read_target("y", cells).classes == tuple(range(25))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (_cells([None, None], pa.string()), "holds no value"),
        (_cells([None, None]), "holds no value"),
        (_cells(["a"] * 9), "only the class a"),
        (_cells(["a", "b", "c"]), "no class with two rows"),
        (_cells([1.5, 1.5]), "1.5 in every row"),
        (_cells([1.5, float("inf")]), "infinite in row 1"),
        (_cells([0], pa.date32()), "expected numbers, text or booleans"),
    ],
)
def test_a_target_with_nothing_to_predict_is_refused(cells: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_target("y", cells)
