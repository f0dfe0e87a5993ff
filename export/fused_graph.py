"""A whole ensemble as one graph: the members' graphs side by side and the combiner behind them.

    fused_graph       for any ONNX runtime: takes the bundle's inputs, answers its outputs
    combined_graph    for the server: takes what its members read, answers the combination and the scores it is made of

Reads and writes no file and proves nothing; see `fuse` and `bundled_graph` for that.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ..serving.contract.bundle import Bundle
from ..serving.contract.tensors import DataType, TensorSpec
from ..serving.engine.member import COMBINED, SCORES
from .combiner_graph import LEAST_OPSET, Stack, append, stack
from .convert.graph import INNER_NAME, N_ROWS, Finished, Graph, declared
from .convert.opsets import aligned
from .member import ConversionError

MOST_BYTES = (2 << 30) - (1 << 20)
"""An ONNX file is one protobuf message, which ends at 2 GiB; some is left for the combiner."""


def check_size(n_bytes: int) -> None:
    """Refuse members that together are too large for one graph.

    Raises:
        ConversionError: they are.
    """
    if n_bytes > MOST_BYTES:
        raise ConversionError(
            f"the members together take {n_bytes / 2**30:.2f} GiB, and an ONNX file without external data ends at "
            f"2 GiB; serve the bundle itself"
        )


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
    joined = _joined(bundle, graphs, members_in(bundle, member_scores=member_scores), bundle.inputs, outputs)
    graph = joined.graph
    made = {bundle.outputs[0].name: graph.cast(joined.combined, np.float32)}
    if "label" in outputs:
        made["label"] = _label(graph, bundle, joined.combined)
    if member_scores:
        made |= {spec.name: graph.cast(joined.scores[i], np.float32) for i, spec in enumerate(bundle.score_outputs)}
    named = {value: declared(outputs[name]) for name, value in made.items()}
    return graph.finish_as("ensemble", named, keep_inputs=True)


def combined_graph(bundle: Bundle, graphs: Mapping[str, ModelProto]) -> Finished:
    """Return the graph that `FusedSpec` describes: of the members that the combiner uses, in float64 as it computes.

    Args:
        bundle: whose inputs and combiner apply.
        graphs: member name -> its graph with one output, for all that the combiner uses.

    Raises:
        ConversionError: as `fused_graph`.
    """
    held, n_outputs = bundle.combiner.used, bundle.n_outputs
    taken = bundle.inputs_of([bundle.members[i].name for i in held])
    inputs = [spec for spec in bundle.inputs if spec.name in taken]
    joined = _joined(bundle, graphs, held, inputs, (COMBINED, SCORES))
    combined = helper.make_tensor_value_info(COMBINED, TensorProto.DOUBLE, [N_ROWS, n_outputs])
    scores = helper.make_tensor_value_info(SCORES, TensorProto.DOUBLE, [len(held), N_ROWS, n_outputs])
    outputs = {joined.combined: combined, joined.stack.value: scores}
    return joined.graph.finish_as("ensemble", outputs, keep_inputs=True)


@dataclass(frozen=True, slots=True)
class _Joined:
    """Members and combiner in one graph that has no outputs yet.

    Attributes:
        graph: holds them.
        scores: member's index -> its scores as it answers them.
        stack: the same in float64, of the members that the combiner uses.
        combined: the combiner's answer, float64 `(n_rows, n_outputs)`.
    """

    graph: Graph
    scores: Mapping[int, str]
    stack: Stack
    combined: str


def _joined(
    bundle: Bundle,
    graphs: Mapping[str, ModelProto],
    held: Iterable[int],
    inputs: Collection[TensorSpec],
    outputs: Collection[str],
) -> _Joined:
    _check(bundle, inputs, outputs)
    names = {i: bundle.members[i].name for i in held}
    models = aligned({name: graphs[name] for name in names.values()}, {"": LEAST_OPSET})
    graph = Graph({"": LEAST_OPSET})
    values = {spec.name: graph.input(spec) for spec in inputs}
    scores = {}
    for i, name in names.items():
        fed = {value.name: values[value.name] for value in models[name].graph.input}
        (scores[i],) = graph.embed(models[name], fed).values()
    used = bundle.combiner.used
    of_used = [scores[i] for i in used]
    if len({models[names[i]].graph.output[0].type.tensor_type.elem_type for i in used}) > 1:
        of_used = [graph.cast(value, np.float64) for value in of_used]
    together = stack(graph, of_used, used, bundle.n_outputs)
    return _Joined(graph, scores, together, append(graph, bundle.combiner, together))


def _label(graph: Graph, bundle: Bundle, combined: str) -> str:
    """Add the class of the best score, the first of equal ones, `(n_rows, 1)`."""
    is_text = bundle.outputs[1].datatype is DataType.BYTES
    classes = graph.constant(np.array(bundle.classes, object if is_text else np.int64))
    return graph.add("Gather", classes, graph.add("ArgMax", combined, axis=1, keepdims=1), axis=0)


def _check(bundle: Bundle, inputs: Collection[TensorSpec], outputs: Collection[str]) -> None:
    if not bundle.combiner.used:
        raise ConversionError("the combiner uses no member, so the fused graph would answer a constant")
    for spec in inputs:
        if spec.name in outputs or INNER_NAME.fullmatch(spec.name):
            raise ConversionError(
                f"input {spec.name!r} has a name that the fused graph needs itself; rename it in the members' rows"
            )
