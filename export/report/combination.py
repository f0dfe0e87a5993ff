"""The combiner in words and in shares of influence."""

import numpy as np

from ...serving.contract.combiner import Combiner, Float64Array, LinearPool, LogPool, MeanPool
from .wording import number


def influence(combiner: Combiner) -> Float64Array:
    """Return each member's share of the combiner's parameters by size `(n_members,)`, summing to one.

    Of a pool: its weights or coefficients, absolute and summed over classes. Of a mean: the mean of its parts' shares.
    """
    if isinstance(combiner, MeanPool):
        return np.asarray(np.mean([influence(part) for part in combiner.combiners], axis=0))
    sizes = np.abs(by_member(combiner))
    total = sizes.sum()
    return np.asarray(sizes / total if total else np.full(len(sizes), 1 / len(sizes)))


def by_member(combiner: Combiner) -> Float64Array:
    """Return a pool's weight of each member `(n_members,)`: as it is, or the mean size over classes."""
    if isinstance(combiner, LinearPool):
        weights = combiner.weights
        return weights if weights.ndim == 1 else np.asarray(np.abs(weights).mean(axis=1))
    if isinstance(combiner, LogPool):
        coefficients = combiner.coefficients
        return coefficients if coefficients.ndim == 1 else np.asarray(np.abs(coefficients).sum(axis=2).mean(axis=0))
    raise TypeError(f"no weights in a combiner of kind {combiner.kind!r}")


def temperatures(combiner: Combiner) -> Float64Array | None:
    """Return the members' temperatures, None where they have none of their own."""
    return combiner.temperatures if isinstance(combiner, LinearPool | LogPool) else None


def in_words(combiner: Combiner) -> str:
    """Return what the combiner does, as a sentence or a few."""
    if isinstance(combiner, MeanPool):
        parts = "; ".join(f"({i}) {_lower(in_words(part))}" for i, part in enumerate(combiner.combiners, 1))
        n = len(combiner.combiners)
        return f"The answer is the mean of {n} combinations of the same members: {parts.replace('.;', ';')}"
    words = _linear(combiner) if isinstance(combiner, LinearPool) else ""
    words = _log(combiner) if isinstance(combiner, LogPool) else words
    if temperatures(combiner) is not None:
        words += (
            " Before that, each member's probabilities are sharpened (temperature below 1) or flattened (above 1), so "
            "that they are as sure as they should be."
        )
    return words or f"A combiner of kind {combiner.kind}."


def _linear(pool: LinearPool) -> str:
    if not pool.normalize:
        return "The answer is the sum of the members' predictions, each times its weight."
    if pool.weights.ndim == 2:
        return (
            "The answer is a weighted mean of the members' probabilities, with a weight of its own for every member "
            "and class."
        )
    if len(pool.used) == 1:
        return "One member answers alone: no mixture did better on held-out rows."
    if np.ptp(pool.weights) == 0:
        return "The answer is the plain mean of the members' probabilities."
    return "The answer is a weighted mean of the members' probabilities."


def _log(pool: LogPool) -> str:
    bias = "" if pool.bias is None else " and adds a bias to each class"
    if pool.coefficients.ndim == 3:
        return (
            "The answer is a multinomial logistic regression on the logarithms of all the members' probabilities: it "
            f"may trust a member for one class and not for another{bias}."
        )
    total = float(pool.coefficients.sum())
    effect = "surer" if total > 1 else "less sure"
    return (
        "The answer is a weighted geometric mean of the members' probabilities: it adds their logarithms, each times "
        f"its coefficient{bias}. Their sum is {number(total)}, so the answer is {effect} than a plain geometric mean."
    )


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
