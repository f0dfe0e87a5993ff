"""A float32 net as an int8 graph: static QDQ, unsigned activations, signed weights, one scale a channel.

    folded -> calibrated on real rows -> Q/DQ pairs around the inner layers -> finished as any member

What comes before the first layer with weights (scaling of inputs) and the last such layer with all behind it (softmax)
stay in float32: they cost little, and eight bits are few for raw inputs and for logits. Whether the result is good
enough is for `quantize` to say.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ..serving.contract.tensors import Array, TensorSpec
from ..serving.engine.runtime import CPU, ort
from .convert.graph import Finished, Graph, walk
from .convert.opsets import aligned
from .member import ConversionError

METHOD = "static QDQ, U8 activations, S8 weights of 7 bits per channel; first inputs and last layer in FP32"

_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operators whose second input is weights."""

_BETWEEN = (
    *("Add", "Mul", "Relu", "LeakyRelu", "Clip", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"),
    *("Concat", "Split", "Slice", "Pad", "Reshape", "Transpose", "Squeeze", "Unsqueeze"),
)
"""Operators with int8 kernels that may pass int8 values from layer to layer; any other runs in float32."""

_NO_NETS = ("TreeEnsemble", "SVM", "Linear")
"""How the operators of ai.onnx.ml that are whole models start."""

_LEAST_OPSET = 13  # the first with a scale per channel
_CALIBRATION_CHUNK = 32

# An unsigned times a signed byte, two products summed, overflows 16 bits in the instruction that CPUs without VNNI have
# for it, and is cut silently. Measured on such a CPU with weights of all 8 bits, against the same graph computed in
# float32: the demo's net has a log loss of 0.056 instead of 0.019 and probabilities off by up to 0.9, a MobileNet gives
# 26 of 360 rows another label instead of 8. With weights of 7 bits nothing overflows on any machine: the demo's net
# answers to 2e-7 as in float32, and only a value that rounds to the other side can move a score.
_SEVEN_BITS = True


def int8_graph(graph: bytes, inputs: Sequence[TensorSpec], n_outputs: int, rows: Mapping[str, Array]) -> Finished:
    """Return a member's graph in int8, calibrated on `rows`; the same rows give the same bytes.

    Raises:
        ConversionError: the graph has no layer that would gain from it (trees, linear models) or the quantiser fails.
    """
    model = ModelProto.FromString(graph)
    kinds = sorted({node.op_type for node in walk(model.graph.node) if node.op_type.startswith(_NO_NETS)})
    if kinds:
        raise ConversionError(f"int8 is for nets of convolutions and matrix products; this graph holds {kinds[0]}")
    try:
        quantised = _quantised(aligned({"": model}, {"": _LEAST_OPSET})[""], rows)
    except ConversionError:
        raise
    except Exception as error:  # the quantiser raises plain classes of many kinds
        raise ConversionError(f"onnxruntime cannot quantise the graph: {type(error).__name__}: {error}") from error
    out = Graph()
    (scores,) = out.embed(quantised, {spec.name: out.input(spec) for spec in inputs}).values()
    return out.finish(scores, n_outputs)


def jittered(graph: bytes, relative: float, seed: int) -> bytes:
    """Return an int8 graph with each activation's scale moved by up to `relative`: other rounding at every step."""
    model = ModelProto.FromString(graph)
    rng = np.random.default_rng(seed)
    steps = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.name in steps:
            scale = numpy_helper.to_array(tensor)
            moved = scale * (1 + relative * rng.uniform(-1, 1, scale.shape))
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(moved, scale.dtype), tensor.name))
    return model.SerializeToString(deterministic=True)


def _quantised(model: ModelProto, rows: Mapping[str, Array]) -> ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as folder, _quiet():
        written = Path(folder) / "int8.onnx"
        folded = _folded(model, Path(folder))
        quantize_static(
            folded,
            written,
            _chunks(rows, [value.name for value in model.graph.input]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=_SEVEN_BITS,
            op_types_to_quantize=[*_LAYERS, *_BETWEEN],
            nodes_to_exclude=_float_nodes(folded),
        )
        return onnx.load(written)


def _folded(model: ModelProto, folder: Path) -> ModelProto:
    """Return the model with batch normalisations folded into the layers before them, its nodes named."""
    plain, folded = folder / "plain.onnx", folder / "folded.onnx"
    plain.write_bytes(model.SerializeToString())
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC  # what holds on any machine
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    ort.InferenceSession(str(plain), options, providers=[CPU], disabled_optimizers=["ConstantSharing"])
    out = onnx.load(folded)
    for number, node in enumerate(out.graph.node):
        node.name = f"node_{number}"
    return out


def _float_nodes(model: ModelProto) -> list[str]:
    """Return the names of the nodes that stay in float32."""
    nodes = model.graph.node
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    layers = {node.name for node in nodes if node.op_type in _LAYERS and node.input[1] in weights}
    inner = layers - _last(model, layers)
    if not inner:
        raise ConversionError(
            f"int8 needs a convolution or matrix product with float32 weights before the last such layer; this graph "
            f"has {len(layers)} of them in all, so there is nothing to gain"
        )
    behind: set[str] = set()  # values that depend on a layer
    quantised = set()
    for node in nodes:
        if node.name in layers or behind.intersection(node.input):
            behind.update(node.output)
            if node.name in inner or node.op_type in _BETWEEN:
                quantised.add(node.name)
    return [node.name for node in nodes if node.name not in quantised - _last_and_after(model, layers)]


def _last(model: ModelProto, layers: set[str]) -> set[str]:
    return layers & _last_and_after(model, layers)


def _last_and_after(model: ModelProto, layers: set[str]) -> set[str]:
    """Return the nodes on the way back from the scores to the first layers met, those included."""
    maker: dict[str, NodeProto] = {output: node for node in model.graph.node for output in node.output}
    met: set[str] = set()
    waiting = [value.name for value in model.graph.output]
    while waiting:
        node = maker.get(waiting.pop())
        if node is not None and node.name not in met:
            met.add(node.name)
            if node.name not in layers:
                waiting += node.input
    return met


def _chunks(rows: Mapping[str, Array], names: Sequence[str]) -> Any:
    """Return what the quantiser reads calibration rows from."""
    from onnxruntime.quantization import CalibrationDataReader

    n_rows = len(rows[names[0]])
    parts = iter(range(0, n_rows, _CALIBRATION_CHUNK))

    class Chunks(CalibrationDataReader):  # type: ignore[misc]  # the library publishes no types
        def get_next(self) -> dict[str, Array] | None:
            start = next(parts, None)
            return None if start is None else {name: rows[name][start : start + _CALIBRATION_CHUNK] for name in names}

    return Chunks()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice, written to the root logger, from the caller's terminal."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
