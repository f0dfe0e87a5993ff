"""A combiner as ONNX operators: the arithmetic of `serving.contract.combiner`, in float64 as there.

All members' scores are one tensor, so that the operators are as many for hundreds of members as for two. Standard ones
only, each with the same meaning from opset 13 on. Whether the graph answers as the combiner does is for the caller to
prove.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..serving.contract.combiner import Combiner, Float64Array, LinearPool, LogPool, MeanPool
from .convert.graph import Graph
from .member import ConversionError

LEAST_OPSET = 13
"""The first in which Softmax works along one axis and ReduceSum takes its axes as an input."""

_LEAST_SCORE = 1e-12  # as the combiner has it, before it tempers


@dataclass(frozen=True, slots=True)
class Stack:
    """Scores in a graph.

    Attributes:
        value: float64 `(n_members, n_rows, n_outputs)`.
        members: whose scores they are: each one's index in the combiner.
        n_outputs: columns.
    """

    value: str
    members: tuple[int, ...]
    n_outputs: int


def stack(graph: Graph, scores: Sequence[str], members: tuple[int, ...], n_outputs: int) -> Stack:
    """Add the stack of members' scores, each `(n_rows, n_outputs)` and all of one float type."""
    below = graph.cast(graph.add("Concat", *scores, axis=0), np.float64)
    shape = graph.constant([len(scores), -1, n_outputs], np.int64)
    return Stack(graph.add("Reshape", below, shape), members, n_outputs)


def append(graph: Graph, combiner: Combiner, scores: Stack) -> str:
    """Add a combiner and return its answer, float64 `(n_rows, n_outputs)`.

    A part that uses no member adds one row `(1, n_outputs)`, which the mean of several parts spreads over all.

    Args:
        graph: where the scores are.
        combiner: the combiner.
        scores: of all members that it uses, and maybe of others.

    Raises:
        ConversionError: the kind of combiner is unknown here.
    """
    if not combiner.used:
        return graph.constant(combiner(np.zeros((combiner.n_members, 1, scores.n_outputs))), np.float64)
    match combiner:
        case LinearPool():
            return _linear_pool(graph, combiner, scores)
        case LogPool():
            return _log_pool(graph, combiner, scores)
        case MeanPool(combiners=parts):
            answers = [append(graph, part, scores) for part in parts]
            return graph.add("Div", graph.add("Sum", *answers), _number(graph, len(answers)))
    raise ConversionError(f"combiner: the kind {combiner.kind!r} cannot be written as a graph")


def _linear_pool(graph: Graph, pool: LinearPool, scores: Stack) -> str:
    used = list(pool.used)
    tempered = _tempered(graph, scores, pool.used, pool.temperatures)
    # One weight a member, or a row of one for each class.
    weights = pool.weights[used].reshape(len(used), 1, -1)
    total = _summed(graph, graph.add("Mul", tempered, graph.constant(weights, np.float64)))
    return _normalized(graph, total, scores.n_outputs) if pool.normalize else total


def _log_pool(graph: Graph, pool: LogPool, scores: Stack) -> str:
    used = list(pool.used)
    tempered = _tempered(graph, scores, pool.used, pool.temperatures)
    logs = graph.add("Log", graph.add("Max", tempered, _number(graph, pool.clip)))
    if pool.coefficients.ndim == 1:
        terms = graph.add("Mul", logs, graph.constant(pool.coefficients[used].reshape(-1, 1, 1), np.float64))
    else:
        # From (to class, member, from class) to a matrix for each member.
        matrices = pool.coefficients[:, used].transpose(1, 2, 0)
        terms = graph.add("MatMul", logs, graph.constant(matrices, np.float64))
    logits = _summed(graph, terms)
    if pool.bias is not None:
        logits = graph.add("Add", logits, graph.constant(pool.bias, np.float64))
    return graph.add("Softmax", logits, axis=-1)


def _tempered(graph: Graph, scores: Stack, used: tuple[int, ...], temperatures: Float64Array | None) -> str:
    """Return the scores of the used members, sharpened or flattened by their temperatures."""
    value = scores.value
    if used != scores.members:
        places = [scores.members.index(member) for member in used]
        value = graph.add("Gather", value, graph.constant(places, np.int64), axis=0)
    if temperatures is None:
        return value
    logs = graph.add("Log", graph.add("Max", value, _number(graph, _LEAST_SCORE)))
    by_member = graph.constant(temperatures[list(used)].reshape(-1, 1, 1), np.float64)
    return graph.add("Softmax", graph.add("Div", logs, by_member), axis=-1)


def _summed(graph: Graph, terms: str) -> str:
    """Return the sum over members, `(n_rows, n_outputs)`."""
    return graph.add("ReduceSum", terms, graph.constant([0], np.int64), keepdims=0)


def _normalized(graph: Graph, total: str, n_outputs: int) -> str:
    """Divide each row by its sum; rows that sum to zero become uniform."""
    positive = graph.add("Max", total, _number(graph, 0.0))
    sums = graph.add("ReduceSum", positive, graph.constant([1], np.int64), keepdims=1)
    is_some = graph.add("Greater", sums, _number(graph, 0.0))
    shares = graph.add("Div", positive, graph.add("Where", is_some, sums, _number(graph, 1.0)))
    return graph.add("Where", is_some, shares, _number(graph, 1.0 / n_outputs))


def _number(graph: Graph, value: float) -> str:
    return graph.constant(value, np.float64)
