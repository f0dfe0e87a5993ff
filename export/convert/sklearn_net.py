"""Keras models inside scikit-learn ones: a classifier or regressor that holds a net over one matrix of numbers.

Such an estimator, whatever its class, names its net `model_`. The steps before it are written by their formulas,
the net is traced and written as any other, and the whole pipeline is asked by its own `predict_proba` or `predict`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from ..native import Native
from .keras import check_model, only_output
from .keras_layers import check_graph, check_layers, check_trace
from .rows import Rows, read_rows
from .sklearn_linear import two_columns
from .sklearn_table import Table
from .sklearn_walk import Method, Walk, holds_net
from .tensorflow_graph import write
from .tensorflow_native import rounding, steady
from .tensorflow_trace import Placeholder, trace, width_of
from .trained import scores_of
from .values import Value

_MATRIX = "matrix"


def net(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write an estimator's net.

    Raises:
        ConversionError: it takes or answers something else than a matrix, or cannot be written.
    """
    if method == "decision_function":
        raise ConversionError(f"{type(model).__name__}: a net has no decision_function; ask for its probabilities")
    walk.multiplies = True
    keras_model = model.model_
    check_model(keras_model)
    check_layers(keras_model)
    traced = trace(
        lambda matrix: only_output(keras_model.predict_step((matrix,))),
        [Placeholder((table.width,), np.dtype(np.float32))],
    )
    check_trace(keras_model, traced)
    n_columns = width_of(traced)
    exported = write(traced)
    check_graph(keras_model, exported)
    matrix = table.numbers(type(model).__name__).astype(np.float32)
    (scores,) = walk.graph.embed(exported, {exported.graph.input[0].name: matrix.name}).values()
    answer = Value(walk.graph, scores, np.dtype(np.float32)).reshape(-1, n_columns)
    return two_columns(answer) if method == "predict_proba" and n_columns == 1 else answer


def last_net(model: Any) -> Any:
    """Return the estimator that holds a net and ends a pipeline, or is the model itself; None if there is none."""
    last = model.steps[-1][1] if hasattr(model, "steps") else model
    return last if holds_net(last) else None


def determined(native: Native, model: Any, rows: Rows) -> tuple[Native, float]:
    """Return the model without an answer, NaN, where its net has none that is determined; and its rounding on the rows.

    What is moved by a rounding, to see whether the net's answer stays, is the matrix that reaches the net: the steps
    before it are repeated digit for digit, and where they branch a rounding decides by right.

    Args:
        native: the model.
        model: pipeline that ends in an estimator with a net, or such an estimator.
        rows: real rows.
    """
    estimator, encode = last_net(model), _encoder(model, rows)

    def ask(arrays: Mapping[str, Array]) -> Array:
        if hasattr(estimator, "predict_proba"):
            return scores_of(estimator.predict_proba(arrays[_MATRIX]), "classification")
        return scores_of(estimator.predict(arrays[_MATRIX]), "regression")

    real = read_rows(encode(rows.arrays), input_name=_MATRIX)
    tolerance = rounding(ask, real)
    stays = steady(ask, real, tolerance=tolerance)

    def answered(arrays: Mapping[str, Array]) -> Array:
        scores = np.array(native(arrays), np.float64)
        scores[np.isnan(stays({_MATRIX: encode(arrays)})).any(axis=1)] = np.nan
        return scores

    return answered, tolerance


def _encoder(model: Any, rows: Rows) -> Callable[[Mapping[str, Array]], Array]:
    steps = model[:-1] if hasattr(model, "steps") and len(model.steps) > 1 else None

    def encode(arrays: Mapping[str, Array]) -> Array:
        table = rows.table(arrays)
        return np.asarray(table if steps is None else steps.transform(table))

    return encode
