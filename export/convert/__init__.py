"""Converters: one module a framework, each from a trained model to an ONNX graph that the parity gate then proves.

    object or path -> converter module (`read`) -> drafts of a graph -> `finish` -> parity gate -> Member

The module is found by where the model's classes come from, so that only the framework of the model at hand is
imported. Nothing here knows how a framework stores a model, and the gate does not know that frameworks exist.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...serving.contract.bundle import Task
from ...serving.engine.runtime import CPU
from ..member import Classes, ConversionError, Member
from ..parity import Native
from .claims import first_proven
from .rows import FeatureNames, read_rows
from .trained import Trained, Wish, class_labels

__all__ = ["convert"]

_CONVERTERS: Mapping[str, str] = {
    "keras": "keras",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "sklearn": "sklearn",
    "tensorflow": "saved_model",
}
"""Top-level package of a class -> module here. The first in this order that is among a model's bases is taken."""

_WAYS_OUT: Mapping[str, str] = {
    "catboost": "save it with save_model(path, format='onnx') and pass the path with native=",
    "tf_keras": "that is Keras 2; load the model in Keras 3",
    "torch": "write it with torch.onnx.export (dynamic batch axis) and pass the path with native=",
}


def convert(
    model: Any,
    rows: Any,
    *,
    inputs: Sequence[str] | None = None,
    feature_names: FeatureNames = None,
    input_name: str = "tabular",
    task: Task | None = None,
    classes: Sequence[str] | Sequence[int] | None = None,
    allow_nan: bool | None = None,
    native: Native | None = None,
    output: str | None = None,
    providers: Sequence[str] = (CPU,),
) -> Member:
    """Return the model as one ONNX graph, proven to answer as the model does.

    Args:
        model: fitted Keras 3 model, XGBoost or LightGBM estimator or Booster, scikit-learn estimator or pipeline, or
            the path of an ONNX file.
        rows: real rows that the model can score, at least two that it tells apart, better some hundred: an array, a
            dict of input name -> array, or a pandas DataFrame. They fix the names, datatypes and shapes of the inputs;
            at most 2,000 of them, fewer where a row is large, are compared, evenly drawn.
        inputs: which entries of `rows` the model takes, where it does not say so itself. A Keras model takes those
            named as its inputs; any other needs exactly one table.
        feature_names: names of a table's columns: of each input, or of the only one.
        input_name: name for an array or for a DataFrame's numeric columns (where they have several dtypes, one tensor
            for each: `tabular_fp32`, `tabular_int64` ...). An array for a Keras model is named as its `keras.Input`.
        task: classification or regression, where the model does not say so itself.
        classes: labels in score order, where the model only knows numbers from 0.
        allow_nan: whether requests may hold missing values; by default they may where the model takes them and the
            graph takes them in the same way.
        native: input name -> rows, to the scores of the model that an ONNX file was written from. Without it the file
            is compared with ONNX's reference evaluator, which proves the runtime but not the export.
        output: name of the output with the scores, for an ONNX file with several.
        providers: execution providers on which parity must hold, beside the CPU.

    Raises:
        ConversionError: the model cannot be converted faithfully; says why and what to do instead.
    """
    read = read_rows(rows, input_name=input_name, feature_names=feature_names)
    if inputs is not None:
        read = read.only(list(inputs))
    wish = Wish(task, None if classes is None else class_labels(classes), native, output)
    if (native is not None or output is not None) and not isinstance(model, str | Path):
        raise ConversionError("native and output are for ONNX files; this model is asked itself")
    trained = _converter(model).read(model, read, wish)
    if task not in {None, trained.task}:
        raise ConversionError(f"task={task!r} was given, but the model's scores are those of a {trained.task}")
    labels = _labels(trained, wish)
    finished, certificate, claim = first_proven(trained, allow_nan=allow_nan, providers=providers)
    return Member(
        graph=finished.data,
        inputs=tuple(spec for spec in claim.inputs if spec.name in finished.inputs),
        task=trained.task,
        classes=labels,
        n_outputs=trained.n_outputs,
        source={
            "framework": trained.framework,
            "version": trained.version,
            "class": trained.kind,
        },
        opset=finished.opset,
        certificate=certificate,
    )


def _converter(model: Any) -> Any:
    if isinstance(model, str | Path):
        return import_module(".onnx_file", __name__)
    roots = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    for root, module in _CONVERTERS.items():
        if root in roots:
            return import_module(f".{module}", __name__)
    way_out = next((_WAYS_OUT[root] for root in roots if root in _WAYS_OUT), "write it to ONNX and pass the path")
    raise ConversionError(
        f"no converter for {type(model).__module__}.{type(model).__qualname__}; there are {', '.join(_CONVERTERS)} "
        f"and ONNX files. Way out: {way_out}"
    )


def _labels(trained: Trained, wish: Wish) -> Classes:
    known, n_outputs = trained.classes, trained.n_outputs
    if trained.task == "regression":
        if wish.classes is not None:
            raise ConversionError("classes were given for a regression")
        return ()
    if known is not None and len(known) < 2:
        raise ConversionError(f"the model knows the class {known[0]!r} only; train it on rows of two or more")
    if wish.classes is None:
        return tuple(range(n_outputs)) if known is None else known
    if len(wish.classes) != n_outputs:
        raise ConversionError(f"{len(wish.classes)} classes were given, the model has {n_outputs}")
    if known not in {None, wish.classes, tuple(range(n_outputs))}:
        raise ConversionError(f"the model's classes are {list(known or ())}, given were {list(wish.classes)}")
    return wish.classes
