"""A traced TensorFlow function, written as ONNX.

tf2onnx works on the traced graph alone, and takes about 300 bytes for each value that the graph holds: a small graph is
written here, a larger one in a process of its own, which reads it as a SavedModel. Measured, five exports each: a net
of 170 values adds nothing here and takes 0.1 s (another process 5 s, most of it importing TensorFlow); EfficientNetB0
(4 million) took 1.4 GB here and Xception (21 million) 6.4 GB, most of it kept until the garbage collector came round;
saving them for another process takes 0.1 GB.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...serving.contract.tensors import TensorSpec
from ..member import ConversionError
from . import tensorflow_writer as writer
from .graph import Finished, Graph
from .rows import Rows
from .tensorflow_trace import Traced, reason

IN_PROCESS_VALUES = 250_000
"""Weights and constants up to which a graph is written in this process: 75 MB for a moment."""


def write(traced: Traced) -> onnx.ModelProto:
    """Write a traced function as ONNX; the inputs are in the order of the placeholders.

    Raises:
        ConversionError: tf2onnx cannot write it.
    """
    if is_large(traced):
        return _in_another_process(traced.function)
    try:
        return writer.write(traced.function)
    except Exception as error:  # whatever class tf2onnx chose
        raise ConversionError(f"its ONNX export failed: {reason(error)}") from error


def finish(exported: onnx.ModelProto, rows: Rows, n_columns: int, *, is_binary: bool) -> Finished:
    """Return a member's graph of what `write` returned.

    Args:
        exported: ONNX model of one output, `(n_rows, n_columns)` or, for one column, `(n_rows,)`.
        rows: of its inputs, in the order of the placeholders.
        n_columns: of the output.
        is_binary: whether its only column is the probability of the second of two classes.
    """
    graph = Graph()
    specs = list(rows.specs.values())
    bindings = {value.name: _declared(graph, specs[writer.place(value.name)], value) for value in exported.graph.input}
    (output,) = exported.graph.output
    (scores,) = graph.embed(exported, bindings).values()
    if len(output.type.tensor_type.shape.dim) != 2:
        scores = graph.add("Reshape", scores, graph.constant([-1, n_columns], np.int64))
    if is_binary:
        scores = graph.two_columns(graph.cast(scores, np.float32))
    return graph.finish(scores, n_columns + is_binary)


def _declared(graph: Graph, spec: TensorSpec, value: onnx.ValueInfoProto) -> str:
    """Declare an input and cast it to what the exported graph takes."""
    name = graph.input(spec)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return name if spec.datatype.dtype == dtype else graph.cast(name, dtype)


def _in_another_process(function: Any) -> onnx.ModelProto:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        holder = tf.Module()
        holder.held = function.variables
        saved, path = Path(folder) / "saved", Path(folder) / "graph.onnx"
        try:
            tf.saved_model.save(holder, str(saved), signatures=function)
        except Exception as error:  # a resource that is no variable
            raise ConversionError(f"it cannot be saved: {reason(error)}") from error
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", writer.__name__, str(saved), str(path)],
            env=os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise ConversionError(f"its ONNX export failed: {last}")
        return onnx.load(path)


_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",  # this process may hold all of a GPU's memory
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def is_large(traced: Traced) -> bool:
    """Whether a traced function holds too many values to be written here."""
    function = traced.function
    held = [variable.shape.num_elements() or 0 for variable in function.variables]
    held += [value.shape.num_elements() or 0 for value in writer.constants(function).values()]
    held += [
        operation.outputs[0].shape.num_elements() or 0
        for operation in function.graph.get_operations()
        if operation.type == "Const"
    ]
    return sum(held) > IN_PROCESS_VALUES
