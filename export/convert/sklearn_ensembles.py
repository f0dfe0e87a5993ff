"""Estimators of scikit-learn that are made of other estimators: votes, stacks, calibration, one against the rest.

Each asks its members for the method that the original asks them for and puts the answers together in the same way.

Source: sklearn/ensemble/_voting.py, _stacking.py, calibration.py, multiclass.py, compose/_target.py, dummy.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..member import ConversionError
from .sklearn_curves import FUNCTIONS, interpolated
from .sklearn_linear import two_columns
from .sklearn_table import Part, Table, joined
from .sklearn_walk import Method, Respond, Walk
from .values import Value, side_by_side, total

_EPSILON = 1e-12
"""Added to probabilities before their logarithm is taken."""


def last_step(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a pipeline that ends in an estimator."""
    for _, step in model.steps[:-1]:
        table = walk.transform(step, table)
    return walk.respond(model.steps[-1][1], table, method)


def best(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write what a search found."""
    return walk.respond(model.best_estimator_, table, method)


def thresholded(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write the probabilities of a classifier with a threshold of its own."""
    return walk.respond(model.estimator_, table, method)


def voting(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write the weighted mean of members."""
    answers = [walk.respond(member, table, method) for member in model.estimators_]
    weights = model._weights_not_none
    shares = np.ones(len(answers)) if weights is None else np.asarray(weights, np.float64)
    weighted = [answer.astype(np.float64) * share for answer, share in zip(answers, shares, strict=True)]
    return total(weighted) / float(shares.sum())


def stacking(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a final estimator on the answers of others."""
    members = [member for member in model.estimators_ if not (isinstance(member, str) and member == "drop")]
    parts = []
    for member, asked in zip(members, model.stack_method_, strict=True):
        answer, width = walk.respond(member, table, asked), _width(member, asked)
        if asked == "predict_proba" and len(model.classes_) == 2:
            answer, width = answer.columns([1]), 1
        parts.append(Table((Part(answer, (None,) * width),)))
    if model.passthrough:
        parts.append(table)
    seen = joined(parts)
    seen = Table((Part(seen.array(type(model).__name__), seen.origins),))
    return walk.respond(model.final_estimator_, seen, method)


def calibrated(walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write the mean of calibrated classifiers."""
    answers = [_calibrated_one(walk, one, table) for one in model.calibrated_classifiers_]
    return total(answers) / float(len(answers))


def one_against_rest(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a classifier that asks one binary classifier a class."""
    if model.multilabel_:
        raise ConversionError("OneVsRestClassifier of several labels a row is not converted; train one model a label")
    answers = [_one_of_rest(walk, member, table, method) for member in model.estimators_]
    if method == "decision_function":
        return side_by_side(answers)
    if len(answers) == 1:
        return two_columns(answers[0])
    each = side_by_side(answers)
    whole = each.sum()
    return each / whole.equals(0.0).where(1.0, whole)


def constant(_walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write a DummyClassifier or DummyRegressor, which look at no column."""
    if getattr(model, "_strategy", "") == "stratified":
        raise ConversionError("DummyClassifier(strategy='stratified') draws at random; train with strategy='prior'")
    answer = model.predict_proba(np.zeros((1, 1))) if hasattr(model, "classes_") else model.predict(np.zeros((1, 1)))
    return _repeated(table, np.asarray(answer, np.float64).reshape(1, -1))


def transformed_target(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a regressor whose target was transformed."""
    raw = walk.respond(model.regressor_, table, method)
    step = model.transformer_
    name = type(step).__name__
    if name == "FunctionTransformer":
        inverse = getattr(step.inverse_func, "__name__", "None")
        if step.inverse_func is None:
            return raw
        if step.inverse_func is getattr(np, inverse, None) and inverse in FUNCTIONS:
            return FUNCTIONS[inverse][1](raw)
        raise ConversionError(f"TransformedTargetRegressor: inverse_func {inverse} calls Python code; use numpy's own")
    if name not in _WAYS_BACK or getattr(step, "output_distribution", "uniform") != "uniform":
        raise ConversionError(
            f"TransformedTargetRegressor: the way back through {name} is not converted; use a scaler, or numpy's log1p "
            f"and expm1, or transform the target before training"
        )
    return _WAYS_BACK[name](step, raw.astype(np.float64))


def several(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write a regressor of several targets, one a member."""
    answers = [walk.respond(member, table, method) for member in model.estimators_]
    return side_by_side(answers)


def chain(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write regressors each of which sees the answers of those before it."""
    if model.estimators_ and hasattr(model.estimators_[0], "classes_"):
        raise ConversionError("ClassifierChain answers several targets; train one model a target")
    answers: list[Value] = []
    x = table.numbers(type(model).__name__)
    for member in model.estimators_:
        seen = Table((Part(x.beside(*answers), (*table.origins, *((None,) * len(answers)))),))
        answers.append(walk.respond(member, seen, method))
    ordered = [answers[model.order_.tolist().index(i)] for i in range(len(answers))]
    return side_by_side(ordered)


def isotonic(_walk: Walk, model: Any, table: Table, _: Method) -> Value:
    """Write an IsotonicRegression of one column."""
    return _isotonic(model, table.array("IsotonicRegression"))


def inner_estimator(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write an estimator that only wraps another."""
    return walk.respond(model.estimator_, table, method)


def frozen(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write an estimator that is kept from being fitted again."""
    return walk.respond(model.estimator, table, method)


def after_elimination(walk: Walk, model: Any, table: Table, method: Method) -> Value:
    """Write an estimator on the columns that a recursive elimination left."""
    return walk.respond(model.estimator_, walk.transform(model, table), method)


def _calibrated_one(walk: Walk, one: Any, table: Table) -> Value:
    """Write one classifier and its calibrators."""
    member, n_classes = one.estimator, len(one.classes)
    by_decision = hasattr(member, "decision_function")
    answer = walk.respond(member, table, "decision_function" if by_decision else "predict_proba")
    if one.method == "temperature":
        logits = (
            (answer + _EPSILON).log() if not by_decision else (-answer).beside(answer) if n_classes == 2 else answer
        )
        return (logits.astype(np.float64) * float(one.calibrators[0].beta_)).softmax()
    if len(member.classes_) != n_classes:
        raise ConversionError("CalibratedClassifierCV: a fold lacked a class; train with stratified folds of more rows")
    if n_classes == 2:
        score = answer if by_decision else answer.columns([1])
        return two_columns(_mapped(one.calibrators[0], score).astype(np.float64))
    each = [_mapped(c, answer.columns([i])).astype(np.float64) for i, c in enumerate(one.calibrators)]
    joint = side_by_side(each)
    whole = joint.sum()
    return whole.equals(0.0).where(1 / n_classes, joint / whole)


def _mapped(calibrator: Any, score: Value) -> Value:
    if type(calibrator).__name__ == "IsotonicRegression":
        return _isotonic(calibrator, score)
    return (-(score.astype(np.float64) * float(calibrator.a_) + float(calibrator.b_))).sigmoid()


def _isotonic(model: Any, score: Value) -> Value:
    if model.out_of_bounds != "clip":
        raise ConversionError("IsotonicRegression: only out_of_bounds='clip' is converted; train with it")
    knots, heights = np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)
    return interpolated(score.astype(knots.dtype), knots, heights).astype(knots.dtype)


def _one_of_rest(walk: Walk, member: Any, table: Table, method: Method) -> Value:
    if type(member).__name__ == "_ConstantPredictor":
        return _repeated(table, np.asarray(member.y_, np.float64).reshape(1, 1))
    answer = walk.respond(member, table, method)
    return answer.columns([1]) if method == "predict_proba" else answer


def _repeated(table: Table, row: Any) -> Value:
    """Return the same row for every row of the input."""
    column = table.parts[0].value
    if table.parts[0].is_text:
        some = column.lookup([], [], 0).columns([0])
    else:
        some = column.columns([0]).astype(np.float64).isnan().astype(np.int64) * np.int64(0)
    return some.reshape(-1).gather(row)


def _width(member: Any, method: str) -> int:
    if not hasattr(member, "classes_"):
        return 1
    n_classes = len(member.classes_)
    if method == "predict":
        return 1
    return 1 if method == "decision_function" and n_classes == 2 else n_classes


def _back_from_standard(step: Any, y: Value) -> Value:
    scaled = y if step.scale_ is None else y * step.scale_
    return scaled + step.mean_ if step.with_mean else scaled


def _back_from_robust(step: Any, y: Value) -> Value:
    scaled = y * step.scale_ if step.with_scaling else y
    return scaled + step.center_ if step.with_centering else scaled


def _back_from_quantiles(step: Any, y: Value) -> Value:
    columns = enumerate(step.quantiles_.T)
    return side_by_side([interpolated(y.columns([i]), step.references_, quantiles) for i, quantiles in columns])


_WAYS_BACK: Mapping[str, Callable[[Any, Value], Value]] = {
    "StandardScaler": _back_from_standard,
    "MinMaxScaler": lambda step, y: (y - step.min_) / step.scale_,
    "MaxAbsScaler": lambda step, y: y * step.scale_,
    "RobustScaler": _back_from_robust,
    "QuantileTransformer": _back_from_quantiles,
}
"""Class name of a target's transformer -> what takes its values back."""

RESPONDS: Mapping[str, Respond] = {
    "Pipeline": last_step,
    "BaseSearchCV": best,
    "BaseThresholdClassifier": thresholded,
    "VotingClassifier": voting,
    "VotingRegressor": voting,
    "_BaseStacking": stacking,
    "CalibratedClassifierCV": calibrated,
    "OneVsRestClassifier": one_against_rest,
    "DummyClassifier": constant,
    "DummyRegressor": constant,
    "TransformedTargetRegressor": transformed_target,
    "MultiOutputRegressor": several,
    "RegressorChain": chain,
    "IsotonicRegression": isotonic,
    "RANSACRegressor": inner_estimator,
    "SelfTrainingClassifier": inner_estimator,
    "FrozenEstimator": frozen,
    "RFE": after_elimination,
}
