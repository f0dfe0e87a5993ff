"""Trained scikit-learn pipelines as members: encoders of the table, then a model of one matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from ..convert import convert
from ..member import Member
from ..search.space import Params
from .encoders import origins
from .kind import Float64Array
from .problem import Problem
from .rows import Rows


@dataclass(frozen=True, slots=True, eq=False)
class FittedPipeline:
    """A trained pipeline of two steps, "columns" and "model".

    Attributes:
        problem: what it was trained for.
        model: the pipeline.
        strengths: what the model goes by, a number from 0 for each column of its matrix.
        settled: see `Fitted`.
        history: see `Fitted`.
    """

    problem: Problem
    model: Pipeline
    strengths: Sequence[float] | Float64Array
    settled: Params = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def score(self, rows: Rows) -> Float64Array:
        """Return probabilities `(n_rows, n_classes)`, or values `(n_rows, 1)`."""
        table = columns_of(self.problem, rows)
        if self.problem.task == "classification":
            return np.asarray(self.model.predict_proba(table), np.float64)
        return np.asarray(self.model.predict(table), np.float64).reshape(-1, 1)

    def convert(self, rows: Rows) -> Member:
        """Return the pipeline as a member proven on some rows.

        Raises:
            ConversionError: it cannot be converted faithfully.
        """
        return convert(self.model, columns_of(self.problem, rows))

    def importance(self) -> dict[str, float]:
        """Return column -> its share of what the model goes by, summing to one."""
        shares: dict[str, float] = dict.fromkeys((*self.problem.numeric, *self.problem.text), 0.0)
        total = float(np.sum(self.strengths))
        if not total > 0:
            return {}
        for column, strength in zip(origins(self.model["columns"]), self.strengths, strict=True):
            shares[column] += float(strength) / total
        return shares


def columns_of(problem: Problem, rows: Rows) -> Any:
    """Return the columns of a table that a problem names, numbers first."""
    return rows.table[[*problem.numeric, *problem.text]]
