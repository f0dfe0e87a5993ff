"""What the nets over arrays share: standard units of the input, training, and the trained net as a member."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..convert import convert
from ..member import Member
from ..search.space import Params
from .convolutions import Scale, separable_net
from .kind import Float64Array, Lesson
from .problem import Problem
from .rows import Rows
from .tabular_nets import in_target_units
from .training import Augment, Course, Plan, Units, predicted, seeded, train


@dataclass(frozen=True, slots=True, eq=False)
class FittedNet:
    """A trained net over one array of a data set; its columns, if there are any, are other members' business.

    Attributes:
        problem: what it was trained for.
        model: the Keras model; its input is named as the array.
        array: name of the array.
        course: how its training went.
    """

    problem: Problem
    model: Any
    array: str
    course: Course

    @property
    def settled(self) -> Params:
        """The epochs that were best."""
        return self.course.settled

    @property
    def history(self) -> Mapping[str, tuple[float, ...]]:
        """Losses of each epoch."""
        return self.course.history

    def score(self, rows: Rows) -> Float64Array:
        """Return probabilities `(n_rows, n_classes)`, or values `(n_rows, 1)`."""
        return np.asarray(predicted(self.model, [rows.arrays[self.array]]), np.float64)

    def convert(self, rows: Rows) -> Member:
        """Return the net as a member proven on some rows.

        Raises:
            ConversionError: it cannot be converted faithfully.
        """
        return convert(self.model, {self.array: rows.arrays[self.array]}, task=self.problem.task)

    def importance(self) -> dict[str, float]:
        """Return nothing: a net goes by the whole array."""
        return {}


def array_of_rank(problem: Problem, rank: int) -> str | None:
    """Return the first array of rows with so many axes, None where there is none."""
    return next((name for name, shape in problem.arrays.items() if len(shape) == rank), None)


def fit_array_net(
    problem: Problem, params: Params, lesson: Lesson, array: str, *, plan: Plan, augment: Augment | None
) -> FittedNet:
    """Return a separable convolutional net over one array, trained.

    Args:
        problem: what is to be learned.
        params: the net's `depth`, `width`, `kernel` and `dropout`, among others.
        lesson: rows and how.
        array: name of the array; the net's input is called so.
        plan: how to train.
        augment: what changes each batch.
    """
    values, units = lesson.rows.arrays[array], Units.of(problem, lesson.target)
    with seeded(lesson.seed, lesson.n_threads) as keras:
        net = separable_net(
            problem.arrays[array],
            problem.n_outputs,
            depth=int(params["depth"]),
            width=int(params["width"]),
            kernel=int(params["kernel"]),
            dropout=float(params["dropout"]),
            is_classifier=problem.task == "classification",
            name=array,
            scale=scale_of(values),
        )
        course = train(net, [values], units, lesson, plan=plan, augment=augment)
        return FittedNet(problem, in_target_units(keras, net, units), array, course)


def scale_of(values: Array) -> Scale:
    """Return mean and deviation of each channel, the last axis."""
    axes = tuple(range(values.ndim - 1))
    mean, deviation = values.mean(axis=axes, dtype=np.float64), values.std(axis=axes, dtype=np.float64)
    return Scale(tuple(mean.tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist()))
