"""LightGBM's objectives: the closed list and what each answers.

Source: https://github.com/microsoft/LightGBM/tree/main/src/objective (ConvertOutput of each objective).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ...serving.contract.bundle import Task
from ..member import ConversionError
from .links import Link

LINKS: Mapping[str, Link] = {
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "softplus",
    "multiclass": "softmax",
    "multiclassova": "sigmoid",
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "poisson": "exp",
    "gamma": "exp",
    "tweedie": "exp",
    "lambdarank": "identity",
    "rank_xendcg": "identity",
    "custom": "identity",
}
"""Objective, `custom` where the model names none: then LightGBM answers margins."""


def link_of(objective: str, options: Sequence[str]) -> Link:
    """Return from raw scores to what a model answers; `options` follow the objective's name in the text.

    Raises:
        ConversionError: the objective is not on the list.
    """
    if objective not in LINKS:
        raise ConversionError(
            f"LightGBM: objective {objective} is not converted: write it to ONNX yourself and pass the path with "
            f"native="
        )
    return "signed square" if "sqrt" in options else LINKS[objective]


def task_of(model: Any, objective: str, wished: Task | None) -> Task:
    """Return what the scores are: an estimator says by its kind, a Booster by its objective.

    Raises:
        ConversionError: a classifier answers no probabilities of exclusive classes, and nobody says that values are
            wanted.
    """
    link, is_classifier = LINKS[objective], hasattr(model, "predict_proba")
    if objective == "multiclassova" and wished != "regression":
        raise ConversionError(
            "LightGBM: objective multiclassova answers probabilities that do not sum to one; train with "
            "objective=multiclass, or say task='regression' to serve them as values"
        )
    if is_classifier and link not in {"sigmoid", "softmax"} and wished != "regression":
        raise ConversionError(
            f"LightGBM: {type(model).__name__} with {'an objective of its own' if objective == 'custom' else objective}"
            f" answers no probabilities; train with binary or multiclass, or say task='regression' to serve its scores "
            f"as values"
        )
    if objective == "multiclassova":
        return "regression"
    is_booster = not hasattr(model, "booster_")
    probable = is_classifier or (is_booster and objective in {"binary", "multiclass"})
    by_default: Task = "classification" if probable else "regression"
    return (wished or by_default) if link in {"sigmoid", "softmax"} else "regression"
