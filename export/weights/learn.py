"""From held-out scores to a combiner: fit every learner, cross-validate each, choose one.

The rows are held out already, the members never saw them. To compare learners they are split once more: each learner is
fitted on all folds but one and judged on that one, penalties and the best single member being found anew each time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from ...serving.contract.bundle import Task
from ...serving.contract.combiner import Combiner, Float64Array
from ...serving.contract.tensors import Array
from .catalogue import BEST_SINGLE, learners_for
from .choice import Standing, choose
from .diversity import diversity_of
from .folds import deal
from .held_out import HeldOut, check_held_out
from .learner import AnyLearner, fit
from .mean import standard_deviation, standard_error
from .metrics import metrics_of, row_losses
from .selection import Selection
from .validation import cross_validate


def learn(
    scores: Mapping[str, Array],
    target: Array,
    *,
    task: Task = "classification",
    weights: Array | None = None,
    learners: Sequence[AnyLearner] | None = None,
    seed: int = 0,
    n_folds: int = 5,
    on_learner: Callable[[str], None] = lambda _: None,
) -> Selection:
    """Learn a combiner by every learner and choose one by nested cross-validation.

    The same arguments give the same result, whatever number of threads the process may use: it works on one.

    Args:
        scores: member name -> scores `(n_rows, n_outputs)` of rows that the member never saw, in the order in which
            the combiner takes them; probabilities for a classification.
        target: class indices `(n_rows,)`, or values `(n_rows,)` or `(n_rows, n_outputs)` of a regression.
        task: what the numbers are.
        weights: how much each row counts, `(n_rows,)`, not negative; all the same if None. Rows of weight 0 are left
            out.
        learners: the simplest first; all that suit the task if None. The best single member is always compared.
        seed: of the folds and of learners that draw at random.
        n_folds: parts that each learner is judged on in turn.
        on_learner: called with each learner's name once it is fitted and judged.

    Raises:
        ValueError: there are no members or fewer than two rows a fold; a member's scores have another shape than the
            others', are not finite or, of a classification, are no probabilities; the target or the weights do not fit
            them; two learners have the same name or there are fewer than two folds.
    """
    if n_folds < 2:
        raise ValueError(f"expected at least 2 folds, got {n_folds}")
    held_out = check_held_out(scores, target, task, min_rows=2 * n_folds, weights=weights)
    chosen_from = _with_baseline(learners or learners_for(task, held_out.n_members, held_out.n_outputs))
    scaled, scale = _scaled(held_out)
    folds = deal(scaled, n_folds, np.random.default_rng(seed))
    memory: list[dict[str, Combiner]] = [{} for _ in range(n_folds + 1)]
    predictions: dict[str, Float64Array] = {}
    with threadpool_limits(limits=1):
        for learner in chosen_from:
            predictions[learner.name] = cross_validate(learner, scaled, folds, seed, memory)
            fit(learner, scaled, seed, memory[n_folds])
            on_learner(learner.name)
        combiners = {learner.name: memory[n_folds][learner.name] for learner in chosen_from}
        losses = {name: row_losses(answer, scaled.target, task) for name, answer in predictions.items()}
        loss_name = "log loss" if task == "classification" else "squared error"
        choice = choose(losses, BEST_SINGLE.name, loss_name, held_out.weights)
        return Selection(
            combiner=combiners[choice.chosen],
            chosen=choice.chosen,
            reason=choice.reason,
            members={
                name: metrics_of(held_out.scores[i], held_out.target, task, held_out.weights)
                for i, name in enumerate(scores)
            },
            results={
                name: _result(answer * scale, held_out, choice.standings[name]) for name, answer in predictions.items()
            },
            combiners=combiners,
            diversity=diversity_of(held_out, list(scores)),
            n_rows=held_out.n_rows,
            n_folds=n_folds,
            seed=seed,
        )


def _with_baseline(learners: Sequence[AnyLearner]) -> tuple[AnyLearner, ...]:
    names = [learner.name for learner in learners]
    if len(set(names)) < len(names):
        raise ValueError(f"expected learners with different names, got {', '.join(names)}")
    return tuple(learners) if BEST_SINGLE.name in names else (BEST_SINGLE, *learners)


def _scaled(held_out: HeldOut) -> tuple[HeldOut, Float64Array]:
    """Return a regression with each output in units of its target's standard deviation, and these units.

    Otherwise the output with the largest numbers alone would decide; the weights are the same in any units.
    """
    if held_out.task == "classification":
        return held_out, np.ones(held_out.n_outputs)
    deviation = standard_deviation(held_out.target, held_out.weights)
    scale = np.where(deviation > 0, deviation, 1.0)
    return replace(held_out, scores=held_out.scores / scale, target=held_out.target / scale), scale


def _result(predictions: Float64Array, held_out: HeldOut, standing: Standing) -> dict[str, float]:
    """Return a learner's metrics, the standard error of the first, and how it stands to the best learner."""
    (main, value), *others = metrics_of(predictions, held_out.target, held_out.task, held_out.weights).items()
    error = standard_error(row_losses(predictions, held_out.target, held_out.task), held_out.weights)
    if held_out.task == "regression":
        error = error / (2 * value) if value > 0 else 0.0  # of the root of a mean, to first order
    return {
        main: value,
        "standard_error": error,
        **dict(others),
        "above_best": standing.above_best,
        "above_best_error": standing.above_best_error,
    }
