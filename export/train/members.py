"""Which candidates become members: those that together have the lowest loss, in number and latency bounded.

Greedy forward selection with replacement: of all candidates that may still be added, the one is added whose addition
lowers the loss of the mean of all added so far the most. How often a candidate is taken is its weight here; the weights
that serve are learned afterwards, on more than a mean. Selection overfits where candidates are many and rows few, so it
is done on several resamples of the rows, and those count that are taken on average.

Candidates are compared after a temperature for each, since calibration is mended later and says nothing about which is
worth having.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection from libraries of models", and the
resampling of Caruana, Munson and Niculescu-Mizil (2006), "Getting the most out of ensemble selection".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..weights.metrics import CLIP
from ..zoo.kind import Float64Array

_MAX_ROWS = 20_000
_STEPS = 25
_RESAMPLES = 8
_LEAST_SHARE = 0.02
_FAR_MORE, _HARDLY = 3.0, 0.005
"""What takes three times as long as all others together has to lower the loss of their mean by half a per cent."""

_CHEAP_US = 100.0
"""Up to that many microseconds a row nobody asks what a member is worth; stacks of such libraries take more."""
_LEVEL = 1e-3
"""Losses this close, relative to the lowest, are level: then one of a new group is taken, and then the quicker one."""

_TEMPERATURES = np.geomspace(0.4, 3.0, 15)

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Members:
    """The members of an ensemble, the weightiest first.

    Attributes:
        names: candidates taken.
        reasons: name -> why.
    """

    names: tuple[str, ...]
    reasons: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """Candidates as selection sees them.

    Attributes:
        names: of the candidates.
        answers: `(n_candidates, n_cells)`: probabilities of the true class, or predictions in units of the target's
            spread.
        target: the truth in the same cells, of a regression; None for a classification.
        weights: of the cells `(n_cells,)`.
        latency_us: of the candidates.
        groups: number of each candidate's kind or family.
        budget_us: of the sum over distinct members.
        max_members: how many distinct ones at most.
    """

    names: tuple[str, ...]
    answers: Float64Array
    target: Float64Array | None
    weights: Float64Array
    latency_us: Float64Array
    groups: npt.NDArray[np.intp]
    budget_us: float
    max_members: int


def choose_members(
    scores: Mapping[str, Array],
    target: Array,
    *,
    task: Task,
    latency_us: Mapping[str, float],
    groups: Mapping[str, str],
    weights: Float64Array | None = None,
    budget_us: float | None = None,
    max_members: int = 8,
    seed: int = 0,
) -> Members:
    """Return the members of the ensemble; none if no candidate keeps to the budget.

    Args:
        scores: candidate -> out-of-fold scores `(n_rows, n_outputs)`.
        target: class indices `(n_rows,)`, or values `(n_rows,)`.
        task: what the numbers are.
        latency_us: candidate -> microseconds a row, 0 where it is not known yet.
        groups: candidate -> what it is one of, such as its kind; of level candidates one of a new group is taken.
        weights: of the rows `(n_rows,)`.
        budget_us: of the sum of the members' latencies.
        max_members: how many at most.
        seed: of the resamples.
    """
    rng = np.random.default_rng(seed)
    index = np.arange(len(target))
    if len(index) > _MAX_ROWS:
        index = np.sort(rng.choice(len(index), _MAX_ROWS, replace=False))
    answers, truth, by_cell = _cells(scores, target, task, weights, index)
    numbers = {group: i for i, group in enumerate(dict.fromkeys(groups.values()))}
    field = _Field(
        names=tuple(scores),
        answers=answers,
        target=truth,
        weights=by_cell / by_cell.sum(),
        latency_us=np.array([latency_us[name] for name in scores]),
        groups=np.array([numbers[groups[name]] for name in scores]),
        budget_us=np.inf if budget_us is None else budget_us,
        max_members=max_members,
    )
    if not (field.latency_us <= field.budget_us).any():
        return Members((), {})
    if budget_us is None:
        shares = np.mean([_greedy(field, _resampled(field, rng)) for _ in range(_RESAMPLES)], axis=0)
    else:
        # Resamples taken together could exceed the budget: one selection, the better of two ways to spend it.
        tries = [_greedy(field, field.weights, by_latency=by_latency) for by_latency in (False, True)]
        shares = min(tries, key=lambda each: _loss(field, each @ field.answers, field.weights))
    order = [int(i) for i in np.argsort(-shares, kind="stable") if shares[i] >= _LEAST_SHARE][:max_members]
    taken = _worth_their_cost(field, shares, order or [int(np.argmax(shares))])
    return Members(tuple(field.names[i] for i in taken), _reasons(field, shares, taken))


def _cells(
    scores: Mapping[str, Array], target: Array, task: Task, weights: Float64Array | None, index: Array
) -> tuple[Float64Array, Float64Array | None, Float64Array]:
    """Return answers, truth and weights of the cells of some rows, see `_Field`."""
    by_row = np.ones(len(index)) if weights is None else np.asarray(weights, np.float64)[index]
    if task == "classification":
        true = [_true_class(np.asarray(array[index]), target[index], by_row) for array in scores.values()]
        return np.stack(true), None, by_row
    values = np.asarray(target, np.float64)[index].reshape(len(index), -1)
    scale = values.std(axis=0)
    scale[scale == 0] = 1.0
    answers = np.stack([(np.asarray(array[index], np.float64) / scale).ravel() for array in scores.values()])
    return answers, (values / scale).ravel(), np.repeat(by_row, values.shape[1])


def _true_class(probabilities: Array, target: Array, weights: Float64Array) -> Float64Array:
    """Return each row's probability of its class, at the temperature that suits the candidate best."""
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), CLIP))
    best, lowest = np.empty(0), np.inf
    for temperature in _TEMPERATURES:
        scaled = logs / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        of_class = scaled[np.arange(len(target)), target] - np.log(np.exp(scaled).sum(axis=1))
        loss = -float(np.average(of_class, weights=weights))
        if loss < lowest:
            best, lowest = np.exp(of_class), loss
    return np.asarray(best)


