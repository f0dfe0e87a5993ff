"""The loop that trains every net of the zoo: what a practitioner would set up by hand, once.

    rows -> a part held out -> epochs of shuffled batches (AdamW, warm-up and cosine, clipped gradients) -> best weights

A net learns in standard units: one-hot classes, or a target of mean 0 and deviation 1; the losses told are those of the
problem (log loss, or root mean squared error in the target's own units). Once a first training has found how many
epochs are best, a second one on all rows runs just as many of the same schedule and holds nothing out.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from ..libraries import import_keras
from .hold_out import held_out
from .kind import Lesson
from .problem import Problem

Float32Array = npt.NDArray[np.float32]
Augment = Callable[[list[Array], Float32Array, np.random.Generator], tuple[list[Array], Float32Array]]
"""Inputs of a batch and its targets `(n_rows, n_outputs)`, to those that the net is shown."""

_WARM_UP_SHARE = 0.05
_LEAST_RATE = 0.01
"""Of the learning rate, at the end of the schedule."""

_CLIP = 1.0
_SCORED_ROWS = 1024
_WORTH_STEPS = 2400
"""Steps after which a net of this zoo has learned what it will, where rows are few."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a net is trained.

    Attributes:
        learning_rate: at its highest.
        weight_decay: of matrices and kernels, as AdamW counts it.
        batch_rows: rows a step.
        epochs: of the whole schedule.
        patience: epochs without a better loss on the rows held out after which it ends.
    """

    learning_rate: float
    weight_decay: float
    batch_rows: int
    epochs: int
    patience: int


def plan(
    n_rows: int, learning_rate: float, weight_decay: float, *, least_batch: int = 16, most_epochs: int = 60
) -> Plan:
    """Return a plan for a number of rows: few rows are seen more often, in smaller batches."""
    batch_rows = int(np.clip(2 ** round(math.log2(max(n_rows, 64) / 40)), least_batch, 256))
    epochs = int(np.clip(_WORTH_STEPS * batch_rows // max(n_rows, 1), 10, most_epochs))
    return Plan(learning_rate, weight_decay, batch_rows, epochs, max(4, epochs // 4))


@dataclass(frozen=True, slots=True)
class Units:
    """The units in which a net learns.

    Attributes:
        n_classes: of a classification, 0 for a regression.
        mean: of a regression's target.
        deviation: of a regression's target; 1 where it is constant.
        shares: of the classes among the rows, each counted once more than it comes.
    """

    n_classes: int = 0
    mean: float = 0.0
    deviation: float = 1.0
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, problem: Problem, target: Array) -> "Units":
        """Return those for a target."""
        if problem.task == "classification":
            counts = np.bincount(np.asarray(target, np.int64), minlength=problem.n_outputs) + 1.0
            return cls(problem.n_outputs, shares=tuple((counts / counts.sum()).tolist()))
        values = np.asarray(target, np.float64)
        return cls(mean=float(values.mean()), deviation=float(values.std()) or 1.0)

    def learned(self, target: Array) -> Float32Array:
        """Return what the net is to answer, `(n_rows, n_outputs)`."""
        if self.n_classes:
            return np.eye(self.n_classes, dtype=np.float32)[np.asarray(target, np.int64)]
        return ((np.asarray(target, np.float64) - self.mean) / self.deviation).astype(np.float32)[:, np.newaxis]

    def loss(self, scores: Array, learned: Float32Array, weights: Float32Array) -> float:
        """Return the weighted log loss, or the root mean squared error in the target's units; infinite for NaN."""
        wide = np.asarray(scores, np.float64)
        if self.n_classes:
            of_true = np.clip((wide * learned).sum(axis=1), 1e-12, None)
            loss = float(np.average(-np.log(of_true), weights=weights))
        else:
            loss = self.deviation * math.sqrt(np.average(((wide - learned) ** 2).sum(axis=1), weights=weights))
        return loss if math.isfinite(loss) else math.inf

    def told(self, loss: float) -> float:
        """Return a loss as Keras counts it, in the problem's units."""
        return loss if self.n_classes else self.deviation * math.sqrt(max(loss, 0.0))


@dataclass(slots=True)
class Course:
    """How a training went.

    Attributes:
        epochs: of which the net has the weights.
        planned: of the schedule that it followed.
        training: loss of each epoch on the rows it learned from, as it was shown them.
        validation: loss after each epoch on the rows held out; empty where none were.
    """

    epochs: int
    planned: int
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    @property
    def settled(self) -> dict[str, int]:
        """What a further training on all rows goes by."""
        return {"epochs": self.epochs, "planned": self.planned}

    @property
    def history(self) -> dict[str, tuple[float, ...]]:
        """Name of a curve -> its values."""
        curves = {"training loss": self.training, "validation loss": self.validation}
        return {name: tuple(values) for name, values in curves.items() if values}


@contextmanager
def seeded(seed: int, n_threads: int = 1) -> Iterator[Any]:
    """Yield Keras with its seed set, and put the seeds of Python and numpy back afterwards.

    Threads are a setting of TensorFlow's that only counts if nothing has run before.
    """
    keras = import_keras()
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow has begun to run with what it had
        pass
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - Keras seeds the old generator
    keras.utils.set_random_seed(seed)
    try:
        yield keras
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002 - as above


def predicted(net: Any, inputs: Sequence[Array]) -> Array:
    """Return what a net answers, `(n_rows, n_outputs)`, in batches that a small machine can hold."""
    n_rows = len(inputs[0])
    parts = [
        np.asarray(net.predict_on_batch(_fed([array[start : start + _SCORED_ROWS] for array in inputs])))
        for start in range(0, n_rows, _SCORED_ROWS)
    ]
    return np.concatenate(parts)


