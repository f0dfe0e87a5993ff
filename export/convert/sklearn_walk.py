"""The walk through a fitted scikit-learn model: step by step, member by member, down to what a formula can say.

Every kind of step or estimator has a function in one of the modules beside this one, found by the name of its class.
What has none is written by skl2onnx as the leaf that it is, never together with what surrounds it: skl2onnx is silently
wrong most often where models are combined. The walk also collects where the model branches, for probes.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Literal

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from . import sklearn_leaf
from .graph import Finished, Graph
from .grown import Feature, Grown
from .rows import Rows
from .sklearn_table import Origin, Table, table_of
from .trained import thresholds_of
from .trees import Trees
from .values import Value

Method = Literal["predict_proba", "decision_function", "predict"]
Transform = Callable[["Walk", Any, Table], Table]
Respond = Callable[["Walk", Any, Table, Method], Value]
"""From a fitted estimator and the rows to the answer of one of its methods, `(n_rows, n_columns)`. The decision of two
classes has one column; labels are answered as numbers."""

_BOOSTED: Mapping[str, str] = {
    "xgboost.": "xgboost",
    "lightgbm.": "lightgbm",
    "sklearn.ensemble._hist_gradient_boosting.": "histogram",
}
"""Where an estimator's class comes from -> module here whose `parse` reads its trees."""