def _resampled(field: _Field, rng: np.random.Generator) -> Float64Array:
    """Return the weights of the cells in a resample with replacement."""
    counts = rng.multinomial(len(field.weights), np.full(len(field.weights), 1 / len(field.weights)))
    weights = field.weights * counts
    return np.asarray(weights / weights.sum())


def _greedy(field: _Field, weights: Float64Array, *, by_latency: bool = False) -> Float64Array:
    """Return each candidate's share `(n_candidates,)` after greedy selection.

    Args:
        field: the candidates.
        weights: of the cells.
        by_latency: go by what is gained for a microsecond, instead of by what is gained.
    """
    counts = np.zeros(len(field.names))
    total = np.zeros(field.answers.shape[1])
    kept, lowest = counts.copy(), np.inf
    for step in range(_STEPS):
        allowed = _allowed(field, counts > 0)
        losses = _losses(field, (total + field.answers[allowed]) / (step + 1), weights)
        i = int(np.flatnonzero(allowed)[_pick(field, allowed, counts > 0, losses, lowest, by_latency=by_latency)])
        counts[i] += 1
        total += field.answers[i]
        if (loss := _loss(field, total / (step + 1), weights)) < lowest:
            kept, lowest = counts / counts.sum(), loss
    return kept


def _allowed(field: _Field, taken: Bools) -> Bools:
    """Return which candidates may be added: those taken already, and what the bounds leave room for."""
    if taken.sum() >= field.max_members:
        return taken
    spent = field.latency_us[taken].sum()
    return np.asarray(taken | (field.latency_us + spent <= field.budget_us))


def _pick(field: _Field, allowed: Bools, taken: Bools, losses: Float64Array, lowest: float, *, by_latency: bool) -> int:
    """Return the place, among those allowed, of the candidate to add."""
    if by_latency and np.isfinite(lowest):
        cost = np.where(taken[allowed], 0.0, field.latency_us[allowed]) + 0.05 * field.latency_us[allowed]
        return int(np.argmax((lowest - losses) / cost)) if (losses < lowest).any() else int(np.argmin(losses))
    level = np.flatnonzero(losses <= losses.min() * (1 + _LEVEL))
    groups = set(field.groups[taken].tolist())
    is_known = np.array([field.groups[allowed][i] in groups for i in level])
    costs = field.latency_us[allowed][level]
    return int(level[np.lexsort((costs, is_known))[0]])


def _losses(field: _Field, answers: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the loss of each row of answers `(n, n_cells)`."""
    if field.target is None:
        return np.asarray(-np.log(np.maximum(answers, CLIP)) @ weights)
    return np.asarray(np.square(answers - field.target) @ weights)


def _loss(field: _Field, answer: Float64Array, weights: Float64Array) -> float:
    return float(_losses(field, answer[np.newaxis], weights)[0])


def _worth_their_cost(field: _Field, shares: Float64Array, taken: Sequence[int]) -> list[int]:
    """Return members without those that cost far more than the others and hardly lower the loss."""
    kept = list(taken)
    if not field.latency_us[kept].all():
        return kept  # some are not exported yet: what they cost is not known
    for i in sorted(taken, key=lambda each: -field.latency_us[each]):
        rest = [each for each in kept if each != i]
        if not rest or field.latency_us[i] < max(_CHEAP_US, _FAR_MORE * field.latency_us[rest].sum()):
            continue
        with_it, without = (
            _loss(field, (shares[some] / shares[some].sum()) @ field.answers[some], field.weights)
            for some in (kept, rest)
        )
        if without <= with_it * (1 + _HARDLY):
            kept = rest
    return kept


def _reasons(field: _Field, shares: Float64Array, taken: Sequence[int]) -> dict[str, str]:
    """Return why each member is taken: what the others would lose without it."""
    together = shares[taken] / shares[taken].sum()
    whole = _loss(field, together @ field.answers[taken], field.weights)
    alone = _losses(field, field.answers[taken], field.weights)
    reasons = {}
    for place, i in enumerate(taken):
        rest = np.delete(together, place)
        told = f"{shares[i]:.0%} of a greedy selection"
        if len(rest) and rest.sum() > 0:
            without = _loss(field, (rest / rest.sum()) @ np.delete(field.answers[taken], place, axis=0), field.weights)
            told += f"; without it the loss of their mean would change by {100 * (without / whole - 1):+.2f} %"
        reasons[field.names[i]] = told + ("; the best one alone" if alone[place] == alone.min() else "")
    return reasons
