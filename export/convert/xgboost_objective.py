"""XGBoost's objectives: the closed list, what each answers, and the base score that it keeps as a prediction.

Source: https://github.com/dmlc/xgboost/tree/master/src/objective (PredTransform and ProbToMargin of each).
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ..member import ConversionError
from .links import Link

LINKS: Mapping[str, Link] = {
    "binary:logistic": "sigmoid",
    "binary:logitraw": "identity",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
    "reg:squaredlogerror": "identity",
    "reg:logistic": "sigmoid",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "count:poisson": "exp",
    "survival:cox": "exp",
    "survival:aft": "exp",
    "rank:pairwise": "identity",
    "rank:ndcg": "identity",
    "rank:map": "identity",
}
_LABELS = {
    "multi:softmax": "it answers labels; train with multi:softprob, which grows the same trees",
    "binary:hinge": "it answers labels, not probabilities; train with binary:logistic",
}
_NO_WAY_OUT = "write it to ONNX yourself and pass the path with native="


def link_of(model: Any, objective: str) -> Link:
    """Return from margins to what a model answers.

    Raises:
        ConversionError: the objective is not on the list, or answers labels, or a classifier with it no probabilities.
    """
    is_classifier = hasattr(model, "predict_proba")
    if objective in _LABELS and not (objective == "multi:softmax" and is_classifier):
        raise ConversionError(f"XGBoost: objective {objective} is not converted: {_LABELS[objective]}")
    if objective not in LINKS:
        raise ConversionError(f"XGBoost: objective {objective} is not converted: {_NO_WAY_OUT}")
    if is_classifier and LINKS[objective] not in {"sigmoid", "softmax"}:
        raise ConversionError(
            f"XGBoost: {type(model).__name__} with objective {objective} answers no probabilities; train with "
            f"binary:logistic or multi:softprob, or convert its get_booster(), whose scores are a regression"
        )
    return LINKS[objective]


def task_of(model: Any, objective: str, n_targets: int, wished: Task | None) -> Task:
    """Return what the scores are: an estimator says by its kind, a Booster by its objective.

    Raises:
        ConversionError: there is a probability for each of several labels, and nobody says that values are wanted.
    """
    link = LINKS[objective]
    if link == "sigmoid" and n_targets > 1:
        if wished != "regression":
            raise ConversionError(
                f"XGBoost: objective {objective} with {n_targets} targets (multilabel) answers a probability for each, "
                f"which do not sum to one; train one model a label, or say task='regression' to serve them as values"
            )
        return "regression"
    if link not in {"sigmoid", "softmax"}:
        return "regression"
    is_booster = not hasattr(model, "get_booster")
    probable = hasattr(model, "predict_proba") or (is_booster and objective != "reg:logistic")
    by_default: Task = "classification" if probable else "regression"
    return wished or by_default


def base_margin(text: str, objective: str, n_targets: int) -> npt.NDArray[np.float32]:
    """Return the base score, which the file keeps as a prediction, as margins.

    Up to XGBoost 3.0 it is one number, since then a list.
    """
    base = np.array([float(number) for number in re.findall(r"[^\[\],\s]+", text)], np.float32)
    if LINKS[objective] == "sigmoid":
        base = -np.log(1 / base - 1)
    elif LINKS[objective] == "exp":
        base = np.log(base)
    return np.broadcast_to(base, n_targets).astype(np.float32)
