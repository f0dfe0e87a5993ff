"""An ONNX graph under construction, and the form in which every member's graph leaves a converter.

Whatever produced the nodes, `finish` gives the same outside and repeatable bytes: one FP32 output `scores`
`(n_rows, n_outputs)`, only inputs that are used, canonical names, one import a domain. Knows no framework.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ...serving.contract.tensors import DataType, TensorSpec
from ..member import ConversionError

OPSET = 17
"""Keras exports best at 17 (from 18 on a mean over axes is no longer a pooling), so all is written in it."""

SCORES = "scores"
N_ROWS = "n_rows"
INNER_NAME = re.compile(r"[.#]\d+")
"""Names of values inside a graph, while it is built and once it is finished; no input may have one."""
_IR_VERSION = 10


@dataclass(frozen=True, slots=True)
class Finished:
    """A serialised graph.

    Attributes:
        data: the ONNX file's bytes; the same nodes always give the same bytes.
        inputs: names of the inputs that the graph takes, in order of declaration.
        opset: ONNX domain -> version.
    """

    data: bytes
    inputs: tuple[str, ...]
    opset: Mapping[str, int]


class Graph:
    """Nodes in execution order. Values are known by name; every method returns the name of what it added."""

    def __init__(self, opset: Mapping[str, int] | None = None) -> None:
        """Start an empty graph; `opset` maps domains to versions, by default the standard one to `OPSET`."""
        self.opset: dict[str, int] = dict(opset or {"": OPSET})
        self._inputs: dict[str, TensorSpec] = {}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._functions: list[onnx.FunctionProto] = []
        self._n_values = 0

    def input(self, spec: TensorSpec) -> str:
        """Declare an input; declaring it again changes nothing."""
        self._inputs[spec.name] = spec
        return spec.name

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add an initializer."""
        name = self._fresh()
        self._constants[name] = numpy_helper.from_array(np.asarray(value, dtype), name)
        return name

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        return self.add_several(op, *inputs, n_outputs=1, domain=domain, **attributes)[0]

    def add_several(self, op: str, *inputs: str, n_outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        outputs = [self._fresh() for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def cast(self, value: str, dtype: Any) -> str:
        """Add a cast to a numpy dtype."""
        return self.add("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def columns(self, value: str, indices: Iterable[int]) -> str:
        """Add the selection of some columns of `(n_rows, n)`."""
        return self.add("Gather", value, self.constant(list(indices), np.int64), axis=1)

    def embed(self, model: ModelProto, bindings: Mapping[str, str]) -> dict[str, str]:
        """Add all of a model's nodes.

        Args:
            model: checked ONNX model.
            bindings: name of each of its inputs -> value here that feeds it.

        Returns:
            Name of each of its outputs -> value here.

        Raises:
            ConversionError: it keeps sparse initializers.
        """
        if model.graph.sparse_initializer:
            raise ConversionError("the graph keeps sparse initializers; save it again with dense ones")
        names = dict(bindings)

        def rename(old: str) -> str:
            if old not in names:
                names[old] = self._fresh()
            return names[old]

        for tensor in model.graph.initializer:
            copy = TensorProto()
            copy.CopyFrom(tensor)
            copy.name = rename(tensor.name)
            self._constants[copy.name] = copy
        self._nodes += [_renamed(node, rename) for node in model.graph.node]
        self._functions += model.functions
        for imported in model.opset_import:
            self.opset[imported.domain] = max(self.opset.get(imported.domain, 0), imported.version)
        return {output.name: rename(output.name) for output in model.graph.output}

    def two_columns(self, positive: str) -> str:
        """Turn the probability of the second class, `(n_rows, 1)` FP32, into those of both, `(n_rows, 2)`."""
        return self.add("Concat", self.add("Sub", self.constant([[1.0]], np.float32), positive), positive, axis=1)

    def finish(self, scores: str, n_outputs: int) -> Finished:
        """Return the member's graph that computes `scores`, a value `(n_rows, n_outputs)` of any float type.

        Raises:
            ConversionError: the result is not a valid ONNX model.
        """
        output = TensorSpec(SCORES, DataType.FP32, (-1, n_outputs))
        return self.finish_as("member", {self.cast(scores, np.float32): declared(output)})

    def finish_as(self, name: str, outputs: Mapping[str, ValueInfoProto], *, keep_inputs: bool = False) -> Finished:
        """Return the graph called `name` that computes several outputs.

        Args:
            name: of the graph.
            outputs: value here, each one the output of a node -> the output that it becomes; see `declared`.
            keep_inputs: take every declared input, also one that no output depends on.

        Raises:
            ConversionError: the result is not a valid ONNX model.
        """
        nodes = _needed(self._nodes, list(outputs))
        used = {value for node in nodes for value in _reads(node)}
        inputs = [spec for spec in self._inputs.values() if keep_inputs or spec.name in used]
        names = {spec.name: spec.name for spec in inputs} | {value: info.name for value, info in outputs.items()}

        def rename(old: str) -> str:
            return names.setdefault(old, f"#{len(names)}")

        nodes = [_renamed(node, rename) for node in nodes]
        constants = []
        for old in (old for old in names if old in self._constants):
            self._constants[old].name = names[old]
            self._constants[old].doc_string = ""
            constants.append(self._constants[old])
        graph = helper.make_graph(
            nodes,
            name,
            [declared(spec) for spec in inputs],
            list(outputs.values()),
            constants,
        )
        domains = {node.domain for node in walk(nodes)} | {function.domain for function in self._functions} | {""}
        domains |= {imported.domain for function in self._functions for imported in function.opset_import}
        opset = {domain: self.opset[domain] for domain in sorted(domains)}
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in opset.items()],
            ir_version=_IR_VERSION,
            producer_name="widedeep",
            functions=self._functions,
        )
        _check(model)
        return Finished(model.SerializeToString(deterministic=True), tuple(spec.name for spec in inputs), opset)

    def _fresh(self) -> str:
        self._n_values += 1
        return f".{self._n_values}"


def walk(nodes: Iterable[NodeProto]) -> Iterable[NodeProto]:
    """Yield nodes and those of their subgraphs."""
    for node in nodes:
        yield node
        for graph in _subgraphs(node):
            yield from walk(graph.node)


def declared(spec: TensorSpec) -> ValueInfoProto:
    """Return a tensor as a graph declares it among its inputs or outputs, the first axis `n_rows`."""
    is_text = spec.datatype is DataType.BYTES
    element = TensorProto.STRING if is_text else helper.np_dtype_to_tensor_dtype(spec.datatype.dtype)
    return helper.make_tensor_value_info(spec.name, element, [N_ROWS, *spec.row_shape])


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"the converted graph is not valid ONNX: {error}") from error


