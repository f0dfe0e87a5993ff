"""tf2onnx, on one traced TensorFlow function; runs where `tensorflow_graph` wants it, here or as a process.

python -m widedeep.export.convert.tensorflow_writer SAVED_MODEL FILE
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx

from .graph import OPSET
from .tensorflow_trace import INPUT


def write(function: Any) -> onnx.ModelProto:
    """Write a concrete function with one output and no resources but variables; its inputs keep their names."""
    import tf2onnx

    given = [tensor.name for tensor in function.inputs if tensor.dtype.name != "resource"]
    held = constants(function)
    frozen = _frozen(function, held)
    with _quiet("tf2onnx", "tensorflow"):  # what they would say shows in the graph, which is checked
        written: tuple[onnx.ModelProto, Any] = tf2onnx.convert.from_graph_def(
            frozen,
            input_names=[name for name in given if name not in held],
            output_names=[tensor.name for tensor in function.outputs],
            opset=OPSET,
            custom_op_handlers={name: (handler, []) for name, handler in _HANDLERS.items()},
        )
    _open_one_hots(written[0].graph)
    return written[0]


def place(name: str) -> int:
    """Return the place among the inputs of one that is called so in the graph."""
    return int(name.partition(":")[0].rpartition(INPUT)[2])


def constants(function: Any) -> Mapping[str, Any]:
    """Return the tensors, not variables, that the function's code has captured: name inside -> tensor."""
    return {inside.name: held for held, inside in function.graph.captures if held.dtype.name != "resource"}


def _frozen(function: Any, held: Mapping[str, Any]) -> Any:
    """Return the graph with constants in the place of variables and of captured tensors."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True).graph
    definition = graph.as_graph_def(add_shapes=True)
    values = {name.partition(":")[0]: tensor for name, tensor in held.items()}
    for node in definition.node:
        if node.op == "Placeholder" and node.name in values:
            value = np.asarray(values[node.name])
            node.op = "Const"
            del node.attr["shape"]
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    return definition


def _open_one_hots(graph: onnx.GraphProto) -> None:
    """Let numbers below zero have no place in OneHot nodes, as in TensorFlow; ONNX counts them from the end."""
    nodes = list(graph.node)
    del graph.node[:]
    for i, node in enumerate(nodes):
        if node.op_type == "OneHot":
            number, depth, _ = node.input
            zero = onnx.numpy_helper.from_array(np.zeros((), np.int64), f"one_hot_{i}/zero")
            graph.initializer.append(zero)
            like = {name: f"one_hot_{i}/{name}" for name in ("nil", "none", "is_below", "number")}
            graph.node.extend(
                [
                    onnx.helper.make_node("CastLike", [zero.name, number], [like["nil"]]),
                    onnx.helper.make_node("CastLike", [depth, number], [like["none"]]),
                    onnx.helper.make_node("Less", [number, like["nil"]], [like["is_below"]]),
                    onnx.helper.make_node("Where", [like["is_below"], like["none"], number], [like["number"]]),
                ]
            )
            node.input[0] = like["number"]
        graph.node.append(node)


@contextlib.contextmanager
def _quiet(*libraries: str) -> Iterator[None]:
    logs = {log: log.level for log in map(logging.getLogger, libraries)}
    try:
        for log in logs:
            log.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)


def _difference(context: Any, node: Any, minuend: Any, subtrahend: Any) -> None:
    """Put a difference in the place of a node; each term is a number or the operation to apply to its input."""
    shapes, dtypes, outputs, inputs = node.output_shapes, node.output_dtypes, node.output, node.input
    context.remove_node(node.name)

    def term(value: Any) -> str:
        if isinstance(value, str):
            return str(context.make_node(value, inputs, shapes=shapes, dtypes=dtypes).output[0])
        constant = np.asarray(value, onnx.helper.tensor_dtype_to_np_dtype(dtypes[0]))
        return str(context.make_const(f"{node.name}/{value}", constant).output[0])

    terms = [term(minuend), term(subtrahend)]
    context.make_node("Sub", terms, outputs=outputs, shapes=shapes, dtypes=dtypes, name=node.name)


def _erfc(context: Any, node: Any, _: str, __: Any) -> None:
    """Write the complementary error function, which exact gelu uses, as one minus the error function."""
    _difference(context, node, 1, "Erf")


def _expm1(context: Any, node: Any, _: str, __: Any) -> None:
    _difference(context, node, "Exp", 1)


def _log1p(context: Any, node: Any, _: str, __: Any) -> None:
    shapes, dtypes, outputs, (value,) = node.output_shapes, node.output_dtypes, node.output, node.input
    context.remove_node(node.name)
    one = context.make_const(f"{node.name}/1", np.ones((), onnx.helper.tensor_dtype_to_np_dtype(dtypes[0])))
    total = context.make_node("Add", [value, one.output[0]], shapes=shapes, dtypes=dtypes)
    context.make_node("Log", total.output, outputs=outputs, shapes=shapes, dtypes=dtypes, name=node.name)


def _bucketize(context: Any, node: Any, _: str, __: Any) -> None:
    """Write how many boundaries are not above a value."""
    boundaries = context.make_const(f"{node.name}/boundaries", np.array(node.get_attr("boundaries").floats, np.float32))
    last = context.make_const(f"{node.name}/last", np.array([-1], np.int64))
    shapes, dtypes, outputs, (value,) = node.output_shapes, node.output_dtypes, node.output, node.input
    context.remove_node(node.name)
    number = context.make_node("Cast", [value], attr={"to": onnx.TensorProto.FLOAT})
    each = context.make_node("Unsqueeze", [number.output[0], last.output[0]])
    below = context.make_node("Less", [each.output[0], boundaries.output[0]])
    passed = context.make_node("Cast", context.make_node("Not", below.output).output, attr={"to": dtypes[0]})
    context.make_node(
        "ReduceSum",
        [passed.output[0], last.output[0]],
        attr={"keepdims": 0},
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
    )


_HANDLERS = {"Bucketize": _bucketize, "Erfc": _erfc, "Expm1": _expm1, "Log1p": _log1p}
"""TensorFlow operation that ONNX and tf2onnx lack -> what writes it; exact to one rounding near one."""


def main(saved: str, path: str) -> None:
    """Write the only signature of a SavedModel."""
    import tensorflow as tf

    loaded = tf.saved_model.load(saved)
    (function,) = loaded.signatures.values()
    onnx.save(write(function), path)


if __name__ == "__main__":
    main(*sys.argv[1:])
