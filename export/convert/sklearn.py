"""scikit-learn estimators and pipelines; boosted trees at the end of one are read exactly, all else is skl2onnx's.

scikit-learn computes in float32 for float32 rows and in float64 for all others, and its own trees compare in float32
whatever comes: one draft of the graph does the same, another computes in the other type, for what has no float64
kernel, and the gate takes the first that keeps parity.
"""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array, DataType
from ..member import ConversionError
from ..parity import Native
from . import pipeline
from .graph import Finished, Graph
from .rows import Rows, assemble
from .trained import Draft, Trained, Wish, class_labels, scores_of, thresholds_of

_OWN = {"xgboost.": "xgboost", "lightgbm.": "lightgbm", "sklearn.ensemble._hist_gradient_boosting.": "histogram"}
"""Where a last step's class comes from -> module here whose `parse` reads its trees exactly."""


def read(model: Any, rows: Rows, _: Wish) -> Trained:
    """Read a fitted classifier or regressor.

    Raises:
        ConversionError: it is neither, or has no probabilities; the message names the way out.
    """
    import sklearn

    model = getattr(model, "best_estimator_", model)  # what a search predicts with
    task = _task(model)
    names = None if not hasattr(model, "feature_names_in_") else [str(name) for name in model.feature_names_in_]
    taken = rows.match(names, int(model.n_features_in_))
    before, last = _split(model)
    ensemble = _ensemble(last)

    def native(arrays: Any) -> Array:
        with warnings.catch_warnings():
            # The rows may lack the names that the training data had.
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            table = taken.table(arrays)
            answer = model.predict_proba(table) if task == "classification" else model.predict(table)
        return scores_of(answer, task)

    classes = class_labels(model.classes_) if task == "classification" else None
    n_outputs = _width(native, taken) if classes is None else len(classes)

    def draft_in(dtype: Any) -> Draft:
        def draft() -> Finished:
            graph = Graph()
            if ensemble is None:
                steps = _lowered(model) if dtype == np.float64 else model
                outputs = pipeline.append(graph, steps, taken, dtype, is_classifier=classes is not None)
                return graph.finish(outputs[0] if classes is None else outputs[1], n_outputs)
            features = pipeline.append(graph, before, taken, dtype)[0] if before else assemble(graph, taken, dtype)
            return graph.finish(ensemble.append(graph, graph.cast(features, ensemble.trees.dtype)), n_outputs)

        return draft

    return Trained(
        framework="scikit-learn",
        version=sklearn.__version__,
        kind=_kind(model),
        task=task,
        classes=classes,
        n_outputs=n_outputs,
        native=native,
        rows=taken,
        drafts=tuple(map(draft_in, _dtypes(taken))),
        thresholds=thresholds_of(taken, _thresholds(before, last, ensemble, len(taken.columns))),
    )


def _task(model: Any) -> Task:
    from sklearn.base import is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = _kind(model)
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise ConversionError(f"scikit-learn: {kind} is not fitted; fit it first") from error
    if not hasattr(model, "n_features_in_"):
        raise ConversionError(f"scikit-learn: {kind} does not take a table; put what comes before it outside the model")
    if is_regressor(model):
        return "regression"
    if not is_classifier(model):
        raise ConversionError(
            f"scikit-learn: {kind} is neither a classifier nor a regressor; write what it computes to ONNX yourself "
            f"and pass the path with native="
        )
    if not hasattr(model, "predict_proba"):
        raise ConversionError(f"scikit-learn: {kind} has no probabilities; wrap it in CalibratedClassifierCV")
    if hasattr(_split(model)[1], "response_method") and hasattr(_split(model)[1], "estimator_"):
        raise ConversionError(
            f"scikit-learn: {kind} labels by a threshold of its own, the server by the largest probability; convert "
            f"its estimator_ and apply the threshold to the served probabilities"
        )
    if isinstance(model.classes_, list):
        raise ConversionError(f"scikit-learn: {kind} answers several targets; train one model a target")
    return "classification"


