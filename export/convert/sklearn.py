"""scikit-learn estimators and pipelines, written step by step with the arithmetic of the originals.

scikit-learn computes in float32 for float32 rows and in float64 for all others, and its own trees compare in float32
whatever comes; the graph does the same. Only what has no formula here is skl2onnx's; then a draft in each of the two
types is tried and the gate takes the first that keeps parity.
"""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import ConversionError
from ..parity import Native
from . import (
    sklearn_curves,
    sklearn_encoders,
    sklearn_ensembles,
    sklearn_kernels,
    sklearn_linear,
    sklearn_net,
    sklearn_scalers,
    sklearn_trees,
)
from .graph import Finished
from .histogram import locate_in
from .rows import Rows
from .sklearn_walk import Respond, Transform, Walk
from .trained import Draft, Trained, Wish, class_labels, scores_of

_TRANSFORMS: Mapping[str, Transform] = {
    **sklearn_scalers.TRANSFORMS,
    **sklearn_curves.TRANSFORMS,
    **sklearn_encoders.TRANSFORMS,
}
_RESPONDS: Mapping[str, Respond] = {
    **sklearn_linear.RESPONDS,
    **sklearn_kernels.RESPONDS,
    **sklearn_trees.RESPONDS,
    **sklearn_ensembles.RESPONDS,
}
_FAR = 1e6
"""Times the largest number of the rows given: where distances begin to lose what tells training rows apart."""

_ROUNDING = 2e-6
"""By how much a model's answers in float32 and float64 may differ, absolute and relative."""

_LEAF_DTYPES = (None, np.float32, np.float64)
"""Types for what skl2onnx writes, that of the rows first."""


def read(model: Any, rows: Rows, _: Wish) -> Trained:
    """Read a fitted classifier or regressor.

    Raises:
        ConversionError: it is neither, has no probabilities, or a part of it cannot be written; the message names the
            part and the way out.
    """
    import sklearn

    model = getattr(model, "best_estimator_", model)  # what a search predicts with
    task = _task(model)
    names = None if not hasattr(model, "feature_names_in_") else [str(name) for name in model.feature_names_in_]
    taken = rows.match(names, int(model.n_features_in_))

    def native(arrays: Any) -> Array:
        with warnings.catch_warnings():
            # The rows may lack the names that the training data had, and hold categories that it did not.
            warnings.simplefilter("ignore")
            table = taken.table(arrays)
            answer = model.predict_proba(table) if task == "classification" else model.predict(table)
        return scores_of(answer, task)

    classes = class_labels(model.classes_) if task == "classification" else None
    n_outputs = _width(native, taken) if classes is None else len(classes)

    def written(leaf_dtype: Any = None) -> tuple[Walk, Finished]:
        walk = Walk(taken, _TRANSFORMS, _RESPONDS, leaf_dtype)
        answer = walk.respond(model, walk.start(), "predict_proba" if task == "classification" else "predict")
        return walk, walk.finish(answer, n_outputs)

    walk, drafts = _drafts(_kind(model), written)
    answer, rounding = _by_net(native, model, taken)
    return Trained(
        framework="scikit-learn",
        version=sklearn.__version__,
        kind=_kind(model),
        task=task,
        classes=classes,
        n_outputs=n_outputs,
        native=_decided(answer, taken, walk),
        rows=taken,
        drafts=drafts,
        thresholds=walk.thresholds(),
        categories=walk.categories(),
        trees=walk.trees,
        locate=locate_in(model, taken) if type(model).__name__.startswith("HistGradientBoosting") else None,
        rounding=rounding,
    )


def _by_net(native: Native, model: Any, rows: Rows) -> tuple[Native, float]:
    """Return a model as it can be asked, and its rounding, which only one that ends in a net has."""
    return (native, 0.0) if sklearn_net.last_net(model) is None else sklearn_net.determined(native, model, rows)


