"""Thresholds are moved in front of a step so that not one float changes sides."""

import numpy as np
import pytest
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.sklearn_bent import as_compared, unbent
from widedeep.export.convert.sklearn_table import Bend, Origin
from widedeep.export.convert.trees import Tree, Trees
from widedeep.export.convert.values import Value
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec


def stump(threshold: float, mode: str, dtype: type) -> Trees:
    """Return a tree that asks its one feature about one threshold."""
    tree = Tree(
        feature=np.array([0]),
        threshold=np.array([threshold], dtype),
        left=np.array([-1]),
        right=np.array([-2]),
        missing_left=np.array([False]),
        leaf=np.array([1.0, 2.0]),
    )
    return Trees([tree], 1, mode, dtype)  # type: ignore[arg-type]  # "<" or "<="


def moved(trees: Trees, forward: object, dtype: type) -> tuple[Trees, Tree]:
    graph = Graph()
    spec = TensorSpec("x", DataType.of(np.zeros(0, dtype)), (-1, 1))
    source = Value(graph, graph.input(spec), np.dtype(dtype))
    origin = Origin(0, (), Bend(source, (forward,)))  # type: ignore[arg-type]  # a function of an array
    out, _ = unbent(trees, source.astype(trees.dtype), [origin], as_compared(trees.dtype))
    return out, out.trees[0]


@pytest.mark.parametrize("mode", ["<", "<="])
@pytest.mark.parametrize("compared", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [np.float32, np.float64])
def test_the_last_number_that_passes_behind_is_the_threshold_in_front(mode: str, compared: type, rows: type) -> None:
    trees = stump(1.2345, mode, compared)
    out, tree = moved(trees, np.log1p, rows)
    last = rows(tree.threshold[0])
    around = np.array([last, np.nextafter(last, rows(np.inf))])
    behind = np.log1p(around).astype(compared)
    passes = behind < trees.trees[0].threshold[0] if mode == "<" else behind <= trees.trees[0].threshold[0]
    assert passes.tolist() == [True, False]
    assert (out.mode, out.dtype) == ("<=", np.float64)


def test_where_nothing_or_everything_passes_the_threshold_is_infinite() -> None:
    def half(values: Array) -> Array:
        return np.asarray(1 / (1 + np.exp(-values)))

    with np.errstate(over="ignore"):
        assert moved(stump(-1.0, "<=", np.float64), half, np.float64)[1].threshold[0] == -np.inf
        assert moved(stump(2.0, "<=", np.float64), half, np.float64)[1].threshold[0] == np.inf


def test_a_missing_value_that_a_step_fills_goes_where_the_filling_goes() -> None:
    def filled(values: Array) -> Array:
        return np.log1p(np.where(np.isnan(values), 1.0, values))

    assert moved(stump(3.0, "<=", np.float64), filled, np.float64)[1].missing_left[0]
    assert not moved(stump(0.5, "<=", np.float64), filled, np.float64)[1].missing_left[0]
    assert not moved(stump(3.0, "<=", np.float64), np.log1p, np.float64)[1].missing_left[0]


def test_trees_that_look_at_no_such_column_stay_as_they_are() -> None:
    trees = stump(1.0, "<", np.float32)
    graph = Graph()
    x = Value(graph, graph.input(TensorSpec("x", DataType.FP32, (-1, 1))), np.dtype(np.float32))
    assert unbent(trees, x, [Origin(0)], as_compared(np.float32)) == (trees, x)