class Walk:
    """One walk through a model, which writes it into a graph.

    Attributes:
        graph: what is written.
        rows: what the model takes.
        used_leaf: whether skl2onnx wrote a part.
        multiplies: whether a part answers by arithmetic, not by branches alone.
        measures: whether a part compares distances.
    """

    def __init__(
        self, rows: Rows, transforms: Mapping[str, Transform], responds: Mapping[str, Respond], leaf_dtype: Any = None
    ) -> None:
        """Start in front of a model.

        Args:
            rows: what the model takes.
            transforms: class name of a step -> function that writes it.
            responds: class name of an estimator -> function that writes it.
            leaf_dtype: type for what skl2onnx writes; None for the one that the rows have there.
        """
        self.graph = Graph()
        self.rows = rows
        self.used_leaf = False
        self.multiplies = self.measures = False
        self._transforms, self._responds, self._leaf_dtype = transforms, responds, leaf_dtype
        self._refused: list[Value] = []
        self._thresholds: list[list[Array]] = [[] for _ in rows.columns]
        self._categories: list[list[Array]] = [[] for _ in rows.columns]
        self.trees: list[Grown] = []

    def start(self) -> Table:
        """Return the input."""
        return table_of(self.graph, self.rows)

    def transform(self, step: Any, table: Table) -> Table:
        """Write a fitted transformer.

        Raises:
            ConversionError: it cannot be written; names it and the way out.
        """
        if step is None or (isinstance(step, str) and step == "passthrough"):
            return table
        function: Transform | None = _found(step, self._transforms)
        if function is not None:
            return function(self, step, table)
        if not hasattr(step, "transform"):
            raise ConversionError(f"{type(step).__name__} does not transform its input")
        return table.made(*self.leaf(step, table, "transform"))

    def respond(self, model: Any, table: Table, method: Method) -> Value:
        """Write one method of a fitted estimator.

        Raises:
            ConversionError: it cannot be written; names it and the way out.
        """
        if boosted := _boosted_module(model):
            answer: Value = import_module(".sklearn_boosted", __package__).boosted(self, model, table, method, boosted)
            return answer
        if method == "predict" and hasattr(model, "classes_"):
            return self._labels(model, table)
        if holds_net(model):
            scores: Value = import_module(".sklearn_net", __package__).net(self, model, table, method)
            return scores
        function: Respond | None = _found(model, self._responds)
        if function is not None:
            return function(self, model, table, method)
        return self.leaf(model, table, method)[0]

    def place(self, model: Any, table: Table) -> Value:
        """Write the place of the class that a classifier decides for among its classes, `(n_rows, 1)`."""
        if hasattr(model, "steps"):
            for _, step in model.steps[:-1]:
                table = self.transform(step, table)
            return self.place(model.steps[-1][1], table)
        if not hasattr(model, "decision_function"):
            return self.respond(model, table, "predict_proba").argmax()
        decision = self.respond(model, table, "decision_function")
        if hasattr(model, "break_ties") and len(model.classes_) > 2:
            if model.break_ties or model.decision_function_shape != "ovr":
                raise ConversionError(
                    f"{type(model).__name__}: labels with break_ties or decision_function_shape='ovo' are not "
                    f"converted where another estimator takes them; train with the defaults"
                )
            decision = (decision + 0.5).floor()  # what a support vector machine goes by are the votes alone
        return (decision > 0.0).astype(np.int64) if len(model.classes_) == 2 else decision.argmax()

    def refuses(self, rows: Value) -> None:
        """Note rows `(n_rows, 1)` that the model refuses: they get NaN for scores, never a number."""
        self._refused.append(rows)

    def finish(self, answer: Value, n_outputs: int) -> Finished:
        """Return the graph that answers `answer` `(n_rows, n_outputs)`.

        Raises:
            ConversionError: the result is not a valid ONNX model.
        """
        for rows in self._refused:
            answer = rows.where(np.asarray(np.nan, answer.dtype), answer)
        return self.graph.finish(answer.name, n_outputs)

    def saw_thresholds(self, origins: Sequence[Origin | None], thresholds: Sequence[Array]) -> None:
        """Note values at which the model branches, for each column of a table."""
        self._saw(self._thresholds, origins, thresholds)

    def saw_categories(self, origins: Sequence[Origin | None], categories: Sequence[Array]) -> None:
        """Note numbers that stand for categories, for each column of a table."""
        self._saw(self._categories, origins, categories)

    def saw_trees(
        self,
        origins: Sequence[Origin | None],
        trees: Trees,
        *,
        dtype: Any = None,
        places: Sequence[int] | None = None,
        labels: Mapping[int, Sequence[Any]] | None = None,
    ) -> None:
        """Note decision trees.

        Args:
            origins: of the columns of a table.
            trees: the trees.
            dtype: type that features are cast to before they are compared.
            places: column of the table that each feature is; by default they are the same.
            labels: column of the table -> values of the input in the order of the codes that the trees compare.
        """
        known, order = labels or {}, range(len(origins)) if places is None else places
        features = []
        for origin, place in ((origins[i], int(i)) for i in order):
            feature = None if origin is None else Feature(origin.column, origin.back, tuple(known.get(place, ())))
            features.append(None if feature is not None and feature.labels and feature.back else feature)
        self.trees.append(Grown(trees, features, dtype))

    def thresholds(self) -> dict[str, dict[int, Array]]:
        """Return what was noted, under tensor and column."""
        return self._noted(self._thresholds)

    def categories(self) -> dict[str, dict[int, Array]]:
        """Return what was noted, under tensor and column."""
        return self._noted(self._categories)

    def _labels(self, model: Any, table: Table) -> Value:
        """Write the labels of a classifier: the class of the largest probability or decision."""
        labels = np.asarray(model.classes_)
        if labels.dtype.kind not in "biuf":
            raise ConversionError(
                f"{type(model).__name__}: its labels {labels.tolist()[:3]} are taken as features; train it on numbers"
            )
        return self.place(model, table).gather(labels)

    def leaf(self, step: Any, table: Table, method: str) -> tuple[Value, int]:
        """Have skl2onnx write a step or an estimator of numbers; also return the columns of the answer.

        Raises:
            ConversionError: it cannot.
        """
        self.used_leaf = self.multiplies = True
        sklearn_leaf.check(step)
        numbers = table.numbers(type(step).__name__)
        given = numbers.astype(numbers.dtype if self._leaf_dtype is None else self._leaf_dtype)
        return sklearn_leaf.append(self.graph, step, given, table.width, method)

    def _saw(self, notes: list[list[Array]], origins: Sequence[Origin | None], values: Sequence[Array]) -> None:
        for origin, of_column in zip(origins, values, strict=True):
            if origin is not None and len(of_column) and not self.rows.is_text(self.rows.columns[origin.column]):
                notes[origin.column].append(origin.take_back(np.asarray(of_column, np.float64)))

    def _noted(self, notes: list[list[Array]]) -> dict[str, dict[int, Array]]:
        return thresholds_of(self.rows, [np.unique(np.concatenate([np.zeros(0), *of_column])) for of_column in notes])


def _found(step: Any, functions: Mapping[str, Any]) -> Any:
    """Return the function for a step: that of its class or of the first base of scikit-learn's that has one."""
    bases = [cls.__name__ for cls in type(step).__mro__ if cls.__module__.startswith("sklearn.")]
    return next((functions[name] for name in bases if name in functions), None)


def holds_net(model: Any) -> bool:
    """Whether an estimator holds a Keras model as its `model_`."""
    return any(cls.__module__.partition(".")[0] == "keras" for cls in type(getattr(model, "model_", None)).__mro__)


def _boosted_module(model: Any) -> str | None:
    origins = [f"{cls.__module__}." for cls in type(model).__mro__]
    return next((module for origin, module in _BOOSTED.items() if any(o.startswith(origin) for o in origins)), None)
