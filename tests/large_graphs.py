"""Graphs with weights or activations of a size that shows in a process's memory."""

from functools import cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WIDTH = 1024
CHANNELS = 16
IMAGE = (CHANNELS, 32, 32)


@cache
def dense_graph(n_layers: int = 1, seed: int = 0) -> bytes:
    """Return `x (n_rows, 1024)` -> relu(x @ w) for every layer -> `scores (n_rows, 1024)`: 4 MiB of weights a layer."""
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    for i in range(n_layers):
        w = (rng.normal(size=(WIDTH, WIDTH)) / 32).astype(np.float32)
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"a{i}" if i else "x", f"w{i}"], [f"z{i}"]))
        nodes.append(helper.make_node("Relu", [f"z{i}"], [f"a{i + 1}" if i + 1 < n_layers else "scores"]))
    return _model(nodes, weights, (WIDTH,), (WIDTH,))


@cache
def conv_graph(n_layers: int = 6, seed: int = 0) -> bytes:
    """Return `x (n_rows, 16, 32, 32)` -> convolutions of that shape -> `scores`: 64 KiB a row between layers."""
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    for i in range(n_layers):
        w = (rng.normal(size=(CHANNELS, CHANNELS, 3, 3)) / 12).astype(np.float32)
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        output = f"a{i + 1}" if i + 1 < n_layers else "scores"
        nodes.append(helper.make_node("Conv", [f"a{i}" if i else "x", f"w{i}"], [output], pads=[1, 1, 1, 1]))
    return _model(nodes, weights, IMAGE, IMAGE)


@cache
def attribute_graph() -> bytes:
    """Return `x` -> x * c -> `scores`, where c, 4 MiB, is an attribute as a tree ensemble's nodes are."""
    c = numpy_helper.from_array(np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=c),
        helper.make_node("ReduceSum", ["c"], ["s"], keepdims=0),
        helper.make_node("Mul", ["x", "s"], ["scores"]),
    ]
    return _model(nodes, [], (WIDTH,), (WIDTH,))


def _model(
    nodes: list[object], weights: list[object], row_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n_rows", *row_shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", *output_shape])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data: bytes = model.SerializeToString(deterministic=True)
    return data