def train(
    net: Any, inputs: Sequence[Array], units: Units, lesson: Lesson, *, plan: Plan, augment: Augment | None = None
) -> Course:
    """Train a net that answers in `units`, and leave it with its best weights.

    Args:
        net: Keras model, not compiled.
        inputs: rows of each of its inputs.
        units: of what it learns.
        lesson: target, weights, seed, when to stop, whom to tell; its rows are not looked at.
        plan: how.
        augment: changes each batch that is learned from.

    Raises:
        Exception: whatever `lesson.on_step` raises.
    """
    rng = np.random.default_rng(lesson.seed)
    learned = units.learned(lesson.target)
    weights = np.ones(len(learned), np.float32) if lesson.weights is None else lesson.weights.astype(np.float32)
    kept, held = _split(lesson, units)
    data = _Data(list(inputs), learned, weights, kept)
    checks = None
    if len(held):
        checks = _Data([array[held] for array in inputs], learned[held], weights[held], np.arange(len(held)))
    _compile(net, units, plan)
    return _Loop(net, units, lesson, plan, augment, rng).run(data, checks)


@dataclass(frozen=True, slots=True)
class _Data:
    """Rows and which of them count; large arrays may lie on disk, and only a batch of them is read at a time."""

    inputs: list[Array]
    learned: Float32Array
    weights: Float32Array
    index: Array


@dataclass(slots=True)
class _Loop:
    net: Any
    units: Units
    lesson: Lesson
    plan: Plan
    augment: Augment | None
    rng: np.random.Generator

    def run(self, data: _Data, checks: _Data | None) -> Course:
        settled = self.lesson.settled
        planned = int(settled.get("planned", self.plan.epochs))
        last = planned if checks is not None else int(settled.get("epochs", planned))
        course, best, best_weights = Course(last, planned), math.inf, None
        for epoch in range(last):
            begun = time.monotonic()
            course.training.append(self._epoch(data, epoch, course.planned))
            if checks is not None:
                loss = self.units.loss(predicted(self.net, checks.inputs), checks.learned, checks.weights)
                course.validation.append(loss)
                if loss < best or best_weights is None:
                    best, best_weights, course.epochs = loss, self.net.get_weights(), epoch + 1
                self.lesson.on_step(epoch, loss)
            else:
                course.epochs = epoch + 1
            if self._is_over(course, epoch) or epoch + 1 >= course.planned:
                break
            self._shorten(course, epoch, time.monotonic() - begun)
        if best_weights is not None:
            self.net.set_weights(best_weights)
        return course

    def _is_over(self, course: Course, epoch: int) -> bool:
        is_patient = not course.validation or epoch + 1 - course.epochs < self.plan.patience
        return not is_patient or time.monotonic() >= self.lesson.stop_at

    def _shorten(self, course: Course, epoch: int, epoch_s: float) -> None:
        """Let the schedule end when the time does: a rate that never came down leaves a worse net.

        The first epoch tells little of the others, since TensorFlow traces the net in it.
        """
        left_s = self.lesson.stop_at - time.monotonic()
        if epoch == 0 and left_s > epoch_s:
            return
        if left_s < math.inf and (fits := epoch + 1 + max(1, int(left_s / epoch_s))) < course.planned:
            course.planned = fits

    def _epoch(self, data: _Data, epoch: int, planned: int) -> float:
        n_rows = len(data.index)
        size = min(self.plan.batch_rows, n_rows)
        n_steps = n_rows // size  # what is left over comes in another epoch: the order is drawn anew
        order = self.rng.permutation(n_rows)
        self.net.reset_metrics()
        loss = math.nan
        for step in range(n_steps):
            index = data.index[order[step * size : (step + 1) * size]]
            inputs, learned = [array[index] for array in data.inputs], data.learned[index]
            if self.augment is not None:
                inputs, learned = self.augment(inputs, learned, self.rng)
            self.net.optimizer.learning_rate = rate(self.plan.learning_rate, epoch + step / n_steps, planned)
            loss = float(np.asarray(self.net.train_on_batch(_fed(inputs), learned, data.weights[index])))
            if time.monotonic() >= self.lesson.stop_at:
                break
        return self.units.told(loss)


def rate(highest: float, epoch: float, planned: int) -> float:
    """Return the learning rate at a moment in epochs: a straight rise, then half a cosine down.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017 (without the restarts).
    """
    warm_up = max(1.0, _WARM_UP_SHARE * planned)
    if epoch < warm_up:
        return highest * max(_LEAST_RATE, epoch / warm_up)
    passed = min(1.0, (epoch - warm_up) / max(planned - warm_up, 1e-9))
    return highest * (_LEAST_RATE + (1 - _LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * passed)))


def _compile(net: Any, units: Units, plan: Plan) -> None:
    keras = import_keras()
    optimizer = keras.optimizers.AdamW(plan.learning_rate, weight_decay=plan.weight_decay, global_clipnorm=_CLIP)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = "categorical_crossentropy" if units.n_classes else "mean_squared_error"
    optimizer.build(net.trainable_variables)  # else TensorFlow traces the first step twice
    net.compile(optimizer, loss, jit_compile=False)  # measured: XLA takes longer to compile than such a net to train


def _split(lesson: Lesson, units: Units) -> tuple[Array, Array]:
    """Return the rows to learn from and those held out, none if the epochs are settled."""
    if "epochs" in lesson.settled:
        return np.arange(len(lesson.target)), np.zeros(0, np.int64)
    mask = held_out(lesson.target, "classification" if units.n_classes else "regression", lesson.seed)
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _fed(arrays: list[Array]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays
