"""Every hard case of model export, each a model that is really trained: the rows of the table in docs/export.md.

A module a framework registers functions with `case`; `run` converts what one makes and compares the graph with the
model on rows that the converter never saw. `python -m export_cases` in tests/ writes the table again.
"""

from .case import CASES, Case, Made, Outcome, case, run

__all__ = ["CASES", "Case", "Made", "Outcome", "case", "run"]

from . import keras_cases, lightgbm_cases, sklearn_cases, xgboost_cases  # noqa: F401 - they register their cases
