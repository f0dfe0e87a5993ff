"""A scikit-learn model as nodes of a graph, by skl2onnx with its known faults mended.

Many of skl2onnx's converters are silently wrong in ways that nothing here can know; the parity gate catches them.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from ..member import ConversionError
from .graph import OPSET, Graph
from .rows import Column, Rows, assemble

_ML_OPSET = 3


def append(graph: Graph, model: Any, rows: Rows, dtype: Any, *, is_classifier: bool = False) -> list[str]:
    """Add all steps of a fitted model and return its outputs.

    Args:
        graph: to add to; the rows' tensors are declared as inputs.
        model: estimator, transformer or pipeline.
        rows: the columns that it takes.
        dtype: float32 or float64; every number is cast to it first.
        is_classifier: whether the outputs are to be a label and probabilities.

    Raises:
        ConversionError: a step cannot be written.
    """
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

    number = DoubleTensorType if dtype == np.float64 else FloatTensorType
    fed: dict[str, tuple[Any, Sequence[Column]]]
    if _by_column(model, rows):
        fed = {str(c.name): (StringTensorType if rows.is_text(c) else number, [c]) for c in rows.columns}
    else:
        fed = {"x": (StringTensorType if rows.is_text(rows.columns[0]) else number, rows.columns)}
    exported = _export(model, [(name, kind([None, len(part)])) for name, (kind, part) in fed.items()], is_classifier)
    # skl2onnx spells names its own way but keeps their order.
    bindings = {
        value.name: assemble(graph, rows, *(() if kind is StringTensorType else (dtype,)), columns=part)
        for value, (kind, part) in zip(exported.graph.input, fed.values(), strict=True)
    }
    return list(graph.embed(exported, bindings).values())


def _by_column(model: Any, rows: Rows) -> bool:
    """Whether skl2onnx must see every column on its own: to tell strings from numbers, or to pick columns by name."""
    if len({rows.is_text(column) for column in rows.columns}) > 1:
        return True
    parts = [model, *model.get_params(deep=True).values()]
    return rows.named and any(type(part).__name__ == "ColumnTransformer" for part in parts)


def _export(model: Any, inputs: list[tuple[str, Any]], is_classifier: bool) -> onnx.ModelProto:
    import skl2onnx
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import RobustScaler, StandardScaler

    # Dividing is what scikit-learn does; the default multiplies by a reciprocal, which is another float32 number.
    options: dict[Any, Any] = {StandardScaler: {"div": "div"}, RobustScaler: {"div": "div"}}
    if is_classifier:
        options[id(model)] = {"zipmap": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecated names between skl2onnx, onnx and numpy
            exported: onnx.ModelProto = skl2onnx.convert_sklearn(
                model,
                initial_types=inputs,
                options=options,
                target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
                custom_conversion_functions={SimpleImputer: _impute},
            )
    except ConversionError:
        raise
    except Exception as error:  # skl2onnx raises many classes
        reason = str(error).strip().partition("\n")[0]
        raise ConversionError(
            f"skl2onnx cannot write it: {type(error).__name__}: {reason}. Way out: do without that step or option, or "
            f"write the model to ONNX another way and pass the path with native="
        ) from error
    return exported


def _impute(scope: Any, operator: Any, container: Any) -> None:
    """Write a SimpleImputer of numbers in standard operators: the one of ai.onnx.ml has no float64 kernel."""
    from skl2onnx.common.data_types import StringTensorType, guess_numpy_type, guess_proto_type
    from skl2onnx.operator_converters.common import concatenate_variables
    from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer

    imputer, kind = operator.raw_operator, operator.inputs[0].type
    if imputer.add_indicator:
        raise ConversionError(
            "SimpleImputer(add_indicator=True) is not converted; join the output of a MissingIndicator instead"
        )
    if isinstance(kind, StringTensorType) or not _is_nan(imputer.missing_values):
        convert_sklearn_imputer(scope, operator, container)
        return
    fill = np.asarray(imputer.statistics_, guess_numpy_type(kind))
    if np.isnan(fill).any():
        raise ConversionError("SimpleImputer: a column had no values in training; drop it before")
    values = concatenate_variables(scope, operator.inputs, container)
    missing, constant = scope.get_unique_variable_name("missing"), scope.get_unique_variable_name("fill")
    container.add_initializer(constant, guess_proto_type(kind), [1, len(fill)], fill.tolist())
    container.add_node("IsNaN", [values], [missing], op_version=13)
    container.add_node("Where", [missing, constant, values], [operator.outputs[0].full_name], op_version=9)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))
