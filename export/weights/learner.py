"""What a weight learner is."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

from ...serving.contract.combiner import Combiner, MeanPool
from .held_out import HeldOut


@dataclass(frozen=True, slots=True)
class Learner:
    """One way to learn a combiner.

    Attributes:
        name: unique among learners, `snake_case`.
        fit: takes held-out scores and a seed and returns a combiner; what it tunes, it tunes on these rows alone.
    """

    name: str
    fit: Callable[[HeldOut, int], Combiner]


@dataclass(frozen=True, slots=True)
class MeanOf:
    """The arithmetic mean of what several learners learn.

    Unlike combiners err differently, and averaging them lowers the variance of each.

    Source: Breiman (1996), "Bagging predictors", for why averages are more stable than their parts.

    Attributes:
        name: unique among learners.
        learners: those whose combiners are averaged.
    """

    name: str
    learners: tuple[Learner, ...]


AnyLearner = Learner | MeanOf


def fit(learner: AnyLearner, held_out: HeldOut, seed: int, fitted: MutableMapping[str, Combiner]) -> Combiner:
    """Return the learner's combiner; `fitted` remembers by learner name what these rows have given already."""
    if learner.name not in fitted:
        if isinstance(learner, MeanOf):
            combiner: Combiner = MeanPool(tuple(fit(part, held_out, seed, fitted) for part in learner.learners))
        else:
            combiner = learner.fit(held_out, seed)
        fitted[learner.name] = combiner
    return fitted[learner.name]
