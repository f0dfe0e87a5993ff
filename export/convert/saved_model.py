"""TensorFlow SavedModels, as `tf.saved_model.load` returns them: one signature, traced and written by tf2onnx.

A SavedModel holds graphs and no Python classes, so that there is nothing to ask but the signature itself. It is called
`serving_default` unless there is only one; Keras's `model.export(folder)` writes such a folder.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array, DataType
from ..member import ConversionError
from .keras_inputs import bind_names
from .keras_layers import check_graph, check_trace
from .rows import Rows
from .tensorflow_net import trained_net
from .tensorflow_trace import Placeholder, trace
from .trained import Trained, Wish

_DEFAULT = "serving_default"


def read(model: Any, rows: Rows, wish: Wish) -> Trained:
    """Read a loaded SavedModel with one output, `(n_rows, n_outputs)` or `(n_rows,)`.

    Raises:
        ConversionError: it has no such signature, or holds an operation that ONNX cannot express.
    """
    import tensorflow as tf

    signature = _signature(model)
    # TensorFlow returns them in an order that changes from one process to the next.
    declared: Mapping[str, Any] = dict(sorted(signature.structured_input_signature[1].items()))
    bound = bind_names(rows, list(declared), [tuple(spec.shape.as_list()) for spec in declared.values()])
    specs = dict(zip(bound.specs.values(), declared.values(), strict=True))
    if text := [spec.name for spec in specs if spec.datatype is DataType.BYTES]:
        raise ConversionError(f"SavedModel: input {text[0]!r} holds strings; turn them into numbers before the model")
    dtypes = [np.dtype(spec.dtype.as_numpy_dtype) for spec in declared.values()]

    def called(*values: Any) -> Any:
        (output,) = signature(**dict(zip(declared, values, strict=True))).values()
        return output

    traced = trace(called, [Placeholder(s.row_shape, dtype) for s, dtype in zip(specs, dtypes, strict=True)])
    check_trace(None, traced)

    def ask(arrays: Mapping[str, Array]) -> Array:
        given = [tf.constant(arrays[spec.name].astype(dtype)) for spec, dtype in zip(specs, dtypes, strict=True)]
        return np.asarray(called(*given)).reshape(len(given[0]), -1)

    return trained_net(
        "tensorflow",
        tf.__version__,
        "SavedModel",
        ask=ask,
        traced=traced,
        check=partial(check_graph, None),
        rows=bound,
        task=wish.task or ("classification" if traced.ends_in_probabilities else None),
    )


def _signature(model: Any) -> Any:
    signatures: Mapping[str, Any] = getattr(model, "signatures", None) or {}
    if not signatures:
        raise ConversionError(
            f"TensorFlow: {type(model).__name__} has no signatures; a model is converted as what tf.saved_model.load "
            f"returns, or as a Keras 3 model"
        )
    if _DEFAULT not in signatures and len(signatures) > 1:
        raise ConversionError(
            f"SavedModel: none of the signatures {', '.join(map(repr, signatures))} is called {_DEFAULT!r}; save "
            f"the one to serve on its own: tf.saved_model.save(loaded, folder, signatures=loaded.signatures[...])"
        )
    signature = signatures.get(_DEFAULT) or next(iter(signatures.values()))
    if len(signature.structured_outputs) != 1:
        shapes = {name: output.shape.as_list() for name, output in sorted(signature.structured_outputs.items())}
        raise ConversionError(
            f"SavedModel: expected one output (n_rows, n_outputs), got {shapes}; save a signature of the "
            f"output to serve"
        )
    return signature
