"""A whole ensemble as one graph: the members' graphs side by side, the combiner behind them, the bundle's own outputs.

Reads and writes no file and proves nothing; see `fuse` for that.
"""

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from ..serving.contract.bundle import Bundle
from ..serving.contract.tensors import DataType, TensorSpec
from .combiner_graph import LEAST_OPSET, append
from .convert.graph import INNER_NAME, Finished, Graph
from .convert.opsets import aligned
from .member import ConversionError


def members_in(bundle: Bundle, *, member_scores: bool) -> tuple[int, ...]:
    """Return the indices of the members that a fused graph holds: those the combiner uses, or all."""
    return tuple(range(len(bundle.members))) if member_scores else bundle.combiner.used


def outputs_in(bundle: Bundle, *, member_scores: bool) -> tuple[TensorSpec, ...]:
    """Return a fused graph's outputs."""
    return (*bundle.outputs, *(bundle.score_outputs if member_scores else ()))


def fused_graph(bundle: Bundle, graphs: Mapping[str, ModelProto], *, member_scores: bool = False) -> Finished:
    """Return one graph that takes the bundle's inputs and answers its outputs.

    Args:
        bundle: whose inputs, combiner, classes and output names apply. Every input is taken, also one that only
            members with no weight read, so that a request is the same whoever answers it.
        graphs: member name -> its graph with one output, for all that `members_in` names.
        member_scores: answer `scores/<member>` too, for every member.

    Raises:
        ConversionError: the members cannot stand in one graph, the combiner uses none of them, or an input has the name
            of an output.
    """
    outputs = {spec.name: spec for spec in outputs_in(bundle, member_scores=member_scores)}
    _check(bundle, outputs)
    held = {i: bundle.members[i].name for i in members_in(bundle, member_scores=member_scores)}
    models = aligned({name: graphs[name] for name in held.values()}, {"": LEAST_OPSET})
    graph = Graph({"": LEAST_OPSET})
    inputs = {spec.name: graph.input(spec) for spec in bundle.inputs}
    scores = {}
    for i, name in held.items():
        fed = {value.name: inputs[value.name] for value in models[name].graph.input}
        (scores[i],) = graph.embed(models[name], fed).values()
    wide = {i: graph.cast(value, np.float64) for i, value in scores.items() if i in bundle.combiner.used}
    combined = append(graph, bundle.combiner, wide, bundle.n_outputs)
    made = {bundle.outputs[0].name: graph.cast(combined, np.float32)}
    if "label" in outputs:
        made["label"] = _label(graph, bundle, combined)
    if member_scores:
        made |= {spec.name: graph.cast(scores[i], np.float32) for i, spec in enumerate(bundle.score_outputs)}
    named = {value: outputs[name] for name, value in made.items()}
    return graph.finish_as("ensemble", named, keep_inputs=True)


def _label(graph: Graph, bundle: Bundle, combined: str) -> str:
    """Add the class of the best score, the first of equal ones, `(n_rows, 1)`."""
    is_text = bundle.outputs[1].datatype is DataType.BYTES
    classes = graph.constant(np.array(bundle.classes, object if is_text else np.int64))
    return graph.add("Gather", classes, graph.add("ArgMax", combined, axis=1, keepdims=1), axis=0)


def _check(bundle: Bundle, outputs: Mapping[str, TensorSpec]) -> None:
    if not bundle.combiner.used:
        raise ConversionError("the combiner uses no member, so the fused graph would answer a constant")
    for spec in bundle.inputs:
        if spec.name in outputs or INNER_NAME.fullmatch(spec.name):
            raise ConversionError(
                f"input {spec.name!r} has a name that the fused graph needs itself; rename it in the members' rows"
            )
