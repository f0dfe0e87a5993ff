"""What the nets over a table share: their matrix, how its columns are read inside, training and what comes out.

The matrix holds numbers on one scale, a column more for each that had gaps, then words as codes; all of it is made by
the encoders in front of the net, so that what is served converts step by step.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from ...serving.contract.tensors import Array
from ..libraries import import_keras
from .kind import Lesson
from .net_estimator import NetClassifier, NetRegressor
from .pipeline import FittedPipeline, columns_of
from .problem import Problem
from .training import Augment, Float32Array, Plan, Units, predicted, seeded, train

UNKNOWN = -1
"""Code of a word not trained on; inside a net codes are counted from 1 and this one is 0."""

_FARTHEST = 8.0
"""Deviations from the mean at which numbers are cut: nothing is learned from the few rows beyond, and the answer to
them stays determined."""

_FORGOTTEN_SHARE = 0.02
"""Of the words shown in training as if unknown, so that the unknown one learns to stand for a rare one."""

TABLE_BATCH = 64
"""Rows a step at least: measured on tables of some hundred noisy rows, smaller ones learn nothing better, slower."""

_SAMPLE_ROWS = 256


@dataclass(frozen=True, slots=True)
class Matrix:
    """What the columns of a net's matrix are.

    Attributes:
        n_numbers: columns at its beginning that hold numbers.
        n_codes: for each further one how many codes there are, unknown included.
    """

    n_numbers: int
    n_codes: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.n_numbers + len(self.n_codes)

    def input(self) -> Any:
        """Return the Keras input."""
        return import_keras().Input((self.width,), name="matrix")

    def numbers(self, matrix: Any) -> Any:
        """Return the numbers of a Keras tensor of this matrix, cut at the ends."""
        return import_keras().ops.clip(matrix[:, : self.n_numbers], -_FARTHEST, _FARTHEST)

    def codes(self, matrix: Any) -> list[Any]:
        """Return the codes of a Keras tensor of this matrix, each `(n_rows,)` int32 from 0."""
        ops = import_keras().ops
        return [ops.cast(matrix[:, self.n_numbers + i] + 1.0, "int32") for i in range(len(self.n_codes))]

    def deep_features(self, matrix: Any, n_embedded: int | None = None) -> Any:
        """Return numbers, and embeddings of the first columns of codes, by default of all, side by side."""
        keras = import_keras()
        parts = [self.numbers(matrix)] if self.n_numbers else []
        for codes, n in list(zip(self.codes(matrix), self.n_codes, strict=True))[:n_embedded]:
            parts.append(keras.layers.Embedding(n, embedding_width(n))(codes))
        return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)

    def forgetting(self) -> Augment | None:
        """Return what shows some words as unknown while a net learns."""
        if not self.n_codes:
            return None
        start = self.n_numbers

        def forget(
            inputs: list[Array], learned: Float32Array, rng: np.random.Generator
        ) -> tuple[list[Array], Float32Array]:
            (matrix,) = inputs
            codes = matrix[:, start:]
            matrix[:, start:] = np.where(rng.random(codes.shape) < _FORGOTTEN_SHARE, UNKNOWN, codes)
            return [matrix], learned

        return forget


def embedding_width(n_codes: int) -> int:
    """Return the width of an embedding of so many codes.

    Source: the rule of thumb of fastai's tabular models, 1.6 n^0.56, here with at most 32.
    """
    return min(32, round(1.6 * math.pow(n_codes, 0.56)))


def residual_blocks(features: Any, *, depth: int, width: int, dropout: float) -> Any:
    """Return what blocks of two dense layers make of features; each block adds to what it is given."""
    layers = import_keras().layers
    x = layers.Dense(width, kernel_initializer="he_normal")(features)
    for _ in range(depth):
        inner = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
        inner = layers.Dropout(dropout)(layers.Dense(width, activation="relu", kernel_initializer="he_normal")(inner))
        x = layers.Add()([x, layers.Dense(width)(inner)])
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def logits_of(features: Any, units: Units, n_outputs: int) -> Any:
    """Return the last layer's logits, or a regression's value; before any training they are those of no feature."""
    last = import_keras().layers.Dense(n_outputs, kernel_initializer="zeros")
    logits = last(features)
    if units.n_classes:
        last.bias.assign(np.log(units.shares))
    return logits


def answered(logits: Any, units: Units) -> Any:
    """Return the answer in the units that a net learns in: probabilities, or the value itself."""
    return import_keras().layers.Softmax()(logits) if units.n_classes else logits


def in_target_units(keras: Any, net: Any, units: Units) -> Any:
    """Return a trained net that answers in the target's own units."""
    if units.n_classes:
        return net
    return keras.Model(net.inputs, keras.layers.Rescaling(units.deviation, offset=units.mean)(net.output))


def fit_net(
    problem: Problem,
    lesson: Lesson,
    *,
    columns: ColumnTransformer,
    n_codes: Callable[[ColumnTransformer], Sequence[int]],
    build: Callable[[Matrix, Array, Units], Any],
    plan: Plan,
) -> FittedPipeline:
    """Return a pipeline of an encoder and a net, trained.

    Args:
        problem: what is to be learned.
        lesson: rows and how.
        columns: encoder of the table, not fitted: numbers first.
        n_codes: of the fitted encoder, number of codes of each column of codes at the end of its matrix.
        build: matrix, its rows and the units, to a net that answers in these.
        plan: how to train.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of constant columns, and of fewer ranges than were asked for
        encoded = np.ascontiguousarray(columns.fit_transform(columns_of(problem, lesson.rows)), np.float32)
    counts = tuple(n_codes(columns))
    matrix, units = Matrix(encoded.shape[1] - len(counts), counts), Units.of(problem, lesson.target)
    with seeded(lesson.seed, lesson.n_threads) as keras:
        net = build(matrix, encoded, units)
        course = train(net, [encoded], units, lesson, plan=plan, augment=matrix.forgetting())
        strengths = permuted(net, encoded, units, lesson)
        served = in_target_units(keras, net, units)
    estimator = NetClassifier(served) if units.n_classes else NetRegressor(served)
    pipeline = Pipeline([("columns", columns), ("model", estimator)])
    return FittedPipeline(problem, pipeline, strengths, course.settled, course.history)


def permuted(net: Any, encoded: Float32Array, units: Units, lesson: Lesson) -> list[float]:
    """Return by how much the loss on some rows grows when a column's values change places, 0 if it does not.

    Source: Breiman, Random Forests, 2001, section 10.
    """
    rng = np.random.default_rng(lesson.seed)
    index = rng.permutation(len(encoded))[:_SAMPLE_ROWS]
    rows, learned = encoded[index], units.learned(lesson.target[index])
    weights = np.ones(len(rows), np.float32)
    base = units.loss(predicted(net, [rows]), learned, weights)
    grown = []
    for i in range(rows.shape[1]):
        moved = rows.copy()
        moved[:, i] = rows[rng.permutation(len(rows)), i]
        grown.append(max(0.0, units.loss(predicted(net, [moved]), learned, weights) - base))
    return grown