def _decided(native: Native, rows: Rows, walk: Walk) -> Native:
    """Return a model without an answer, NaN, where its own arithmetic decides and not what it has learned.

    That is for numbers whose squares overflow; where the nearest rows are looked for, for those so large that float64
    cannot tell distances from them apart; and where it computes in float32, for rows far outside those given that it
    answers otherwise in float64. All are left out of optional probes.
    """
    if not walk.multiplies:
        return native
    numbers = {name: array for name, array in rows.arrays.items() if array.dtype.kind in "iuf"}
    limits = {name: _limit(array, measures=walk.measures) for name, array in numbers.items()}
    bounds = {name: _bounds(array) for name, array in numbers.items()}
    is_single = all(array.dtype.kind == "O" or array.dtype.itemsize <= 4 for array in rows.arrays.values())

    def answered(arrays: Mapping[str, Array]) -> Array:
        scores = np.array(native(arrays), np.float64)
        for name, limit in limits.items():
            scores[(np.abs(arrays[name].astype(np.float64)) > limit).any(axis=1)] = np.nan
        if not is_single:
            return scores
        outside = np.zeros(len(scores), np.bool_)
        for name, (least, most) in bounds.items():
            outside |= ((arrays[name] < least) | (arrays[name] > most)).any(axis=1)
        if outside.any():
            some = {name: array[outside] for name, array in arrays.items()}
            wide = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in some.items()}
            apart = np.logical_not(
                np.isclose(scores[outside], native(wide), rtol=_ROUNDING, atol=_ROUNDING).all(axis=1)
            )
            scores[np.flatnonzero(outside)[apart]] = np.nan
        return scores

    return answered


def _bounds(array: Array) -> tuple[Array, Array]:
    """Return the ends of the range of each column, widened by its width on both sides; without values, -1 and 1."""
    values = np.where(np.isnan(array).all(axis=0), 0.0, array.astype(np.float64))
    least, most = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    width = np.where(most > least, most - least, 1.0)
    return least - width, most + width


def _limit(array: Array, *, measures: bool) -> Array:
    """Return for each column the size above which a model's answer is arbitrary."""
    overflows = np.sqrt(np.finfo(array.dtype).max) / 10 if array.dtype.kind == "f" else np.inf
    if not measures:
        return np.full(array.shape[1], overflows)
    far = _FAR * (1 + np.nanmax(np.abs(array.astype(np.float64)), axis=0, initial=0.0))
    return np.asarray(np.minimum(overflows, far))


def _drafts(kind: str, written: Callable[..., tuple[Walk, Finished]]) -> tuple[Walk, tuple[Draft, ...]]:
    """Return the first walk that comes through and ways to write the model: one, or one a type for skl2onnx.

    Raises:
        ConversionError: none comes through.
    """
    failures: list[ConversionError] = []
    for i, dtype in enumerate(_LEAF_DTYPES):
        try:
            first = written(dtype)
        except ConversionError as error:
            failures.append(error)
            continue
        except Exception as error:  # an estimator of somebody's own may lack what those of its name have
            raise ConversionError(
                f"scikit-learn {kind} cannot be written: {type(error).__name__}: {error}. Way out: write the model to "
                f"ONNX another way and pass the path with native="
            ) from error
        others = _LEAF_DTYPES[i + 1 :] if first[0].used_leaf else ()
        return first[0], (partial(_second, first), *(partial(_rewritten, written, other) for other in others))
    raise ConversionError(f"scikit-learn {kind}: {failures[0]}") from failures[0]


def _second(pair: tuple[Walk, Finished]) -> Finished:
    return pair[1]


def _rewritten(written: Callable[..., tuple[Walk, Finished]], dtype: Any) -> Finished:
    return written(dtype)[1]


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
    last = model[-1] if _is_pipeline(model) else model
    if hasattr(last, "response_method") and hasattr(last, "estimator_"):
        raise ConversionError(
            f"scikit-learn: {kind} labels by a threshold of its own, the server by the largest probability; convert "
            f"its estimator_ and apply the threshold to the served probabilities"
        )
    if isinstance(model.classes_, list):
        raise ConversionError(f"scikit-learn: {kind} answers several targets; train one model a target")
    return "classification"


def _width(native: Native, rows: Rows) -> int:
    try:
        return int(native({name: array[:1] for name, array in rows.arrays.items()}).shape[1])
    except Exception as error:  # whatever class the library chose
        raise ConversionError(f"the model itself cannot score the rows: {type(error).__name__}: {error}") from error


def _is_pipeline(model: Any) -> bool:
    return type(model).__name__ == "Pipeline" and hasattr(model, "steps")


def _kind(model: Any) -> str:
    if not _is_pipeline(model):
        return type(model).__name__
    return f"Pipeline({', '.join(type(step).__name__ for _, step in model.steps)})"
