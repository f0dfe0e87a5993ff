"""What a kind of model is: the seam between the zoo and everything that searches, trains and exports its models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from ..member import Member
from ..search.space import Params, Space
from .problem import Problem
from .rows import Rows

Float64Array = npt.NDArray[np.float64]
Family = Literal["deep", "wide"]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Rows to train a model on, and how.

    Attributes:
        rows: the rows.
        target: class indices `(n_rows,)` int64, or values `(n_rows,)` float64 of a regression. Every class is there.
        weights: of the rows `(n_rows,)`, mean 1; None where all count the same.
        seed: of everything that is drawn at random.
        settled: what earlier trainings with the same parameters found for themselves, such as the number of rounds
            (see `Fitted.settled`); nothing is held out to find it again then.
        stop_at: when to stop with what has been learned, as `time.monotonic()` counts; a training that learns step by
            step does, any other ends when it ends.
        on_step: called by a training that learns step by step with the step, from 0, and the loss on rows that it holds
            out; may raise to end the training.
        n_threads: threads to train on.
    """

    rows: Rows
    target: Array
    weights: Float64Array | None = None
    seed: int = 0
    settled: Params = field(default_factory=dict)
    stop_at: float = float("inf")
    on_step: Callable[[int, float], None] = lambda *_: None
    n_threads: int = 1


class Fitted(Protocol):
    """A trained model."""

    @property
    def model(self) -> Any:
        """The object of its own library."""

    @property
    def settled(self) -> Params:
        """What the training found for itself by rows that it held out, such as the number of rounds; else empty."""

    @property
    def history(self) -> Mapping[str, tuple[float, ...]]:
        """Curve ("training loss", "validation loss") -> its value after each step; empty where none was kept."""

    def score(self, rows: Rows) -> Float64Array:
        """Return probabilities `(n_rows, n_classes)`, or values `(n_rows, 1)`."""

    def convert(self, rows: Rows) -> Member:
        """Return the model as a member proven on some rows.

        Raises:
            ConversionError: it cannot be converted faithfully.
        """

    def importance(self) -> Mapping[str, float]:
        """Return column -> its share of what the model goes by, summing to one; empty where the model does not say."""


class Kind(Protocol):
    """One kind of model."""

    @property
    def name(self) -> str:
        """Unique in the zoo, `snake_case`; names of members begin with it."""

    @property
    def family(self) -> Family:
        """Deep or wide."""

    def suits(self, problem: Problem) -> bool:
        """Return whether the kind can learn such a problem."""

    def space(self, problem: Problem) -> Space:
        """Return the parameters worth searching and where."""

    def portfolio(self, problem: Problem) -> tuple[Params, ...]:
        """Return parameters to begin with, each inside the space: first those that do well anywhere, and fast."""

    def fit(self, problem: Problem, params: Params, lesson: Lesson) -> Fitted:
        """Return a new model trained on the lesson's rows.

        The same arguments give the same model on one machine.

        Raises:
            ValueError: parameters lie outside the space.
        """


def settle(many: tuple[Params, ...]) -> Params:
    """Return what trainings on parts of the rows settled, as one: the median of each number."""
    names = dict.fromkeys(name for settled in many for name in settled)
    return {name: _middle([settled[name] for settled in many if name in settled]) for name in names}


def _middle(values: list[Any]) -> Any:
    middle = float(np.median(values))
    return round(middle) if all(isinstance(value, int) for value in values) else middle
