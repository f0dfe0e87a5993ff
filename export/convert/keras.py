"""Keras 3 models, traced as `predict` runs them and written by tf2onnx at opset 17.

Asks `keras_inputs` what the model takes and `keras_layers` what cannot be written; `tensorflow_trace` traces and
`tensorflow_net` has it written, in another process if the model is large. The trace is of `predict_step`, so that what
acts in training only (Dropout, RandomFlip) leaves nothing behind. The model stays as it was.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from .keras_inputs import Feed, as_predicted, bind
from .keras_layers import check_graph, check_layers, check_trace
from .keras_locate import locator
from .rows import Rows
from .tensorflow_native import Ask
from .tensorflow_net import trained_net
from .tensorflow_trace import Traced, trace
from .trained import Trained, Wish


def read(model: Any, rows: Rows, wish: Wish) -> Trained:
    """Read a model with one output, `(n_rows, n_outputs)` or `(n_rows,)`.

    Raises:
        ConversionError: it is no such model, or holds a layer that ONNX cannot express.
    """
    import keras

    check_model(model)
    check_layers(model)
    feed = bind(model, rows)
    traced = trace(lambda *values: only_output(model.predict_step((feed.pack(values),))), feed.placeholders())
    check_trace(model, traced)
    return trained_net(
        "keras",
        keras.__version__,
        type(model).__name__,
        ask=_asked(model, feed),
        traced=traced,
        check=partial(check_graph, model),
        rows=feed.rows,
        task=wish.task or _task(model, traced),
        floats=_taken_as_floats(model, feed),
        locate=locator(model, feed),
    )


def _asked(model: Any, feed: Feed) -> Ask:
    import keras

    own = type(model).predict is not keras.Model.predict

    def ask(arrays: Mapping[str, Array]) -> Array:
        packed = feed.packed({name: as_predicted(array) for name, array in arrays.items()})
        # `predict` sets up a data set: measured, 20 to 270 ms a call, against 1 ms for the same graph by batch.
        scores = model.predict(packed, verbose=0) if own else model.predict_on_batch(packed)
        (flat,) = keras.tree.flatten(scores)
        return np.asarray(flat).reshape(len(flat), -1)

    return ask


def _taken_as_floats(model: Any, feed: Feed) -> set[str]:
    """Return the inputs that the model casts to floating point numbers; a subclassed one does not say."""
    declared = zip(feed.rows.specs, getattr(model, "inputs", None) or (), strict=False)
    return {name for name, tensor in declared if "float" in str(tensor.dtype)}


def check_model(model: Any) -> None:
    """Refuse what is no model with weights that runs on TensorFlow.

    Raises:
        ConversionError: it is none.
    """
    import keras

    kind, backend = type(model).__name__, keras.backend.backend()
    if backend != "tensorflow":
        raise ConversionError(
            f"Keras: {kind} runs on {backend}; save it, and load and convert it in a process with "
            f"KERAS_BACKEND=tensorflow"
        )
    if not hasattr(model, "predict_step"):
        raise ConversionError(
            f"Keras: {kind} is a layer; make a model of it: x = keras.Input(...); keras.Model(x, layer(x))"
        )
    if not model.built:
        raise ConversionError(f"Keras: {kind} was never called, so that it has no weights; train it first")


def only_output(outputs: Any) -> Any:
    """Return the model's only output.

    Raises:
        ConversionError: there are several.
    """
    import keras

    flat = keras.tree.flatten(outputs)
    if len(flat) != 1:
        raise ConversionError(
            f"Keras: expected one output (n_rows, n_outputs), got {len(flat)} of shapes "
            f"{[list(output.shape) for output in flat]}; pass keras.Model(model.inputs, y) of the output to serve"
        )
    return flat[0]


def _task(model: Any, traced: Traced) -> Task | None:
    """Return what the scores are, from the last operation or else from the loss; None if neither says.

    Raises:
        ConversionError: the loss says that they are logits.
    """
    if traced.ends_in_probabilities:
        return "classification"
    loss = getattr(model, "loss", None)
    name = loss if isinstance(loss, str) else str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))
    if getattr(loss, "from_logits", False) or getattr(loss, "_fn_kwargs", {}).get("from_logits", False):
        raise ConversionError(
            "Keras: the scores are no probabilities: the model was trained with from_logits=True. Way out: end the "
            "model with a softmax (or a sigmoid for one column): keras.Sequential([model, keras.layers.Softmax()])"
        )
    if "crossentropy" in name:
        return "classification"
    return "regression" if loss is not None else None
