"""One trial, in which a model of some hyperparameters is scored out of fold, and the export of one found good.

For the export it is trained on all rows, converted, proven and timed. The proof may take longer than the training, so
it waits until an ensemble is chosen, unless the search is
for low latency.

Runs in a worker process. Knows no study and no other trial; whoever started it hears of each step and may end it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ...serving.contract.columns import bind_columns
from ...serving.contract.tensors import Array, DataType
from ..bag import bag
from ..batches import spread
from ..member import Member
from ..search.space import Params
from ..weights.metrics import row_losses
from ..zoo.kind import Fitted, Float64Array, Kind, Lesson, settle
from .candidates import About, Candidate, keep_candidate, keep_member
from .dataset import Dataset
from .latency import member_latency_us
from .messages import Order
from .options import Keep
from .weights import with_mean_one

FOLD_STEPS = 100_000
"""Steps of the record: a training that learns step by step reports some of the first fold's, 0, 1, 2, 4, ...; the loss
after fold `i` is step `FOLD_STEPS + i`. A step then means the same in every trial of a kind, which pruners rely on."""

_FOLDS_TO_SETTLE = 2
"""Folds that find out for themselves how many rounds or epochs to train; the others take the median of theirs, which
spares them the rows to hold out and a second training."""

_PROOF_ROWS = 2000


class Pruned(Exception):
    """The trial is not worth ending; raised through the training by whoever hears of its steps."""


class Listener(Protocol):
    """Who hears of a trial's steps."""

    def step(self, step: int, loss: float, /) -> None:
        """Hear of an intermediate loss.

        Raises:
            Pruned: the trial ends here.
        """

    def is_wanted(self, loss: float, /) -> bool:
        """Return whether a candidate of this out-of-fold loss is to be exported at once."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all trials of a run share.

    Attributes:
        data: rows to learn from.
        folds: row indices held out together.
        keep: see `Options`.
        batch_rows: rows of a batch when latency is measured.
        seed: of all training.
        n_threads: threads of a training.
        work: folder in which candidates are kept.
    """

    data: Dataset
    folds: tuple[Array, ...]
    keep: Keep
    batch_rows: int
    seed: int
    n_threads: int
    work: Path


def attempt(order: Order, kind: Kind, setting: Setting, listener: Listener) -> Candidate:
    """Return a candidate, exported if the listener wants it.

    Raises:
        Pruned: the listener ended it.
        ConversionError: the model cannot be exported faithfully.
        ValueError: its scores are not finite.
    """
    scores, fitted = _cross_fit(order.params, order.stop_at, kind, setting, listener)
    loss = loss_of(setting.data, scores)
    if not math.isfinite(loss):
        raise ValueError(f"its out-of-fold loss is {loss}")
    about = About(
        kind=kind.name,
        family=kind.family,
        trial=order.number,
        params=order.params,
        loss=loss,
        settled=settle(tuple(one.settled for one in fitted)),
        history={curve: tuple(values) for curve, values in fitted[0].history.items()},
    )
    candidate = keep_candidate(setting.work, about, scores)
    return export(candidate, kind, setting, order.stop_at) if listener.is_wanted(loss) else candidate


def export(candidate: Candidate, kind: Kind, setting: Setting, stop_at: float) -> Candidate:
    """Return a candidate with its member: trained on all rows, or on those of each fold again if bags are kept.

    Raises:
        ConversionError: the model cannot be exported faithfully.
    """
    about = candidate.about
    if setting.keep == "bags":
        _, fitted = _cross_fit(about.params, stop_at, kind, setting, _Nobody())
    else:
        lesson = _lesson(setting, None, stop_at, _silent, about.settled)
        fitted = [kind.fit(setting.data.problem, about.params, lesson)]
    member = _exported(fitted, setting.data)
    return keep_member(
        candidate,
        member,
        latency_us=member_latency_us(member, _tensors(member, setting.data), setting.batch_rows),
        importance=_mean_importance(fitted),
        history={curve: tuple(values) for curve, values in (fitted[0].history or about.history).items()},
    )


