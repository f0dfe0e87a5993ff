"""How the ensemble, its members and their plain mean do on the judged rows, with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.batch.evaluation.classification import Classification
from ...serving.batch.evaluation.moments import Moments
from ...serving.batch.evaluation.regression import Regression
from ...serving.batch.evaluation.tally import Tally
from ...serving.contract.tensors import Array
from .evidence import Evidence, Scored

ENSEMBLE = "ensemble"
UNIFORM = "uniform mean"
"""Has a space, which no member's name has."""
_BLOCK_VALUES = 1 << 22

Estimates = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The figures of every predictor.

    Attributes:
        metrics: predictor -> metric -> `value`, `low`, `high`; all but the ensemble also have `difference`, the
            ensemble's less theirs; of a classification `calibration`, the bins of the reliability diagram, too.
        best: the best single member by the rows that the combination was learned on, or where those figures are
            missing by the judged rows.
    """

    metrics: Mapping[str, Estimates]
    best: str

    def lead_over(self, predictor: str, metric: str) -> Mapping[str, float | None]:
        """Return the estimate of the ensemble's metric less a predictor's."""
        told: Mapping[str, float | None] = self.metrics[predictor]["difference"][metric]
        return told


def judge(evidence: Evidence) -> Judgement | None:
    """Return the figures, None where there are no rows to judge on."""
    scored = evidence.judged
    if scored is None:
        return None
    names = (ENSEMBLE, *evidence.names, UNIFORM)
    classes = tuple(map(str, evidence.bundle.classes))
    measure = Classification(names, classes) if classes else Regression(names, evidence.bundle.n_outputs)
    tally, moments = Tally(), Moments.empty(1, 0)
    step = max(1, _BLOCK_VALUES // (len(names) * evidence.bundle.n_outputs))
    for start in range(0, len(scored.target), step):
        found = Tally()
        answers = _answers(scored, slice(start, start + step))
        counted = Moments.of(measure.count(found, scored.target[start : start + step], answers))
        tally.merge(found)
        if start:
            moments.merge(counted)
        else:
            moments = counted
    further, _ = measure.details(tally)
    summary = measure.summary(moments)
    metrics = {name: {**summary[name], **further[name]} for name in names}
    return Judgement(metrics, _best(evidence, metrics))


def _answers(scored: Scored, rows: slice) -> list[Array]:
    part = scored.scores[:, rows].astype(np.float64)
    return [scored.ensemble[rows], *part, part.mean(axis=0)]


def _best(evidence: Evidence, metrics: Mapping[str, Estimates]) -> str:
    known = evidence.bundle.selection.get("members", {})

    def loss(name: str) -> float:
        told = known.get(name, {}).get(evidence.metric)
        return float(metrics[name][evidence.metric]["value"] if told is None else told)

    return min(evidence.names, key=loss)
