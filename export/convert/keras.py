"""Keras 3, written by Keras's own ONNX export at opset 17.

The export runs in this process: the framework is loaded anyhow, since the model is, and another process would have to
load it again (measured: 0.6 s here, 5 to 9 s there). It leaves the model as it was.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array, TensorSpec
from ..member import ConversionError
from .graph import OPSET, Finished, Graph
from .rows import Rows
from .trained import Trained, Wish, adds_up, probabilities

_BATCH_ROWS = 256
_PROBABILITIES = ("softmax", "sigmoid")
_AUTOMATIC = ("keras_tensor", "input_layer")
_LOOKUPS = ("StringLookup", "IntegerLookup", "Discretization", "Hashing", "HashedCrossing", "TextVectorization")


def read(model: Any, rows: Rows, wish: Wish) -> Trained:
    """Read a built model with one output `(n_rows, n_outputs)`.

    Raises:
        ConversionError: it is no such model, or holds a layer that ONNX cannot express.
    """
    import keras

    _check(model)
    taken = _bind(model, rows)
    width = int(model.outputs[0].shape[1])

    def answer(arrays: Mapping[str, Array]) -> Array:
        (scores,) = keras.tree.flatten(model.predict(_fed(model, arrays, taken), batch_size=_BATCH_ROWS, verbose=0))
        return np.asarray(scores)

    task = wish.task or _task(model) or _task_of(answer({name: array[:8] for name, array in taken.arrays.items()}))
    is_binary = task == "classification" and width == 1

    def draft() -> Finished:
        graph = Graph()
        exported = _export(model, _fed(model, {name: array[:1] for name, array in taken.arrays.items()}, taken))
        bindings = {
            value.name: _declared(graph, spec, value.type.tensor_type.elem_type)
            for value, spec in zip(exported.graph.input, taken.specs.values(), strict=True)
        }
        (scores,) = graph.embed(exported, bindings).values()
        if is_binary:
            scores = graph.two_columns(graph.cast(scores, np.float32))
        return graph.finish(scores, width + is_binary)

    return Trained(
        framework="keras",
        version=keras.__version__,
        kind=type(model).__name__,
        task=task,
        classes=None,
        n_outputs=width + is_binary,
        native=(lambda arrays: probabilities(answer(arrays))) if is_binary else answer,
        rows=taken,
        drafts=(draft,),
        allow_nan=False,
    )


def _check(model: Any) -> None:
    if not getattr(model, "inputs", None):
        kind = type(model).__name__
        raise ConversionError(
            f"Keras: {kind} declares no inputs; wrap it: x = keras.Input(...); keras.Model(x, model(x))"
        )
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2 or model.outputs[0].shape[1] is None:
        shapes = [list(output.shape) for output in model.outputs]
        raise ConversionError(
            f"Keras: expected one output (n_rows, n_outputs), got shapes {shapes}; pass keras.Model(model.inputs, y) "
            f"of the output to serve, flattened"
        )
    kinds = {layer.name: type(layer).__name__ for layer in _layers(model)}
    if lookups := [name for name, kind in kinds.items() if kind in _LOOKUPS]:
        raise ConversionError(
            f"Keras: layer {lookups[0]!r} looks values up, which its ONNX export cannot write; look them up before the "
            f"model and pass it their numbers"
        )
    if random := [name for name, kind in kinds.items() if kind.startswith("Random")]:
        raise ConversionError(
            f"Keras: layer {random[0]!r} draws at random, and its ONNX export cannot leave that out; augment in the "
            f"input pipeline, or build keras.Model of the layers after it"
        )


def _bind(model: Any, rows: Rows) -> Rows:
    """Return the rows that feed the model's inputs, in the order of those."""
    names = _names(model)
    if len(names) == 1 and len(rows.specs) == 1:
        (given,) = rows.specs
        automatic = names[0].startswith(_AUTOMATIC)
        bound = rows.renamed(given, names[0]) if rows.is_array and not automatic else rows
        if not (rows.is_array or automatic or given == names[0]):
            raise ConversionError(f"Keras: the model's input is called {names[0]!r}, the rows hold {given!r}")
    elif missing := [name for name in names if name not in rows.specs]:
        held = ", ".join(map(repr, rows.specs))
        raise ConversionError(
            f"Keras: the model takes an input {missing[0]!r}, the rows hold {held}; name rows as the "
            f"keras.Input, or give the input a name"
        )
    else:
        bound = rows.only(names)
    for tensor, spec in zip(model.inputs, bound.specs.values(), strict=True):
        if len(tensor.shape) != len(spec.shape) or any(
            want not in {None, got} for want, got in zip(tensor.shape[1:], spec.row_shape, strict=True)
        ):
            raise ConversionError(
                f"Keras: input {spec.name!r} has shape {list(tensor.shape)} in the model, {list(spec.shape)} in rows"
            )
    return bound


