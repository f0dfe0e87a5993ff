"""How a table becomes one matrix of numbers: one scikit-learn ColumnTransformer, numbers first, words behind them.

Every kind takes its encoders from here, so that all of them meet missing values and new words in ways that convert.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    OneHotEncoder,
    OrdinalEncoder,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)

from .problem import Problem

Curve = Literal["scaled", "quantile", "splines"]

_NUMBERS, _WORDS = "numbers", "words"
_MOST_QUANTILES = 200
_SPLINE_KNOTS = 5
_TARGET_FOLDS = 5


def table_columns(problem: Problem, numbers: Any, words: Any) -> ColumnTransformer:
    """Return the encoder of a whole table, to be fitted: the columns of numbers, then those of words.

    Args:
        problem: names the columns.
        numbers: for all columns of numbers, or "passthrough".
        words: for all columns of words.
    """
    parts = [(_NUMBERS, numbers, list(problem.numeric)), (_WORDS, words, list(problem.text))]
    return ColumnTransformer([part for part in parts if part[2]])


def codes(unknown: float = np.nan) -> OrdinalEncoder:
    """Return an encoder of words as whole numbers from 0, of words not trained on as `unknown`."""
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown, dtype=np.float32)


def one_hot(min_frequency: int = 1) -> OneHotEncoder:
    """Return an encoder of words as a column each; those on fewer rows share one with words not trained on."""
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=min_frequency, sparse_output=False, dtype=np.float32
    )


def target_means(problem: Problem, seed: int) -> TargetEncoder:
    """Return an encoder of words as the target's mean on their rows, cross-fitted; a column a class beyond two."""
    kind = "continuous" if problem.task == "regression" else "binary" if problem.n_outputs == 2 else "multiclass"
    return TargetEncoder(target_type=kind, cv=KFold(_TARGET_FOLDS, shuffle=True, random_state=seed))


def imputed() -> SimpleImputer:
    """Return a filler of gaps with the column's median; a column without any value becomes 0."""
    return SimpleImputer(strategy="median", keep_empty_features=True)


def scaled(curve: Curve = "scaled", n_rows: int = 10_000, seed: int = 0, *, has_gaps: bool = True) -> Pipeline:
    """Return numbers without gaps and on one scale, with a column more for each that had gaps in training.

    Args:
        curve: "scaled" to mean 0 and deviation 1; "quantile" to a normal distribution by rank; "splines" of the ranks,
            several columns for each.
        n_rows: rows to be fitted on.
        seed: of the sample that ranks are taken from.
        has_gaps: whether any column has gaps in training.
    """
    steps: list[tuple[str, Any]] = [
        ("gaps", SimpleImputer(strategy="median", add_indicator=has_gaps, keep_empty_features=True))
    ]
    if curve in {"quantile", "splines"}:
        shape = "normal" if curve == "quantile" else "uniform"
        n_quantiles = max(2, min(_MOST_QUANTILES, n_rows // 3))
        steps.append(
            ("ranks", QuantileTransformer(n_quantiles=n_quantiles, output_distribution=shape, random_state=seed))
        )
    if curve == "splines":
        steps.append(("splines", SplineTransformer(n_knots=_SPLINE_KNOTS, knots="uniform", include_bias=False)))
    return Pipeline([*steps, ("scale", StandardScaler())])


def origins(columns: ColumnTransformer) -> tuple[str, ...]:
    """Return the table's column that each column of a fitted encoder's matrix was made from."""
    found: list[str] = []
    for _, step, names in columns.transformers_:
        found += _made_from(step, [str(name) for name in names])
    return tuple(found)


def _made_from(step: Any, names: Sequence[str]) -> list[str]:
    if isinstance(step, Pipeline):
        for _, inner in step.steps:
            names = _made_from(inner, names)
        return list(names)
    if isinstance(step, SimpleImputer) and step.add_indicator:
        return [*names, *(names[i] for i in step.indicator_.features_)]
    if isinstance(step, SplineTransformer):
        return _each(names, [step.n_features_out_ // len(names)] * len(names))
    if isinstance(step, TargetEncoder) and step.target_type_ == "multiclass":
        return _each(names, [len(step.classes_)] * len(names))
    if isinstance(step, OneHotEncoder):
        rare = getattr(step, "infrequent_categories_", [None] * len(names))
        return _each(
            names,
            [
                len(words) - (0 if few is None else len(few) - 1)
                for words, few in zip(step.categories_, rare, strict=True)
            ],
        )
    return list(names)


def _each(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
