"""Choosing between trials by loss and latency. Pure: works over the trials of one study or of several."""

from collections.abc import Iterable

from .trial import Measured, Trial


def complete(trials: Iterable[Trial]) -> list[tuple[Trial, Measured]]:
    """Return the trials that are complete, with what they gave."""
    return [(trial, trial.measured) for trial in trials if trial.state == "complete" and trial.measured is not None]


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the complete trial of least loss, the earlier of equals; None where none is complete."""
    return min(complete(trials), key=lambda pair: pair[1].loss, default=(None, None))[0]


def front(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return the complete trials that none beats in both loss and latency (the Pareto front), fastest first.

    A latency that was not measured counts as worse than any; of equal trials the first stays.
    """
    ranked = sorted(complete(trials), key=lambda pair: (latency_us(pair[1]), pair[1].loss))
    kept: list[Trial] = []
    least = float("inf")
    for trial, measured in ranked:
        if measured.loss < least:
            kept.append(trial)
            least = measured.loss
    return tuple(kept)


def within(trials: Iterable[Trial], budget_us: float) -> tuple[Trial, ...]:
    """Return the complete trials that take at most `budget_us` microseconds a row, in their order."""
    return tuple(trial for trial, measured in complete(trials) if latency_us(measured) <= budget_us)


def latency_us(measured: Measured) -> float:
    """Return microseconds a row; infinity where they were not measured."""
    return float("inf") if measured.latency_us is None else measured.latency_us
