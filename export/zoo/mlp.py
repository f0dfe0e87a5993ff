"""A multilayer perceptron over a table: numbers on one scale, words embedded, residual blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.compose import ColumnTransformer

from ...serving.contract.tensors import Array
from ..libraries import import_keras
from ..search.space import Choice, Params, Real, Space, Whole, check_params
from .encoders import codes, scaled, table_columns
from .kind import Family, Lesson
from .pipeline import FittedPipeline
from .problem import Problem
from .tabular_nets import TABLE_BATCH, UNKNOWN, Matrix, answered, fit_net, logits_of, residual_blocks
from .training import Units, plan


@dataclass(frozen=True, slots=True)
class Mlp:
    """Learns smooth functions of many columns at once, where trees need many steps."""

    name: str = "mlp"
    family: Family = "deep"

    def suits(self, problem: Problem) -> bool:
        """Return whether there is a table."""
        return problem.has_table

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching."""
        space: dict[str, Any] = {
            "depth": Whole(1, 4),
            "width": Whole(16, 256, log=True),
            "dropout": Real(0.0, 0.5),
            "learning_rate": Real(3e-4, 1e-2, log=True),
            "weight_decay": Real(1e-5, 1e-1, log=True),
        }
        if problem.numeric:
            space["numbers"] = Choice(("scaled", "quantile"))
        return space

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with."""
        first = {"depth": 2, "width": 64, "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1e-2}
        small = {"depth": 1, "width": 32, "dropout": 0.2, "learning_rate": 2e-3, "weight_decay": 3e-2}
        large = {"depth": 3, "width": 128, "dropout": 0.3, "learning_rate": 1e-3, "weight_decay": 1e-2}
        curves = ("quantile", "scaled", "quantile") if problem.numeric else ()
        if not curves:
            return (first, small, large)
        return tuple({**params, "numbers": curve} for params, curve in zip((first, small, large), curves, strict=True))

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> FittedPipeline:
        """Return a multilayer perceptron."""
        check_params(self.space(problem), params)
        curve: Any = params.get("numbers", "scaled")
        columns = table_columns(problem, scaled(curve, len(lesson.rows), lesson.seed), codes(UNKNOWN))
        how = plan(
            len(lesson.rows), float(params["learning_rate"]), float(params["weight_decay"]), least_batch=TABLE_BATCH
        )

        def build(matrix: Matrix, _: Array, units: Units) -> Any:
            return _perceptron(matrix, units, problem.n_outputs, params)

        return fit_net(problem, lesson, columns=columns, n_codes=words_known, build=build, plan=how)


def words_known(columns: ColumnTransformer) -> Sequence[int]:
    """Return the number of codes of each column of words, unknown included, of a fitted encoder."""
    if "words" not in columns.named_transformers_:
        return ()
    return [len(words) + 1 for words in columns.named_transformers_["words"].categories_]


def _perceptron(matrix: Matrix, units: Units, n_outputs: int, params: Params) -> Any:
    keras = import_keras()
    given = matrix.input()
    x = residual_blocks(
        matrix.deep_features(given),
        depth=int(params["depth"]),
        width=int(params["width"]),
        dropout=float(params["dropout"]),
    )
    x = keras.layers.Dropout(float(params["dropout"]))(x)
    return keras.Model(given, answered(logits_of(x, units, n_outputs), units))
