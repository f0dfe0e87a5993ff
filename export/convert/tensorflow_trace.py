"""A TensorFlow function with all that it holds, traced for rows of one shape, and what the trace tells about it.

The trace runs the caller's own Python code, in this process; nothing is written as ONNX here.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..member import ConversionError

INPUT = "input_"
"""What the inputs of a traced function are called, followed by their place."""

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_SKIPPED = frozenset({"Identity", "IdentityN", "Cast", "StopGradient"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_PROBABILITIES = frozenset({"Softmax", "Sigmoid"})


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One input of a function that is traced.

    Attributes:
        row_shape: `(d1, ...)`.
        dtype: what it takes.
    """

    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced function of one output.

    Attributes:
        function: TensorFlow's concrete function; its inputs are in the order of the placeholders.
        shape: of its output, None where a size is not fixed.
        ends_in_probabilities: whether the last operation, casts aside, is a softmax or a sigmoid.
        operations: name and type of every operation that its output depends on, those inside loops and branches too,
            and of those that change a variable.
    """

    function: Any
    shape: tuple[int | None, ...]
    ends_in_probabilities: bool
    operations: Sequence[tuple[str, str]]


def trace(call: Callable[..., Any], placeholders: Sequence[Placeholder]) -> Traced:
    """Trace `call`, which takes one tensor `(n_rows, d1, ...)` a placeholder and returns one tensor.

    Raises:
        ConversionError: TensorFlow cannot trace it.
    """
    import tensorflow as tf

    signature = [
        tf.TensorSpec((None, *placeholder.row_shape), placeholder.dtype, name=f"{INPUT}{index}")
        for index, placeholder in enumerate(placeholders)
    ]
    try:
        function = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
        if _is_compiled(function):
            with _inner_functions_inlined():
                function = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
    except ConversionError:
        raise
    except Exception as error:  # whatever class the model's own code raises
        raise ConversionError(f"it cannot be traced as a graph: {reason(error)}") from error
    (output,) = function.outputs
    definition = function.graph.as_graph_def()
    return Traced(
        function=function,
        shape=tuple(output.shape.as_list()),
        ends_in_probabilities=_last_op(definition, output.op.name) in _PROBABILITIES,
        operations=_operations(definition, output.op.name),
    )


def width_of(traced: Traced) -> int:
    """Return the columns of the scores.

    Raises:
        ConversionError: the output is no table, `(n_rows, n_outputs)`, and no single column, `(n_rows,)`.
    """
    shape = traced.shape
    if len(shape) not in {1, 2} or None in shape[1:]:
        raise ConversionError(
            f"expected one output (n_rows, n_outputs), got the shape {list(shape)}; flatten it at the end of the "
            f"model: keras.Model(model.inputs, keras.layers.Flatten()(y))"
        )
    return int(shape[1] or 1) if len(shape) == 2 else 1


def _is_compiled(function: Any) -> bool:
    """Whether a part of it is to be compiled: tf2onnx does not see into that. Keras compiles grouped convolutions."""
    library = function.graph.as_graph_def().library.function
    return any("_XlaMustCompile" in inner.attr for inner in library)


@contextlib.contextmanager
def _inner_functions_inlined() -> Iterator[None]:
    import tensorflow as tf

    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)


def _last_op(definition: Any, last: str) -> str:
    """Return the type of the operation that an output comes from, past casts and into the functions that are called."""
    functions = {function.signature.name: function for function in definition.library.function}
    nodes = {node.name: node for node in definition.node}
    node = nodes[last]
    while True:
        if node.op in _CALLS and node.attr["f"].func.name in functions:
            called = functions[node.attr["f"].func.name]
            nodes = {inner.name: inner for inner in called.node_def}
            read = called.ret[called.signature.output_arg[0].name]
        elif node.op in _SKIPPED and node.input:
            read = node.input[0]
        else:
            return str(node.op)
        if (name := read.partition(":")[0]) not in nodes:
            return str(node.op)
        node = nodes[name]


def _operations(definition: Any, last: str) -> list[tuple[str, str]]:
    """Return name and type of the operations that one is computed from, whole functions included; and assignments."""
    nodes = {node.name: node for node in definition.node}
    functions = {function.signature.name: function.node_def for function in definition.library.function}
    found: dict[str, Any] = {}
    waiting = [nodes[last], *(node for node in definition.node if node.op.startswith("Assign"))]
    while waiting:
        node = waiting.pop()
        if node.name in found:
            continue
        found[node.name] = node
        read = (name.partition(":")[0] for name in node.input if not name.startswith("^"))
        waiting += [nodes[name] for name in read if name in nodes]
        called = (attribute.func.name for attribute in node.attr.values() if attribute.HasField("func"))
        waiting += [inner for name in called for inner in functions.pop(name, ())]
    return [(node.name, node.op) for node in found.values()]


def reason(error: Exception) -> str:
    """Return an error's class and the first line that says why: Keras writes which layer it was above it."""
    lines = [_STYLE.sub("", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered")]
    return f"{type(error).__name__}: {told[0] if told else ''}"
