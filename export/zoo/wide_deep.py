"""Wide and deep learning in one net: a linear part that memorises crossed features, a deep part that generalises.

    numbers, codes, crosses of pairs of codes    -> linear part -> logits
    numbers, embeddings of words -> dense blocks -> deep part   -> logits, added to these: one loss

Numbers enter the linear part as they are and as codes of ranges of equal share, so that they can be crossed with words.
A cross is a table with a row for each pair of codes, hashed to a bounded size where the pairs are many; its entry is
the weight of that pair, and unlike in the original both parts are trained by AdamW.

Source: Cheng et al., Wide & Deep Learning for Recommender Systems, 2016.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import KBinsDiscretizer

from ...serving.contract.tensors import Array
from ..libraries import import_keras
from ..search.space import Choice, Params, Real, Space, Value, Whole, check_params
from .crosses import worth_crossing
from .encoders import codes, imputed, scaled, table_columns
from .kind import Family, Lesson
from .mlp import words_known
from .pipeline import FittedPipeline
from .problem import Problem
from .tabular_nets import TABLE_BATCH, UNKNOWN, Matrix, answered, fit_net, logits_of, residual_blocks
from .training import Units, plan

_BUCKETS = 9973
"""Rows of a cross's table at most; a prime, so that hashing mixes both codes."""

_RANGES = "ranges"
_BINS_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class WideDeep:
    """Remembers which combinations of values go together, and still answers for those it has not seen."""

    name: str = "wide_deep"
    family: Family = "deep"

    def suits(self, problem: Problem) -> bool:
        """Return whether there are at least two columns to cross."""
        return len(problem.numeric) + len(problem.text) > 1

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        space: dict[str, Any] = {
            "crosses": Whole(0, 40),
            "depth": Whole(1, 3),
            "width": Whole(16, 128, log=True),
            "dropout": Real(0.0, 0.5),
            "learning_rate": Real(3e-4, 1e-2, log=True),
            "weight_decay": Real(1e-5, 1e-1, log=True),
        }
        if problem.numeric:
            space |= {"numbers": Choice(("scaled", "quantile")), "ranges": Whole(3, 16)}
        return space

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        first: dict[str, Value] = {
            "crosses": 10,
            "depth": 1,
            "width": 64,
            "dropout": 0.3,
            "learning_rate": 1e-3,
            "weight_decay": 1e-2,
        }
        if problem.numeric:
            first |= {"numbers": "quantile", "ranges": 6}
        return (
            first,
            {**first, "crosses": 30, "depth": 2, "learning_rate": 2e-3},
            {**first, "crosses": 3, "width": 32},
        )

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a wide and deep net."""
        check_params(self.space(problem), params)
        columns = _columns(problem, params, lesson)
        how = plan(
            len(lesson.rows), float(params["learning_rate"]), float(params["weight_decay"]), least_batch=TABLE_BATCH
        )
        target = lesson.target

        def build(matrix: Matrix, encoded: Array, units: Units) -> Any:
            marks = encoded[:, matrix.n_numbers :].astype(np.int64) + 1
            pairs = worth_crossing(marks, target, int(params["crosses"]), is_classifier=bool(units.n_classes))
            return _wide_and_deep(matrix, pairs, units, problem, params)

        return fit_net(problem, lesson, columns=columns, n_codes=_codes_known, build=build, plan=how)


def _columns(problem: Problem, params: Params, lesson: Lesson) -> ColumnTransformer:
    """Return the encoder: numbers on one scale, words as codes, numbers as codes of ranges."""
    curve: Any = params.get("numbers", "scaled")
    columns = table_columns(problem, scaled(curve, len(lesson.rows), lesson.seed), codes(UNKNOWN))
    if problem.numeric:
        ranges = KBinsDiscretizer(
            int(params["ranges"]),
            encode="ordinal",
            quantile_method="averaged_inverted_cdf",
            subsample=_BINS_ROWS,
            random_state=lesson.seed,
        )
        steps = Pipeline([("gaps", imputed()), ("ranges", ranges)])
        columns.transformers.append((_RANGES, steps, list(problem.numeric)))
    return columns


def _codes_known(columns: ColumnTransformer) -> Sequence[int]:
    """Return the number of codes of each column of words and of ranges, one for the unknown included."""
    ranges = columns.named_transformers_[_RANGES]["ranges"].n_bins_ if _RANGES in columns.named_transformers_ else ()
    return [*words_known(columns), *(int(n) + 1 for n in ranges)]


def _wide_and_deep(
    matrix: Matrix, pairs: Sequence[tuple[int, int]], units: Units, problem: Problem, params: Params
) -> Any:
    n_words, n_outputs = len(problem.text), problem.n_outputs
    keras = import_keras()
    given = matrix.input()
    logits = [_memory(keras, matrix, pairs, n_outputs)(given)]
    if matrix.n_numbers:
        logits.append(keras.layers.Dense(n_outputs, use_bias=False, kernel_initializer="zeros")(matrix.numbers(given)))
    # Ranges are of the linear part only: the deep part has the numbers themselves.
    deep = residual_blocks(
        matrix.deep_features(given, n_words),
        depth=int(params["depth"]),
        width=int(params["width"]),
        dropout=float(params["dropout"]),
    )
    deep = keras.layers.Dropout(float(params["dropout"]))(deep)
    logits.append(logits_of(deep, units, n_outputs))
    return keras.Model(given, answered(keras.layers.Add()(logits), units))


def _memory(keras: Any, matrix: Matrix, pairs: Sequence[tuple[int, int]], n_outputs: int) -> Any:
    """Return what gives the sum of the weights of a row's codes and of its pairs of codes: all in one table."""
    counts = np.asarray(matrix.n_codes, np.int64)
    first, second = np.asarray(pairs, np.int64).reshape(-1, 2).T
    n_pairs = np.minimum(counts[first] * counts[second], _BUCKETS)
    n_each = np.concatenate([counts, n_pairs])
    begins = np.concatenate([[0], np.cumsum(n_each)[:-1]])
    weights = keras.layers.Embedding(int(n_each.sum()), n_outputs, embeddings_initializer="zeros", name="memory")

    def summed(given: Any) -> Any:
        marks = keras.ops.cast(given[:, matrix.n_numbers :] + 1.0, "int64")
        if len(first):
            pair = keras.ops.take(marks, first, axis=1) * counts[second] + keras.ops.take(marks, second, axis=1)
            marks = keras.ops.concatenate([marks, keras.ops.mod(pair, n_pairs)], axis=1)
        return keras.ops.sum(weights(marks + begins), axis=1)

    return summed