def _names(model: Any) -> list[str]:
    """Return the inputs' names in the model's order: the keys of a dict of inputs, else those of the keras.Input."""
    structure = _structure(model)
    if not isinstance(structure, dict):
        return [str(tensor.name) for tensor in model.inputs]
    return [str(key) for tensor in model.inputs for key, value in structure.items() if value is tensor]


def _structure(model: Any) -> Any:
    return getattr(model, "_inputs_struct", None)  # a Sequential model has none


def _fed(model: Any, arrays: Mapping[str, Array], rows: Rows) -> Any:
    """Return arrays in the structure in which the model takes them."""
    given = [arrays[name] for name in rows.specs]
    if isinstance(_structure(model), dict):
        return dict(zip(_names(model), given, strict=True))
    return given[0] if len(given) == 1 else given


def _declared(graph: Graph, spec: TensorSpec, element: int) -> str:
    """Declare an input and cast it to what the exported graph takes."""
    value = graph.input(spec)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
    return value if spec.datatype.dtype == dtype else graph.cast(value, dtype)


def _export(model: Any, row: Any) -> onnx.ModelProto:
    log = logging.getLogger("tf2onnx")
    level = log.level
    with tempfile.TemporaryDirectory() as folder, _plain_normalization(model), warnings.catch_warnings():
        # Keras patches numpy for tf2onnx and asks for a name there that numpy has deprecated.
        warnings.filterwarnings("ignore", message=".*np.object", category=FutureWarning)
        path = Path(folder) / "model.onnx"
        try:
            log.setLevel(logging.CRITICAL)  # what it would say is raised below
            model(row)  # a loaded model that was never called cannot be exported
            model.export(str(path), format="onnx", opset_version=OPSET, verbose=False)
        except Exception as error:  # whatever class the backend or tf2onnx chose
            raise ConversionError(f"its ONNX export failed: {type(error).__name__}: {error}") from error
        finally:
            log.setLevel(level)
        exported = onnx.load(path)
    if unknown := sorted({n.op_type for n in exported.graph.node if not onnx.defs.has(n.op_type, n.domain)}):
        # The export copies what it does not know and returns as if all were well.
        raise ConversionError(
            f"ONNX has no {', '.join(unknown)}; replace the layer that uses it (for gelu, Erfc: pass approximate=True)"
        )
    return exported


@contextlib.contextmanager
def _plain_normalization(model: Any) -> Iterator[None]:
    """Hold the statistics of Normalization layers as plain arrays; as tensors they become inputs of the graph."""
    layers = [layer for layer in _layers(model) if type(layer).__name__ == "Normalization"]
    saved = [(layer, layer.mean, layer.variance) for layer in layers]
    try:
        for layer, mean, variance in saved:
            layer.mean, layer.variance = np.asarray(mean), np.asarray(variance)
        yield
    finally:
        for layer, mean, variance in saved:
            layer.mean, layer.variance = mean, variance


def _layers(model: Any) -> list[Any]:
    return list(model._flatten_layers(include_self=False))


def _task(model: Any) -> Task | None:
    """Return what the scores are, from the last activation or else from the loss; None if neither says."""
    last = model.outputs[0]._keras_history.operation
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else getattr(loss, "name", "") or ""
    if activation in _PROBABILITIES or "crossentropy" in name:
        return "classification"
    return "regression" if loss is not None else None


def _task_of(scores: Array) -> Task:
    return "classification" if adds_up(scores) else "regression"
