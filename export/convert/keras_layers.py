"""What a Keras model's layers say about whether it can be written as ONNX; asked before anything is exported.

Layers whose answer ONNX cannot express are refused by name with the way out. A layer that is not known here is found
by the operations that it leaves in the trace or in the graph: TensorFlow names those by the path of layers that they
come from.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import onnx

from ..member import ConversionError
from .graph import walk
from .tensorflow_trace import Traced

_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "Hashing", "HashedCrossing", "TextVectorization"})
_PYTHON = frozenset({"PyFunc", "EagerPyFunc", "PyFuncStateless"})
_CHANGES = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
_TABLES = frozenset({"HashTableV2", "LookupTableFindV2", "LookupTableImportV2", "MutableHashTableV2"})
_RANDOM = frozenset(
    {
        "RandomStandardNormal",
        "RandomUniform",
        "RandomUniformInt",
        "StatelessRandomNormalV2",
        "StatelessRandomUniformV2",
        "StatelessRandomUniformFullIntV2",
        "StatelessRandomUniformIntV2",
        "StatelessTruncatedNormalV2",
        "TruncatedNormal",
    }
)
_OTHER_TYPES = ("float16", "bfloat16", "float64")


def layers_of(model: Any) -> list[Any]:
    """Return all layers of a model, nested ones too."""
    return list(model._flatten_layers(include_self=False))


def check_layers(model: Any) -> None:
    """Refuse layers that are known not to pass.

    Raises:
        ConversionError: there is one; names it.
    """
    layers = layers_of(model)
    for layer in layers:
        kind = type(layer).__name__
        if kind in _LOOKUPS:
            raise ConversionError(
                f"Keras: layer {layer.name!r} ({kind}) looks values up, which its ONNX export cannot write; look them "
                f"up before the model and pass it their numbers"
            )
        if (dtype := getattr(layer, "compute_dtype", None)) in _OTHER_TYPES and layer.weights:
            raise ConversionError(
                f"Keras: layer {layer.name!r} ({kind}) computes in {dtype}, which onnxruntime does not repeat digit "
                f"for digit; convert the model in float32: net = keras.models.clone_model(model, clone_function=lambda "
                f"layer: type(layer).from_config(layer.get_config() | {{'dtype': 'float32'}})); "
                f"net.set_weights(model.get_weights())"
            )


def check_trace(model: Any, traced: Traced) -> None:
    """Refuse operations that no graph can hold.

    Raises:
        ConversionError: there is one; names its layer.
    """
    for name, kind in traced.operations:
        if kind in _PYTHON:
            raise ConversionError(
                f"{_where(model, name)} calls Python code ({kind}), which no graph can hold; write it with keras.ops"
            )
        if kind in _TABLES:
            raise ConversionError(
                f"{_where(model, name)} looks values up ({kind}), which its ONNX export cannot write; look them "
                f"up before the model and pass it their numbers"
            )
        if kind in _RANDOM or kind in _CHANGES:
            raise ConversionError(
                f"{_where(model, name)} draws at random or changes its state ({kind}) when the model predicts, which "
                f"no graph can do; give call() the argument `training` and pass it on to the layers, or leave the "
                f"layer out"
            )


def check_graph(model: Any, exported: onnx.ModelProto) -> None:
    """Refuse operations that ONNX does not have: the export copies what it does not know as if all were well.

    Raises:
        ConversionError: there is one; names the first one's layer.
    """
    unknown = [node for node in _nodes(exported) if not onnx.defs.has(node.op_type, node.domain)]
    if unknown:
        kinds = sorted({node.op_type for node in unknown})
        raise ConversionError(
            f"{_where(model, unknown[0].name)} uses {', '.join(kinds)}, which ONNX does not have; replace it by "
            f"a layer of plain arithmetic"
        )


def _nodes(exported: onnx.ModelProto) -> Iterable[onnx.NodeProto]:
    yield from walk(exported.graph.node)
    for function in exported.functions:
        yield from walk(function.node)


def _where(model: Any, operation: str) -> str:
    """Return the layer that an operation belongs to, in words."""
    layers: Mapping[str, Any] = {} if model is None else {layer.name: layer for layer in layers_of(model)}
    for part in reversed(operation.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return f"layer {name!r} ({type(layers[name]).__name__})"
    return f"operation {operation!r}"
