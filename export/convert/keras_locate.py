"""Where a graph and the Keras model that it was written from part: asked for one row, after the gate has refused.

The model runs eagerly and every layer's output is kept; the graph runs with every value that it computes as an output.
A layer is right if the graph holds its values, in whatever order of axes. The first one that is not right, and whose
values are not merely skipped on the way to a layer that is, is where they part.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ...serving.contract.tensors import Array
from ...serving.engine.runtime import open_session
from .keras_inputs import Feed, as_predicted
from .keras_layers import layers_of

_TOLERANCE = 1e-5
_WHOLE = frozenset({"RNN", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "TimeDistributed", "ConvLSTM2D"})
"""Layers whose own layers run in a loop: the graph holds what leaves the loop only."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One run of a layer.

    Attributes:
        layer: what ran.
        taken: identities of the tensors that it was given.
        given: identity -> values of the tensors that it returned.
    """

    layer: Any
    taken: frozenset[int]
    given: Mapping[int, Array]


def locator(model: Any, feed: Feed) -> Callable[[Mapping[str, Array], bytes], str | None]:
    """Return the function that finds where one row's answers part; see `Trained.locate`."""

    def locate(row: Mapping[str, Array], graph: bytes) -> str | None:
        held = _values(onnx.load_from_string(graph), row)
        calls = _calls(model, feed.packed({name: as_predicted(array) for name, array in row.items()}))
        passed: set[int] = set()  # what layers were given on the way to one that is right
        wrong = None
        for call in reversed(calls):
            if call.given.keys() & passed or all(_is_held(values, held) for values in call.given.values()):
                passed |= call.taken
            else:
                wrong = call.layer
        return wrong and f"layer {wrong.name!r} ({type(wrong).__name__})"

    return locate


def _calls(model: Any, packed: Any) -> Sequence[_Call]:
    """Return what every layer without layers of its own makes of one row, in the order in which they run."""
    import keras

    calls: list[_Call] = []
    alive: list[Any] = []  # an identity is only one while the tensor lives

    def recorded(layer: Any, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            tensors = [tensor for tensor in keras.tree.flatten(result) if keras.ops.is_tensor(tensor)]
            taken = [tensor for tensor in keras.tree.flatten((args, kwargs)) if keras.ops.is_tensor(tensor)]
            alive.extend((*tensors, *taken))
            given = {id(tensor): keras.ops.convert_to_numpy(tensor) for tensor in tensors}
            calls.append(_Call(layer, frozenset(map(id, taken)), given))
            return result

        return call

    with _replaced_calls(_leaves(model), recorded):
        model.predict_step((keras.tree.map_structure(keras.ops.convert_to_tensor, packed),))
    return calls


@contextlib.contextmanager
def _replaced_calls(layers: Sequence[Any], replacement: Callable[[Any, Any], Any]) -> Iterator[None]:
    replaced = [layer for layer in layers if "call" not in vars(layer)]
    try:
        for layer in replaced:
            layer.call = replacement(layer, layer.call)
        yield
    finally:
        for layer in replaced:
            if "call" in vars(layer):
                del layer.call


def _leaves(model: Any) -> list[Any]:
    layers = layers_of(model)
    whole = [layer for layer in layers if type(layer).__name__ in _WHOLE]
    inner = {id(layer) for outer in whole for layer in layers_of(outer)}
    return [
        layer for layer in layers if id(layer) not in inner and (not layers_of(layer) or type(layer).__name__ in _WHOLE)
    ]


def _values(model: onnx.ModelProto, row: Mapping[str, Array]) -> list[Array]:
    """Return every value of numbers that a graph computes for one row, each flat and sorted."""
    outputs = {value.name for value in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in outputs]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exposed.onnx"
        onnx.save(model, path)
        session = open_session(path)
        taken = {node.name: row[node.name] for node in session.get_inputs()}
        arrays = session.run(None, taken)
    held = [
        array for array in (*arrays, *taken.values()) if isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
    ]
    return [np.sort(array, axis=None) for array in held]


def _is_held(values: Array, held: Sequence[Array]) -> bool:
    flat = np.sort(np.asarray(values, np.float64), axis=None)
    tolerance = _TOLERANCE * max(1.0, float(np.abs(flat).max(initial=0)))
    return any(
        other.size == flat.size and np.allclose(other, flat, rtol=0, atol=tolerance, equal_nan=True) for other in held
    )