def _renamed(node: NodeProto, rename: Callable[[str], str]) -> NodeProto:
    """Return a copy with all values renamed, those inside its subgraphs too; node names and comments are dropped."""
    copy = NodeProto()
    copy.CopyFrom(node)
    _rename_in_place(copy, rename)
    return copy


def _rename_in_place(node: NodeProto, rename: Callable[[str], str]) -> None:
    node.name = node.doc_string = ""
    del node.metadata_props[:]
    node.input[:] = [name and rename(name) for name in node.input]
    node.output[:] = [name and rename(name) for name in node.output]
    for graph in _subgraphs(node):
        del graph.value_info[:]
        for value in graph.input:
            value.name = rename(value.name)
        for tensor in graph.initializer:
            tensor.name = rename(tensor.name)
        for inner in graph.node:
            _rename_in_place(inner, rename)
        for value in graph.output:
            value.name = rename(value.name)


def _needed(nodes: list[NodeProto], values: list[str]) -> list[NodeProto]:
    """Return the nodes on the way to `values`, each after those that it reads from; not every exporter sorts them."""
    maker = {output: node for node in nodes for output in node.output if output}
    ordered: dict[int, NodeProto] = {}
    waiting = [maker[value] for value in reversed(values)]
    while waiting:
        node = waiting[-1]
        if missing := [
            maker[name] for name in sorted(_reads(node)) if name in maker and id(maker[name]) not in ordered
        ]:
            waiting += missing
            continue
        ordered.setdefault(id(node), node)
        waiting.pop()
    return list(ordered.values())


def _reads(node: NodeProto) -> set[str]:
    """Return the names a node reads, those that its subgraphs capture included."""
    return {name for inner in walk([node]) for name in inner.input} | {
        value.name for inner in walk([node]) for graph in _subgraphs(inner) for value in graph.output
    }


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    return [
        graph
        for attribute in node.attribute
        for graph in ([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs)
    ]
