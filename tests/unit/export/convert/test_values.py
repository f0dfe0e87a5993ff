"""Values in a graph do what numpy does with the arrays that they stand for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from widedeep.export.convert.graph import Graph, declared
from widedeep.export.convert.values import Value, side_by_side, total
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

X = np.array([[-2.0, 0.5, 3.0], [1.5, -0.25, 40.0], [0.0, 7.0, -800.0]])


def computed(write: Callable[[Value], Value], x: Array, row_shape: tuple[int, ...] = (1,)) -> Array:
    """Run a graph of one input and return what it makes of `x`, with the type that the value claims."""
    graph = Graph()
    name = graph.input(TensorSpec("x", DataType.of(x), (-1, *x.shape[1:])))
    value = write(Value(graph, name, x.dtype))
    out = TensorSpec("out", DataType.of(np.zeros(0, value.dtype)), (-1, *row_shape))
    finished = graph.finish_as("test", {graph.add("Identity", value.name): declared(out)})
    session = ort.InferenceSession(finished.data, providers=["CPUExecutionProvider"])
    answer = np.asarray(session.run(None, {"x": x})[0])
    assert answer.dtype == value.dtype
    return answer


FORMULAS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "arithmetic": (lambda x: (2.0 - x * 3.0) / 4.0 + 1.0, lambda x: (2.0 - x * 3.0) / 4.0 + 1.0),
    "a wider constant": (lambda x: x + np.array([0.1, 0.2, 0.3]), lambda x: x + np.array([0.1, 0.2, 0.3])),
    "a narrower constant": (lambda x: x * np.float32(0.1), lambda x: x * np.float32(0.1)),
    "a reciprocal": (lambda x: 1.0 / (x + 900.0), lambda x: 1.0 / (x + 900.0)),
    "powers": (lambda x: x**2 + x.abs() ** 0.5, lambda x: x**2 + np.abs(x) ** 0.5),
    "a product": (lambda x: x @ X, lambda x: x @ X),
    "a choice": (lambda x: (x > 0.0).where(x, 0.0), lambda x: np.where(x > 0, x, x.dtype.type(0))),
    "bounds": (lambda x: x.clip(-1, 2), lambda x: np.clip(x, -1, 2)),
    "sums": (lambda x: x.sum() + x.max(), lambda x: x.sum(axis=1, keepdims=True) + x.max(axis=1, keepdims=True)),
    "running sums": (lambda x: x.cumsum(), lambda x: np.cumsum(x, axis=1)),
    "a sigmoid": (lambda x: x.sigmoid(), lambda x: (1 / (1 + np.exp(-x.astype(np.float64)))).astype(x.dtype)),
    "the largest": (lambda x: x.argmax(), lambda x: x.argmax(axis=1)[:, np.newaxis]),
    "the smallest": (lambda x: x.smallest(2)[0], lambda x: np.sort(x, axis=1)[:, :2]),
    "columns": (lambda x: side_by_side([x.columns([2, 0]), x]), lambda x: np.concatenate([x[:, [2, 0]], x], axis=1)),
    "a total": (lambda x: total([x, x, x]), lambda x: x + x + x),
    "rows of a table": (lambda x: x.argmax().gather(X), lambda x: X[x.argmax(axis=1)[:, np.newaxis]]),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_has_the_values_and_the_type_that_numpy_gives_it(name: str, dtype: type) -> None:
    write, expected = FORMULAS[name]
    x = X.astype(dtype)
    with np.errstate(all="ignore"):
        wanted = expected(x)
    answer = computed(write, x, wanted.shape[1:])
    assert answer.dtype == wanted.dtype
    np.testing.assert_allclose(answer, wanted, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_whole_numbers_are_divided_as_floats() -> None:
    assert computed(lambda x: x / 2, np.array([[1], [4]])).tolist() == [[0.5], [2.0]]


def test_a_sigmoid_keeps_what_is_very_small() -> None:
    assert computed(lambda x: x.sigmoid(), np.array([[-230.0]]))[0, 0] == pytest.approx(np.exp(-230.0), rel=1e-12)


def test_bounds_leave_missing_values_missing() -> None:
    assert np.isnan(computed(lambda x: x.clip(0, 1), np.array([[np.nan]]))[0, 0])


@pytest.mark.parametrize(
    ("cells", "keys"), [(np.array([["b"], ["z"]], object), ["a", "b"]), (np.array([[7], [9]]), [5, 7])]
)
def test_strings_and_whole_numbers_are_looked_up(cells: Array, keys: list[Any]) -> None:
    assert computed(lambda x: x.lookup(keys, [10, 20], -1), cells).tolist() == [[20], [-1]]
