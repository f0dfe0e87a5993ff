"""A single scikit-learn estimator or transformer of numbers as nodes of a graph, by skl2onnx.

For what has no formula here. Some of skl2onnx's converters are silently wrong in ways that nothing here can know; the
parity gate catches them.
"""

import warnings
from typing import Any, cast

import numpy as np
import onnx

from ..member import ConversionError
from .graph import OPSET, Graph
from .values import Value

_ML_OPSET = 3

_REFUSED = {
    "GaussianProcessClassifier": "its graph needs an operator that onnxruntime lacks; calibrate an SVC",
    "RadiusNeighborsClassifier": "it refuses rows without neighbours; use KNeighborsClassifier",
    "RadiusNeighborsRegressor": "it has no answer for rows without neighbours; use KNeighborsRegressor",
    "KNNImputer": "it looks for neighbours among rows with gaps; use SimpleImputer, or impute before the model",
    "IterativeImputer": "its rounds are not converted; use SimpleImputer, or impute before the model",
    "CountVectorizer": "graphs split text in another way; make the features before the model",
    "TfidfVectorizer": "graphs split text in another way; make the features before the model",
    "HashingVectorizer": "graphs split text in another way; make the features before the model",
}
"""What skl2onnx would write, but not so that it serves: class name -> why and what to do."""


def check(step: Any) -> None:
    """Refuse a step that is known not to come out right, before its input is looked at.

    Raises:
        ConversionError: it is one; says why and what to do instead.
    """
    if reason := _REFUSED.get(type(step).__name__):
        raise ConversionError(f"{type(step).__name__} is not converted: {reason}")


def append(graph: Graph, step: Any, numbers: Value, width: int, method: str) -> tuple[Value, int]:
    """Add a fitted step and return what one of its methods answers, and how many columns that has.

    Args:
        graph: to add to.
        step: estimator or transformer.
        numbers: `(n_rows, width)` float32 or float64.
        width: columns of it.
        method: transform, predict_proba, decision_function or predict.

    Raises:
        ConversionError: skl2onnx cannot write it.
    """
    exported = _export(step, numbers, width, method)
    outputs = graph.embed(exported, {exported.graph.input[0].name: numbers.name})
    value = exported.graph.output[-1]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    shape = value.type.tensor_type.shape.dim
    n_columns = shape[1].dim_value if len(shape) > 1 else 1
    answer = Value(graph, outputs[value.name], dtype)
    if method in {"predict", "decision_function"}:
        n_columns = 1 if method == "predict" or len(step.classes_) == 2 else n_columns
        answer = answer.reshape(-1, n_columns) if n_columns else answer
    return answer, n_columns


def _export(step: Any, numbers: Value, width: int, method: str) -> onnx.ModelProto:
    import skl2onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if numbers.dtype == np.float64 else FloatTensorType
    options: dict[Any, Any] = {}
    if method in {"predict_proba", "decision_function"}:
        options = {id(step): {"zipmap": False} | ({"raw_scores": True} if method == "decision_function" else {})}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated names between skl2onnx, onnx and numpy
            return cast(
                onnx.ModelProto,
                skl2onnx.convert_sklearn(
                    step,
                    initial_types=[("x", kind([None, width]))],
                    options=options,
                    target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
                ),
            )
    except skl2onnx.common.exceptions.MissingShapeCalculator as error:
        raise ConversionError(
            f"{type(step).__name__} has no converter, neither here nor in skl2onnx. Way out: use another estimator, or "
            f"write the model to ONNX yourself and pass the path with native="
        ) from error
    except Exception as error:  # skl2onnx raises many classes
        reason = str(error).strip().partition("\n")[0]
        raise ConversionError(
            f"{type(step).__name__}: skl2onnx cannot write it: {type(error).__name__}: {reason}. Way out: do without "
            f"that step or option, or write the model to ONNX another way and pass the path with native="
        ) from error
