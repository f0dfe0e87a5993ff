"""What weight learning leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...serving.contract.combiner import Combiner
from .diversity import Table


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The combiner taken, why, and how every learner and member did.

    Attributes:
        combiner: the chosen learner's, fitted on all rows.
        chosen: the learner's name.
        reason: why it was chosen, in one sentence.
        members: member -> metrics on all rows.
        results: learner -> cross-validated metrics: those of `metrics_of`, `standard_error` of the first of them, and
            `above_best` and `above_best_error`, the mean difference to the best learner's loss and its standard error
            (log loss, or mean squared error).
        combiners: learner -> its combiner, fitted on all rows; the simplest learner first.
        diversity: as `diversity_of` returns it.
        n_rows: rows learned on.
        n_folds: folds of the cross-validation.
        seed: of the folds and the learners.
    """

    combiner: Combiner
    chosen: str
    reason: str
    members: Mapping[str, Mapping[str, float]]
    results: Mapping[str, Mapping[str, float]]
    combiners: Mapping[str, Combiner]
    diversity: Mapping[str, Table]
    n_rows: int
    n_folds: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that a bundle stores as `selection`; the combiner has its own place there."""
        return {
            "chosen": self.chosen,
            "reason": self.reason,
            "n_rows": self.n_rows,
            "n_folds": self.n_folds,
            "seed": self.seed,
            "members": {name: dict(metrics) for name, metrics in self.members.items()},
            "results": {name: dict(metrics) for name, metrics in self.results.items()},
            "diversity": {
                name: {member: dict(row) for member, row in table.items()} for name, table in self.diversity.items()
            },
        }
