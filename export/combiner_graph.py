"""A combiner as ONNX operators: the arithmetic of `serving.contract.combiner`, in float64 as there.

Standard operators only, each with the same meaning from opset 13 on. Whether the graph answers as the combiner does is
for the caller to prove.
"""

from collections.abc import Mapping

import numpy as np

from ..serving.contract.combiner import Combiner, Float64Array, LinearPool, LogPool, MeanPool
from .convert.graph import Graph
from .member import ConversionError

LEAST_OPSET = 13
"""The first in which Softmax works along one axis and ReduceSum takes its axes as an input."""

_LEAST_SCORE = 1e-12  # as the combiner has it, before it tempers

Scores = Mapping[int, str]
"""Member's index -> its scores in the graph, float64 `(n_rows, n_outputs)`; for the members that the combiner uses."""


def append(graph: Graph, combiner: Combiner, scores: Scores, n_outputs: int) -> str:
    """Add a combiner and return its answer, float64 `(n_rows, n_outputs)`.

    A part that uses no member adds one row `(1, n_outputs)`, which the mean of several parts spreads over all.

    Raises:
        ConversionError: the kind of combiner is unknown here.
    """
    if not combiner.used:
        return graph.constant(combiner(np.zeros((combiner.n_members, 1, n_outputs))), np.float64)
    match combiner:
        case LinearPool():
            return _linear_pool(graph, combiner, scores, n_outputs)
        case LogPool():
            return _log_pool(graph, combiner, scores)
        case MeanPool(combiners=parts):
            answers = [append(graph, part, scores, n_outputs) for part in parts]
            return graph.add("Div", graph.add("Sum", *answers), _number(graph, len(answers)))
    raise ConversionError(f"combiner: the kind {combiner.kind!r} cannot be written as a graph")


def _linear_pool(graph: Graph, pool: LinearPool, scores: Scores, n_outputs: int) -> str:
    tempered = _tempered(graph, scores, pool.used, pool.temperatures)
    # One weight, or a row of one for each class: both broadcast over (n_rows, n_outputs).
    weighted = [graph.add("Mul", value, graph.constant(pool.weights[i], np.float64)) for i, value in tempered.items()]
    total = graph.add("Sum", *weighted)
    return _normalized(graph, total, n_outputs) if pool.normalize else total


def _log_pool(graph: Graph, pool: LogPool, scores: Scores) -> str:
    clip = _number(graph, pool.clip)
    terms = []
    for i, value in _tempered(graph, scores, pool.used, pool.temperatures).items():
        logs = graph.add("Log", graph.add("Max", value, clip))
        if pool.coefficients.ndim == 1:
            terms.append(graph.add("Mul", logs, _number(graph, pool.coefficients[i])))
        else:
            terms.append(graph.add("MatMul", logs, graph.constant(pool.coefficients[:, i].T, np.float64)))
    if pool.bias is not None:
        terms.append(graph.constant(pool.bias, np.float64))
    return graph.add("Softmax", graph.add("Sum", *terms), axis=-1)


def _tempered(graph: Graph, scores: Scores, used: tuple[int, ...], temperatures: Float64Array | None) -> dict[int, str]:
    if temperatures is None:
        return {i: scores[i] for i in used}
    least = _number(graph, _LEAST_SCORE)

    def sharpened(i: int, temperature: float) -> str:
        logs = graph.add("Log", graph.add("Max", scores[i], least))
        return graph.add("Softmax", graph.add("Div", logs, _number(graph, temperature)), axis=-1)

    return {i: sharpened(i, temperatures[i]) for i in used}


def _normalized(graph: Graph, total: str, n_outputs: int) -> str:
    """Divide each row by its sum; rows that sum to zero become uniform."""
    positive = graph.add("Max", total, _number(graph, 0.0))
    sums = graph.add("ReduceSum", positive, graph.constant([1], np.int64), keepdims=1)
    is_some = graph.add("Greater", sums, _number(graph, 0.0))
    shares = graph.add("Div", positive, graph.add("Where", is_some, sums, _number(graph, 1.0)))
    return graph.add("Where", is_some, shares, _number(graph, 1.0 / n_outputs))


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, np.float64)