def _dtypes(rows: Rows) -> tuple[Any, ...]:
    """Return the types to compute in, the one in which scikit-learn computes for these rows first."""
    numeric = [spec.datatype for spec in rows.specs.values() if spec.datatype is not DataType.BYTES]
    if all(datatype in {DataType.FP16, DataType.FP32} for datatype in numeric):
        return np.float32, np.float64
    return np.float64, np.float32


def _width(native: Native, rows: Rows) -> int:
    try:
        return int(native({name: array[:1] for name, array in rows.arrays.items()}).shape[1])
    except Exception as error:  # whatever class the library chose
        raise ConversionError(f"the model itself cannot score the rows: {type(error).__name__}: {error}") from error


def _split(model: Any) -> tuple[Any, Any]:
    """Return the steps before the last one, None where there are none, and the last step."""
    if not _is_pipeline(model):
        return None, model
    return (model[:-1] if len(model) > 1 else None), model[-1]


def _ensemble(last: Any) -> Any:
    """Return a step's trees as one of the modules here reads them, None where it is no such step."""
    origins = [f"{cls.__module__}." for cls in type(last).__mro__]
    for origin, module in _OWN.items():
        if any(name.startswith(origin) for name in origins):
            return import_module(f".{module}", __package__).parse(last)
    return None


def _lowered(model: Any) -> Any:
    """Return the model with a cast to float32 before a last step that compares in float32."""
    before, last = _split(model)
    if not _compares_in_float32(last):
        return model
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    steps = before.steps if before else []
    return Pipeline([*steps, ("cast", CastTransformer(dtype=np.float32)), ("last", last)])


def _compares_in_float32(step: Any) -> bool:
    """Whether a step is of scikit-learn's own trees, which cast features to float32 (all but the histogram ones)."""
    grown = np.ravel(np.asarray(getattr(step, "estimators_", ()), object))
    return hasattr(step, "tree_") or (grown.size > 0 and all(hasattr(tree, "tree_") for tree in grown))


def _thresholds(before: Any, last: Any, ensemble: Any, n_columns: int) -> list[Array]:
    """Return the thresholds of a last step of trees, taken back through the steps before it; empty if that fails."""
    if ensemble is not None:
        thresholds = list(ensemble.trees.thresholds(ensemble.n_features))
    elif _compares_in_float32(last):
        grown = [last] if hasattr(last, "tree_") else np.ravel(last.estimators_).tolist()
        feature = np.concatenate([tree.tree_.feature for tree in grown])
        threshold = np.concatenate([tree.tree_.threshold for tree in grown])
        thresholds = [np.unique(threshold[feature == i]) for i in range(int(last.n_features_in_))]
    else:
        thresholds = []
    for step in reversed(before or ()):
        thresholds = _taken_back(step, thresholds)
    return thresholds if len(thresholds) == n_columns else [np.zeros(0)] * n_columns


def _taken_back(step: Any, thresholds: Sequence[Array]) -> list[Array]:
    """Return thresholds behind a step that works column by column as thresholds in front of it."""
    if type(step).__name__ == "SimpleImputer":
        return list(thresholds)
    if not hasattr(step, "inverse_transform") or int(step.n_features_in_) != len(thresholds):
        return []
    table = np.zeros((max(map(len, thresholds), default=0), len(thresholds)))
    for column, values in enumerate(thresholds):
        table[: len(values), column] = values
    try:
        inverse = np.asarray(step.inverse_transform(table), np.float64)
    except Exception:  # no inverse for these values: then nothing is known about thresholds here
        return []
    return [np.unique(inverse[: len(values), column]) for column, values in enumerate(thresholds)]


def _is_pipeline(model: Any) -> bool:
    return type(model).__name__ == "Pipeline" and hasattr(model, "steps")


def _kind(model: Any) -> str:
    if not _is_pipeline(model):
        return type(model).__name__
    return f"Pipeline({', '.join(type(step).__name__ for _, step in model.steps)})"