class _Nobody:
    """Hears nothing."""

    def step(self, _: int, __: float, /) -> None:
        """Hear of a step."""

    def is_wanted(self, _: float, /) -> bool:
        """Want nothing."""
        return False


def loss_of(data: Dataset, scores: Float64Array, rows: Array | None = None) -> float:
    """Return the weighted mean log loss of some rows' scores, or the root of the weighted mean squared error."""
    index = np.arange(len(data.target)) if rows is None else rows
    target = data.target[index]
    truth = target if data.problem.task == "classification" else np.asarray(target, np.float64).reshape(len(index), -1)
    losses = row_losses(scores[index], truth, data.problem.task)
    mean = float(np.average(losses, weights=None if data.weights is None else data.weights[index]))
    return mean if data.problem.task == "classification" else float(np.sqrt(mean))


def _cross_fit(
    params: Params, stop_at: float, kind: Kind, setting: Setting, listener: Listener
) -> tuple[Float64Array, list[Fitted]]:
    """Return out-of-fold scores `(n_rows, n_outputs)` and the model of each fold."""
    data, folds = setting.data, setting.folds
    scores = np.zeros((len(data.target), data.problem.n_outputs))
    fitted: list[Fitted] = []
    seen: list[Array] = []
    for i, fold in enumerate(folds):
        rest = np.setdiff1d(np.arange(len(data.target)), fold)
        on_step = _thinned(listener) if i == 0 else _silent
        settled = settle(tuple(one.settled for one in fitted)) if i >= _FOLDS_TO_SETTLE else {}
        lesson = _lesson(setting, rest, _stop_at(stop_at, len(folds) - i), on_step, settled)
        fitted.append(kind.fit(data.problem, params, lesson))
        scores[fold] = fitted[-1].score(data.rows.take(fold))
        seen.append(fold)
        listener.step(FOLD_STEPS + i, loss_of(data, scores, np.concatenate(seen)))
    return scores, fitted


def _lesson(
    setting: Setting,
    index: Array | None,
    stop_at: float,
    on_step: Callable[[int, float], None],
    settled: Params | None = None,
) -> Lesson:
    data = setting.data
    return Lesson(
        rows=data.rows if index is None else data.rows.take(index),
        target=data.target if index is None else data.target[index],
        weights=_weights(data, index),
        seed=setting.seed,
        settled=settled or {},
        stop_at=stop_at,
        on_step=on_step,
        n_threads=setting.n_threads,
    )


def _weights(data: Dataset, index: Array | None) -> Float64Array | None:
    if data.weights is None or index is None:
        return data.weights
    return with_mean_one(data.weights[index])


def _stop_at(stop_at: float, n_left: int) -> float:
    """Return when the next fold's training should stop, so that those after it get as much."""
    now = time.monotonic()
    return now + max(0.0, stop_at - now) / n_left


def _thinned(listener: Listener) -> Callable[[int, float], None]:
    """Return what tells a listener of the steps 0, 1, 2, 4, 8, ...: each costs a message and a line on record."""

    def on_step(step: int, loss: float) -> None:
        if not step & (step - 1):
            listener.step(step, loss)

    return on_step


def _silent(_: int, __: float) -> None:
    """Hear of a step that nobody asks for."""


def _exported(fitted: Sequence[Fitted], data: Dataset) -> Member:
    rows = data.rows.take(spread(len(data.rows), _PROOF_ROWS))
    member = bag([one.convert(rows) for one in fitted], rows.columns())
    # The rows say "" for a missing word; so told, a bundle takes one that is null in a request or a file.
    inputs = (replace(spec, missing="") if spec.datatype is DataType.BYTES else spec for spec in member.inputs)
    return replace(member, inputs=tuple(inputs))


def _tensors(member: Member, data: Dataset) -> dict[str, Array]:
    return bind_columns(member.inputs, data.rows.take(spread(len(data.rows), _PROOF_ROWS)).columns())


def _mean_importance(fitted: Sequence[Fitted]) -> dict[str, float]:
    parts = [one.importance() for one in fitted]
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: float(np.mean([part.get(name, 0.0) for part in parts])) for name in names}
