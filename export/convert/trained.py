"""What a converter module makes of a trained model, and all that the rest of export ever learns about it.

A converter is one module with `read(model, rows, wish) -> Trained`; a new framework needs nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..member import Classes, ConversionError
from ..parity import MAX_ROWS, Locate, Native
from .graph import Finished
from .grown import Grown
from .rows import Rows

Draft = Callable[[], Finished]
"""Writes the model as one graph."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller knows and the model may not say.

    Attributes:
        task: classification or regression.
        classes: labels in score order.
        native: the trained model's own scores, for an ONNX file.
        output: name of the graph output that holds the scores, for an ONNX file.
    """

    task: Task | None = None
    classes: Classes | None = None
    native: Native | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, ready to be written as a graph.

    Attributes:
        framework: what trained it.
        version: the framework's version.
        kind: the model's class.
        task: what the scores are.
        classes: labels as the model knows them, None where it only knows how many there are.
        n_outputs: columns of the scores.
        native: the model itself.
        rows: real rows of the tensors that it takes, and no others.
        drafts: ways to write it, the preferred one first; the first that keeps parity is taken.
        thresholds: tensor name -> column -> values at which the model branches, ascending. Probed one by one.
        categories: tensor name -> column -> numbers that stand for categories, ascending. Probed with numbers between,
            below and above them.
        locate: one row of the model's inputs and the bytes of a graph that answers it differently, to where they part
            (a tree and its split, a layer) in words, None where that cannot be found. Asked only when parity fails.
        trees: its decision trees and the columns that they branch by; every split is probed with rows that reach it.
        allow_nan: whether it can take missing values, None to ask it.
        max_rows: rows worth asking it about at most.
        rounding: by how much two right runs of it may differ, as measured on its own answers to real rows: 0 where that
            is less than any tolerance. The gate then takes it as the tolerance, and the certificate states that.
    """

    framework: str
    version: str
    kind: str
    task: Task
    classes: Classes | None
    n_outputs: int
    native: Native
    rows: Rows
    drafts: Sequence[Draft]
    thresholds: Mapping[str, Mapping[int, Array]] = field(default_factory=dict)
    categories: Mapping[str, Mapping[int, Array]] = field(default_factory=dict)
    locate: Locate | None = None
    trees: Sequence[Grown] = ()
    allow_nan: bool | None = None
    max_rows: int = MAX_ROWS
    rounding: float = 0.0


def thresholds_of(rows: Rows, thresholds: Sequence[Array]) -> dict[str, dict[int, Array]]:
    """Return the thresholds of each feature, in the order of the columns, under the tensor and column that feed it.

    Raises:
        ConversionError: a column with thresholds holds strings.
    """
    out: dict[str, dict[int, Array]] = {}
    for column, values in zip(rows.columns, thresholds, strict=True):
        if len(values):
            if rows.is_text(column):
                raise ConversionError(
                    f"column {column.name!r} holds strings and the model compares numbers; pass it as a numeric column"
                )
            out.setdefault(column.tensor, {})[column.index] = values
    return out


def check_fitted(model: Any) -> None:
    """Refuse an estimator of scikit-learn's kind that is not fitted; a Booster always is.

    Raises:
        ConversionError: it is not.
    """
    if hasattr(model, "__sklearn_is_fitted__") and not model.__sklearn_is_fitted__():
        raise ConversionError(f"{type(model).__name__} is not fitted; fit it first")


def class_labels(labels: Array | Sequence[object]) -> Classes:
    """Return a model's class labels as plain strings or integers.

    Raises:
        ConversionError: they are neither.
    """
    values = np.asarray(labels).tolist()
    if all(isinstance(value, str) for value in values):
        return tuple(values)
    if all(isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()) for value in values):
        return tuple(int(value) for value in values)
    raise ConversionError(f"class labels must be strings or whole numbers, got {values[:5]}; pass classes=[...]")


def adds_up(scores: Array) -> bool:
    """Whether scores `(n_rows, n_outputs)` look like probabilities of several classes."""
    return scores.shape[1] > 1 and bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-5))


def labels_of(model: Any, task: Task) -> Classes | None:
    """Return a boosted classifier's labels; a Booster does not know them."""
    return class_labels(model.classes_) if task == "classification" and hasattr(model, "classes_") else None


def scores_of(answer: Any, task: Task) -> Array:
    """Return what a model answers, probabilities or values, as scores with two axes."""
    scores = np.asarray(answer)
    return probabilities(scores) if task == "classification" else scores.reshape(len(scores), -1)


def probabilities(scores: Array) -> Array:
    """Return native class probabilities with two axes; one column or axis is that of the second of two classes."""
    columns = scores.reshape(len(scores), -1)
    return np.concatenate([1 - columns, columns], axis=1) if columns.shape[1] == 1 else columns
