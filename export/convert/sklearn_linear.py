"""Estimators of scikit-learn that are a few matrix products.

Linear and generalised linear models, discriminant analysis, naive Bayes and neural networks.
Each function repeats what the estimator's own methods do, but in float64 even where those compute in float32: the sums
of a product come in another order in every library, and so only one of the two answers is rounded coarsely.

Source: sklearn/linear_model, discriminant_analysis.py, naive_bayes.py, neural_network/_multilayer_perceptron.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..member import ConversionError
from .sklearn_table import Table
from .sklearn_walk import Method, Respond, Walk
from .values import Value, side_by_side, total

_LANES, _MOST_UNROLLED = 8, 128
"""numpy adds up in lanes, fewer terms than these one by one; more than the second it halves first."""


def linear_regressor(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write coefficients and intercept, for one target or several."""
    return _product(walk, model, table)


def generalised(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write a linear predictor and the inverse of its link."""
    raw = _product(walk, model, table)
    link = type(model._base_loss.link).__name__
    if link == "LogLink":
        return raw.exp()
    if link == "IdentityLink":
        return raw
    raise ConversionError(f"{type(model).__name__}: a loss with {link} is not converted; choose another link")


def softmax_classifier(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a classifier whose probabilities are the softmax of its decisions, the sigmoid for two classes."""
    decision = _product(walk, model, table)
    if method == "decision_function":
        return decision
    return two_columns(decision.sigmoid()) if len(model.classes_) == 2 else decision.softmax()


def one_against_rest(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a classifier whose probabilities are those of each class against the others, scaled to a sum of one."""
    decision = _product(walk, model, table)
    if method == "decision_function":
        return decision
    # Where a float32 becomes zero matters: if all are, every class gets the same.
    dtype = np.result_type(table.numbers(type(model).__name__).dtype, model.coef_.dtype)
    match getattr(model, "loss", "log_loss"):
        case "log_loss":
            return _scaled_to_one(decision.sigmoid().astype(dtype), len(model.classes_))
        case "modified_huber":
            return _scaled_to_one((decision.clip(-1, 1) + 1.0) / 2.0, len(model.classes_))
        case loss:
            raise ConversionError(f"{type(model).__name__}: loss={loss!r} has no probabilities")


def decisions_only(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write a linear classifier without probabilities, for what is built on its decisions."""
    return _product(walk, model, table)


def quadratic(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write quadratic discriminant analysis."""
    x = _exact(walk, model, table)
    norms = [
        (((x - mean) @ (rotation * scaling**-0.5)) ** 2).sum()
        for mean, rotation, scaling in zip(model.means_, model.rotations_, model.scalings_, strict=True)
    ]
    spread = np.array([np.sum(np.log(scaling)) for scaling in model.scalings_])
    decision: Value = (side_by_side(norms) + spread) * -0.5 + np.log(np.asarray(model.priors_))
    if method == "predict_proba":
        return decision.softmax()
    return decision.columns([1]) - decision.columns([0]) if len(model.classes_) == 2 else decision


def gaussian_bayes(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write naive Bayes with normal features, in the type and the order of the original.

    In float32 its logarithms have few digits left behind the point, and probabilities hang on the last one.
    """
    walk.multiplies, x, joint = True, table.numbers("GaussianNB"), []
    for prior, mean, variance in zip(model.class_prior_, model.theta_, model.var_, strict=True):
        constant = -0.5 * np.sum(np.log(2.0 * np.pi * variance))
        squares = _sum_in_numpys_order((x - mean) ** 2 / np.asarray(variance), table.width)
        joint.append((constant - squares * 0.5) + np.log(prior))
    return _shares(side_by_side(joint))


def multinomial_bayes(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write naive Bayes of counts."""
    x = _exact(walk, model, table)
    joint: Value = x @ model.feature_log_prob_.T + np.asarray(model.class_log_prior_)
    return _shares(joint)


def complement_bayes(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write complement naive Bayes, whose priors do not count."""
    joint: Value = _exact(walk, model, table) @ model.feature_log_prob_.T
    return _shares(joint)


def bernoulli_bayes(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write naive Bayes of truth values."""
    x = _exact(walk, model, table)
    if model.binarize is not None:
        walk.saw_thresholds(table.origins, [np.array([model.binarize])] * table.width)
        x = (x > model.binarize).astype(np.float64)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    joint: Value = x @ (model.feature_log_prob_ - absent).T + (model.class_log_prior_ + absent.sum(axis=1))
    return _shares(joint)


def categorical_bayes(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write naive Bayes of categories, which cuts numbers to whole ones."""
    places = table.array(type(model).__name__).astype(np.int64)
    joint = [
        places.columns([column]).reshape(-1).gather(np.ascontiguousarray(log_prob.T))
        for column, log_prob in enumerate(model.feature_log_prob_)
    ]
    walk.saw_categories(table.origins, [np.arange(p.shape[1]) for p in model.feature_log_prob_])
    both: Value = total(joint) + model.class_log_prior_
    return _shares(both)


def network(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write a multilayer perceptron."""
    x = _exact(walk, model, table)
    last = len(model.coefs_) - 1
    for i, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = (x @ weights) + bias
        activation = model.activation if i < last else model.out_activation_
        if activation not in _ACTIVATIONS:
            raise ConversionError(f"{type(model).__name__}: activation {activation!r} is not converted")
        x = _ACTIVATIONS[activation](x)
    is_binary = hasattr(model, "classes_") and model.n_outputs_ == 1
    return two_columns(x) if is_binary else x


def two_columns(positive: Value) -> Value:
    """Return the probabilities of both classes from that of the second, `(n_rows, 1)`."""
    return (1.0 - positive).beside(positive)


def _shares(joint: Value) -> Value:
    """Return probabilities from logarithms that they are proportional to, as scikit-learn's naive Bayes does.

    A softmax ends in other last digits, and a calibration may rise steeply between two of them.
    """
    most = joint.max()
    is_most = joint.equals(most)
    count = is_most.astype(joint.dtype).sum()
    others = is_most.where(0.0, (joint - most).astype(np.float64).exp().astype(joint.dtype)).sum() / count
    log_sum = (others.astype(np.float64) + 1.0).log().astype(joint.dtype) + count.log() + most
    return (joint - log_sum).astype(np.float64).exp().astype(joint.dtype)


def _sum_in_numpys_order(x: Value, width: int) -> Value:
    """Return the sum of rows `(n_rows, width)`; in float32 with the additions that numpy makes, in its order.

    Source: numpy/_core/src/umath/loops_utils.h.src (pairwise summation).
    """
    if x.dtype != np.float32 or width > _MOST_UNROLLED:
        return x.astype(np.float64).sum().astype(x.dtype)
    columns = [x.columns([i]) for i in range(width)]
    if width < _LANES:
        return total(columns)
    whole = width - width % _LANES
    lanes = [total(columns[i:whole:_LANES]) for i in range(_LANES)]
    pairs = [lanes[i] + lanes[i + 1] for i in range(0, _LANES, 2)]
    return total([(pairs[0] + pairs[1]) + (pairs[2] + pairs[3]), *columns[whole:]])


def _exact(walk: Walk, model: Any, table: Table) -> Value:
    walk.multiplies = True
    return table.numbers(type(model).__name__).astype(np.float64)


def _product(walk: Walk, model: Any, table: Table) -> Value:
    x = _exact(walk, model, table)
    coef = np.atleast_2d(model.coef_.toarray() if hasattr(model.coef_, "toarray") else model.coef_)
    return x @ coef.T + np.asarray(model.intercept_).reshape(1, -1)


def _scaled_to_one(each: Value, n_classes: int) -> Value:
    """Return probabilities that sum to one; where all are zero, those of every class are the same."""
    if n_classes == 2:
        return two_columns(each)
    whole = each.sum()
    return whole.equals(0.0).where(np.asarray(1 / n_classes, each.dtype), each / whole)


_ACTIVATIONS: Mapping[str, Callable[[Value], Value]] = {
    "identity": lambda x: x,
    "relu": lambda x: x.relu(),
    "tanh": lambda x: x.tanh(),
    "logistic": lambda x: x.sigmoid(),
    "softmax": lambda x: x.softmax(),
    "exp": lambda x: x.exp(),
}

RESPONDS: Mapping[str, Respond] = {
    "LogisticRegression": softmax_classifier,
    "LinearDiscriminantAnalysis": softmax_classifier,
    "QuadraticDiscriminantAnalysis": quadratic,
    "SGDClassifier": one_against_rest,
    "LinearClassifierMixin": decisions_only,
    "LinearModel": linear_regressor,
    "BaseSGDRegressor": linear_regressor,
    "_GeneralizedLinearRegressor": generalised,
    "GaussianNB": gaussian_bayes,
    "MultinomialNB": multinomial_bayes,
    "ComplementNB": complement_bayes,
    "BernoulliNB": bernoulli_bayes,
    "CategoricalNB": categorical_bayes,
    "MLPClassifier": network,
    "MLPRegressor": network,
}
