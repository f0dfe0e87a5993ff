"""What a trained bundle keeps of how it came about, for `widedeep report` and whoever audits it.

evidence/training.json    data, search, members and latency, see `Training`
evidence/test.npz         the untouched test rows: `target`, `scores/<member>`, `ensemble`, and `weights` if there are
evidence/examples.npz     see `widedeep.export.examples`
"""

import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array
from ..evidence import TRAINING_FORMAT
from ..search.trial import Trial
from ..zoo.kind import Family
from .candidates import About
from .columns import Column


@dataclass(frozen=True, slots=True)
class Training:
    """How a bundle was found.

    Attributes:
        target: name of the predicted column.
        task: classification or regression.
        n_rows: "train" and "test" -> rows.
        columns: every column of the data and what became of it.
        notes: what a reader should know.
        settings: what was asked for: folds, keep, seed, limits, sampler.
        seconds: phase -> what it took.
        trials: kind -> its trials.
        families: kind -> deep or wide.
        started_s: when the search began, in seconds since the epoch.
        members: member -> what is known of it.
        reasons: member -> why it is in the ensemble.
        latency: "budget_us" (None without one), "ensemble_us", "batch_rows".
    """

    target: str
    task: Task
    n_rows: Mapping[str, int]
    columns: Sequence[Column]
    notes: Sequence[str]
    settings: Mapping[str, Any]
    seconds: Mapping[str, float]
    trials: Mapping[str, Sequence[Trial]]
    families: Mapping[str, Family]
    started_s: float
    members: Mapping[str, About]
    reasons: Mapping[str, str]
    latency: Mapping[str, float | None]

    def to_json(self) -> bytes:
        """Return the file's content."""
        document = {
            "format": TRAINING_FORMAT,
            "target": self.target,
            "task": self.task,
            "metric": "log_loss" if self.task == "classification" else "rmse",
            "n_rows": dict(self.n_rows),
            "columns": [asdict(column) for column in self.columns],
            "notes": list(self.notes),
            **self.settings,
            "seconds": dict(self.seconds),
            "trials": [
                {**self._trial(kind, trial), "family": self.families[kind]}
                for kind, trials in self.trials.items()
                for trial in trials
            ],
            "members": {name: self._member(name, about) for name, about in self.members.items()},
            "latency": dict(self.latency),
        }
        return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"

    def _trial(self, kind: str, trial: Trial) -> dict[str, Any]:
        measured = trial.measured
        return {
            "number": trial.number,
            "kind": kind,
            "params": dict(trial.params),
            "state": trial.state,
            "loss": None if measured is None else measured.loss,
            "latency_us": None if measured is None else measured.latency_us,
            "seconds": round(trial.seconds, 3),
            "ended_s": round(trial.started_s + trial.seconds - self.started_s, 3),
            "steps": {str(step): loss for step, loss in trial.steps.items() if np.isfinite(loss)},
            "reason": trial.reason,
        }

    def _member(self, name: str, about: About) -> dict[str, Any]:
        importance = {column: share for column, share in about.importance.items() if np.isfinite(share)}
        history = {curve: _finite(values) for curve, values in about.history.items()}
        return {
            **asdict(about),
            "importance": importance,
            "history": history,
            "reason": self.reasons.get(name, ""),
        }


def _finite(values: Sequence[float]) -> list[float]:
    """Return values up to the first that is not finite: JSON has none such, and a training rarely comes back."""
    return list(itertools.takewhile(np.isfinite, values))


def test_bytes(target: Array, scores: Mapping[str, Array], ensemble: Array, weights: Array | None) -> bytes:
    """Return the content of `TEST_FILE`: truth `(n_rows,)`, scores and the ensemble's answer `(n_rows, n_outputs)`."""
    buffer = io.BytesIO()
    further = {} if weights is None else {"weights": weights}
    members = {f"scores/{name}": array for name, array in scores.items()}
    np.savez(buffer, allow_pickle=False, target=target, ensemble=ensemble, **members, **further)
    return buffer.getvalue()
