from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from widedeep.export.convert.grown import Feature, Grown
from widedeep.export.convert.paths import reach_splits
from widedeep.export.convert.rows import Column
from widedeep.export.convert.trees import Tree, Trees
from widedeep.export.probes import UNSEEN, Bases
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

COLUMNS = [Column("x", 0, None), Column("x", 1, None)]
NUMBERS = [Feature(0), Feature(1)]


def chain(thresholds: Sequence[float], features: Sequence[int], dtype: Any, **options: Any) -> Tree:
    """Return a tree whose every split ends on its right and goes on on its left; rows must pass all to get down."""
    n = len(thresholds)
    return Tree(
        feature=np.array(features),
        threshold=np.array(thresholds, dtype),
        left=np.array([*range(1, n), -1]),
        right=np.array([-2 - i for i in range(n)]),
        missing_left=options.pop("missing_left", np.zeros(n, bool)),
        leaf=np.arange(n + 1, dtype=dtype),
        **options,
    )


def reached(
    tree: Tree, rows: Array, mode: Any = "<", features: Any = NUMBERS, *, nan: bool = False, **grown: Any
) -> Any:
    """Return the probes of one tree over the columns of one tensor, and the last coverage."""
    trees = Trees([tree], 1, mode, tree.threshold.dtype)
    spec = TensorSpec("x", DataType.of(rows), (-1, 2), allow_nan=nan)
    bases = Bases({"x": rows}, np.zeros(len(rows)))
    made = list(reach_splits(Grown(trees, features, **grown), COLUMNS, [spec], bases, max_rows=100))
    return np.concatenate([probe.rows["x"] for probe in made]), made[-1].coverage["splits"]


def around(value: float, dtype: Any) -> set[float]:
    exact = np.asarray(value, dtype)
    low, high = np.asarray(-np.inf, dtype), np.asarray(np.inf, dtype)
    return {float(np.nextafter(exact, low)), float(exact), float(np.nextafter(exact, high))}


@pytest.mark.parametrize("mode", ["<", "<="])
def test_a_split_that_no_real_row_reaches_gets_rows_at_its_threshold(mode: str) -> None:
    rows = np.full((20, 2), 100, np.float32)
    tree = chain([5.0, 4.0, 1.5], [0, 1, 0], np.float32)
    probes, covered = reached(tree, rows, mode)
    passes = np.less if mode == "<" else np.less_equal
    deepest = probes[passes(probes[:, 0], 5) & passes(probes[:, 1], 4)]
    assert around(1.5, np.float32) <= set(deepest[:, 0].tolist())
    assert covered == (3, 3)


def test_columns_wider_than_the_comparison_are_probed_in_steps_of_both_types() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 2))
    probes, _ = reached(chain([0.1], [0], np.float32), rows)
    exact = float(np.float32(0.1))
    assert set(probes[:, 0].tolist()) == around(exact, np.float64) | around(exact, np.float32)


def test_features_that_are_cast_before_they_are_compared_are_probed_in_steps_of_that_type() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 2))
    probes, _ = reached(chain([0.1], [0], np.float64), rows, "<=", dtype=np.float32)
    assert around(0.1, np.float32) <= set(probes[:, 0].tolist())


def test_integers_are_probed_on_both_sides_of_a_threshold_between_them() -> None:
    rows = np.arange(40).reshape(20, 2)
    probes, _ = reached(chain([5.0, 2.5], [0, 0], np.float64), rows, "<=")
    assert {2, 3, 5, 6} <= set(probes[:, 0].tolist())


def test_a_split_below_another_of_the_same_feature_that_cannot_be_passed_is_not_probed() -> None:
    tree = Tree(
        feature=np.array([0, 0, 0]),
        threshold=np.array([1.0, 2.0, 3.0]),
        left=np.array([1, -1, -2]),
        right=np.array([-3, 2, -4]),  # below 1 and not below 2
        missing_left=np.zeros(3, bool),
        leaf=np.arange(4.0),
    )
    _, covered = reached(tree, np.zeros((5, 2)))
    assert covered == (2, 3)


def test_missing_values_come_to_a_split_where_they_are_legal() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 2))
    tree = chain([0.5, 0.0], [0, 0], np.float64, missing_left=np.array([True, True]))
    assert np.isnan(reached(tree, rows, nan=True)[0][:, 0]).sum() == 2
    assert not np.isnan(reached(tree, rows)[0]).any()


def test_every_category_comes_to_a_split_and_one_that_no_split_names() -> None:
    rows = np.random.default_rng(0).integers(0, 3, (20, 2)).astype(float)
    tree = chain([0.0, 0.0], [0, 0], np.float64, categories={0: [1, 4, 6], 1: [4]})
    probes, covered = reached(tree, rows)
    assert set(probes[:, 0].tolist()) == {1, 4, 6, 7}
    assert covered == (2, 2)


@pytest.mark.parametrize("scale", [2.0, -2.0])
def test_a_threshold_behind_a_scaler_is_taken_back_to_the_column(scale: float) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    features = [Feature(0, (lambda scaled: scaled / scale + 7,)), Feature(1)]
    tree = chain([3.0, 0.5, 1.0], [0, 1, 0], np.float64)
    probes, covered = reached(tree, rows, features=features)
    assert covered == (3, 3)
    scaled = (probes[:, 0] - 7) * scale
    for threshold in (3.0, 1.0):
        near = scaled[np.isclose(scaled, threshold)]
        assert (near < threshold).any()
        assert (near >= threshold).any()


def test_codes_of_strings_are_written_as_the_strings() -> None:
    colours = np.array([["red"], ["blue"], ["red"]], object)
    tree = chain([0.0], [0], np.float32, categories={0: [0, 2]})
    trees = Trees([tree], 1, "<", np.float32)
    spec = TensorSpec("colour", DataType.BYTES, (-1, 1))
    grown = Grown(trees, [Feature(0, labels=("red", "green", "blue"))])
    bases = Bases({"colour": colours}, np.zeros(3))
    (probe,) = reach_splits(grown, [Column("colour", 0, "colour")], [spec], bases, max_rows=100)
    assert set(probe.rows["colour"].ravel().tolist()) == {"red", "blue", UNSEEN}


def test_a_feature_that_is_not_made_of_one_column_is_passed_over() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    probes, covered = reached(chain([0.5, 0.25, 0.1], [0, 1, 0], np.float64), rows, features=[None, Feature(1)])
    assert covered == (1, 3)
    assert around(0.25, np.float64) == set(probes[:, 1].tolist())


def test_trees_are_probed_up_to_a_limit_and_what_was_is_counted() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    trees = Trees([chain([0.5, 0.25], [0, 1], np.float64) for _ in range(400)], 1, "<", np.float64)
    bases = Bases({"x": rows}, np.zeros(50))
    spec = TensorSpec("x", DataType.FP64, (-1, 2), allow_nan=False)
    made = list(reach_splits(Grown(trees, NUMBERS), COLUMNS, [spec], bases, max_rows=10))
    done, of = made[-1].coverage["splits"]
    assert of == 800
    assert 50 < done < 200


def test_rows_of_which_the_model_is_in_doubt_are_preferred() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 2))
    doubt = np.zeros(50)
    doubt[7] = 0.5
    spec = TensorSpec("x", DataType.FP64, (-1, 2), allow_nan=False)
    trees = Trees([chain([0.5], [0], np.float64)], 1, "<", np.float64)
    (probe,) = reach_splits(Grown(trees, NUMBERS), COLUMNS, [spec], Bases({"x": rows}, doubt), max_rows=10)
    assert set(probe.rows["x"][:, 1].tolist()) == {rows[7, 1]}
