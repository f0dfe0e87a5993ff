"""What tests of the zoo's kinds on real rows share: a split, losses, and the loss of knowing only the shares."""

import numpy as np
from widedeep.export.zoo.kind import Lesson
from widedeep.export.zoo.problem import Problem
from widedeep.export.zoo.rows import Rows
from widedeep.serving.contract.tensors import Array

Data = tuple[Problem, Rows, Array]


def split(data: Data) -> tuple[Lesson, Rows, Array]:
    """The lesson of two thirds of the rows, and the others with their target."""
    _, rows, target = data
    last = np.arange(len(target)) % 3 == 2
    return Lesson(rows.take(~last), target[~last], seed=1), rows.take(last), target[last]


def loss_of(scores: Array, target: Array) -> float:
    if scores.shape[1] == 1:
        return float(np.sqrt(np.mean((scores[:, 0] - target) ** 2)))
    return float(-np.log(np.maximum(scores[np.arange(len(target)), target], 1e-9)).mean())


def prior_loss(lesson: Lesson, target: Array, n_outputs: int) -> float:
    if n_outputs == 1:
        return float(np.sqrt(np.mean((target - lesson.target.mean()) ** 2)))
    return float(-np.log(np.bincount(lesson.target, minlength=n_outputs)[target] / len(lesson.target)).mean())
