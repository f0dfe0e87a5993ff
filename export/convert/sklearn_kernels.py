"""Estimators of scikit-learn that keep training rows: nearest neighbours and support vector machines, in float64.

Distances are sums of differences taken feature by feature in the order of the originals. The usual shortcut through a
product of matrices cancels for rows next to each other, where the weights of neighbours are largest.

Source: sklearn/neighbors, sklearn/svm/src/libsvm/svm.cpp.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .sklearn_table import Table
from .sklearn_walk import Method, Respond, Walk
from .values import Value, total

_MOST_CELLS = 50_000_000
"""Training rows times features up to which brute force is sensible in a request."""


def neighbours(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write k nearest neighbours, of classes or values."""
    walk.multiplies = walk.measures = True
    who = type(model).__name__
    x = table.numbers(who).astype(np.float64)
    known = np.asarray(model._fit_X.toarray() if hasattr(model._fit_X, "toarray") else model._fit_X, np.float64)
    distance, place = _distances(model, x, known).smallest(int(model.n_neighbors))
    weights = _weights(model, distance)
    if method == "predict_proba":
        n_classes = len(model.classes_)
        answers = np.eye(n_classes)[np.ravel(model._y)]
    else:
        answers = np.asarray(model._y, np.float64).reshape(len(known), -1)
    weighted = (place.gather(answers) * weights.reshape(0, 0, 1)).sum(axis=1).reshape(-1, answers.shape[1])
    return weighted / weights.sum()


def support_vectors(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a support vector machine: decisions and values.

    Probabilities are found by iteration, which skl2onnx leaves to an operator of onnxruntime.
    """
    walk.multiplies, is_classifier = True, hasattr(model, "classes_")
    n_classes = len(model.classes_) if is_classifier else 0
    if method == "predict_proba":
        return walk.leaf(model, table, method)[0]
    x = table.numbers(type(model).__name__).astype(np.float64)
    kernel = _kernel(model, x, np.asarray(model.support_vectors_, np.float64), float(model._gamma))
    if not is_classifier:
        return kernel @ np.asarray(model._dual_coef_).T + np.asarray(model._intercept_)
    pairs = kernel @ _pair_weights(model, n_classes) + np.asarray(model._intercept_)
    if n_classes == 2:
        return -pairs
    return _one_against_rest(pairs, n_classes) if model.decision_function_shape == "ovr" else pairs


def _distances(model: Any, x: Value, known: Array) -> Value:
    """Return distances `(n_rows, n_known)`, or something that rises with them where only their order counts."""
    metric, power = model.effective_metric_, model.effective_metric_params_.get("p", 2)
    weights = model.effective_metric_params_.get("w")
    if known.size > _MOST_CELLS:
        raise ConversionError(
            f"{type(model).__name__}: {known.shape[0]} training rows of {known.shape[1]} features are too many to "
            f"compare with every request; train it on fewer"
        )
    if weights is not None:
        raise ConversionError(f"{type(model).__name__}: weights in metric_params are not converted; scale the columns")
    if metric == "cosine":
        return _cosine(x, known)
    differences = [x.columns([i]) - known[:, i][np.newaxis] for i in range(known.shape[1])]
    if metric in {"euclidean", "l2"} or (metric == "minkowski" and power == 2):
        return total([d * d for d in differences]).sqrt()
    if metric in {"manhattan", "cityblock", "l1"} or (metric == "minkowski" and power == 1):
        return total([d.abs() for d in differences])
    if metric == "minkowski" and np.isfinite(power):
        return total([d.abs() ** float(power) for d in differences]) ** (1.0 / float(power))
    if metric in {"minkowski", "chebyshev"}:
        return reduce(_larger, [d.abs() for d in differences])
    raise ConversionError(
        f"{type(model).__name__}: metric {metric!r} is not converted; train with euclidean, manhattan, chebyshev, "
        f"minkowski or cosine"
    )


def _larger(first: Value, second: Value) -> Value:
    return (first > second).where(first, second)


def _cosine(x: Value, known: Array) -> Value:
    norm = np.sqrt((known * known).sum(axis=1, keepdims=True))
    scaled = known / np.where(norm == 0, 1.0, norm)
    size = (x * x).sum().sqrt()
    return (1.0 - (x / size.equals(0.0).where(1.0, size)) @ scaled.T).clip(0.0, 2.0)


def _weights(model: Any, distance: Value) -> Value:
    """Return the weights of neighbours `(n_rows, n_neighbors)`; those at distance zero count alone."""
    if model.weights in {None, "uniform"}:
        return (distance >= 0.0).where(1.0, 1.0)
    if model.weights != "distance":
        raise ConversionError(
            f"{type(model).__name__}: weights={model.weights!r} calls Python code; train with 'uniform' or 'distance'"
        )
    near = distance.equals(0.0).astype(np.float64)
    return (near.max() > 0.0).where(near, 1.0 / distance)


def kernel_ridge(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write ridge regression on kernels."""
    walk.multiplies = True
    x = table.numbers(type(model).__name__).astype(np.float64)
    if model.kernel_params:
        raise ConversionError("KernelRidge: kernel_params is not converted; give gamma, degree and coef0 themselves")
    gamma = 1.0 / table.width if model.gamma is None else float(model.gamma)
    dual = np.asarray(model.dual_coef_, np.float64)
    return _kernel(model, x, np.asarray(model.X_fit_, np.float64), gamma) @ dual.reshape(len(dual), -1)


def _kernel(model: Any, x: Value, vectors: Array, gamma: float) -> Value:
    """Return the kernel of every row with every row kept from training."""
    if model.kernel == "rbf":
        squares = [(x.columns([i]) - vectors[:, i][np.newaxis]) ** 2 for i in range(vectors.shape[1])]
        return (total(squares) * -gamma).exp()
    product = x @ vectors.T
    match model.kernel:
        case "linear":
            return product
        case "poly" | "polynomial":
            return (product * gamma + float(model.coef0)) ** float(model.degree)
        case "sigmoid":
            return (product * gamma + float(model.coef0)).tanh()
        case kernel:
            raise ConversionError(
                f"{type(model).__name__}: kernel {kernel!r} is not converted; train with linear, poly, rbf or sigmoid"
            )


def _pair_weights(model: Any, n_classes: int) -> Array:
    """Return the weight of every support vector in the decision of every pair of classes `(n_vectors, n_pairs)`."""
    coef = np.asarray(model._dual_coef_, np.float64)
    ends = np.cumsum([0, *model._n_support])
    columns = []
    for i in range(n_classes):
        for j in range(i + 1, n_classes):
            column = np.zeros(coef.shape[1])
            column[ends[i] : ends[i + 1]] = coef[j - 1, ends[i] : ends[i + 1]]
            column[ends[j] : ends[j + 1]] = coef[i, ends[j] : ends[j + 1]]
            columns.append(column)
    return np.stack(columns, axis=1)


def _one_against_rest(pairs: Value, n_classes: int) -> Value:
    """Return from decisions of pairs one a class: votes, and sums of decisions that never outweigh a vote."""
    votes, against = np.zeros((2, pairs_of(n_classes), n_classes))
    confidence = np.zeros((pairs_of(n_classes), n_classes))
    k = 0
    for i in range(n_classes):
        for j in range(i + 1, n_classes):
            votes[k, i], against[k, j] = 1.0, 1.0
            confidence[k, i], confidence[k, j] = 1.0, -1.0
            k += 1
    lost = (pairs < 0.0).astype(np.float64)
    sums = pairs @ confidence
    return (1.0 - lost) @ votes + lost @ against + sums / ((sums.abs() + 1.0) * 3.0)


def pairs_of(n_classes: int) -> int:
    """Return the number of pairs of classes."""
    return n_classes * (n_classes - 1) // 2


RESPONDS: Mapping[str, Respond] = {
    "KNeighborsClassifier": neighbours,
    "KNeighborsRegressor": neighbours,
    "SVC": support_vectors,
    "NuSVC": support_vectors,
    "SVR": support_vectors,
    "NuSVR": support_vectors,
    "KernelRidge": kernel_ridge,
}
