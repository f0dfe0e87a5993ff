"""The systems that bench/accuracy.py compares, behind one seam: train on a table in limited time, predict another one.

Each is used as its documentation says, with one core. Nothing here is imported before the system's own environment is
the one that runs; see accuracy_worker.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from accuracy_jobs import BEST_MEMBER, Job

Scores = np.ndarray
"""Probabilities `(n_rows, n_classes)` in the order of the job's classes, or values `(n_rows,)` of a regression."""


class System(Protocol):
    """Trains once, then predicts any number of times, in one thread."""

    def prepare(self) -> None:
        """Import what training needs; not timed."""

    def fit(self, train: pd.DataFrame) -> None:
        """Train on a table that holds the target; timed."""

    def load(self) -> None:
        """Make ready to predict many times; not timed."""

    def predict(self, rows: pd.DataFrame) -> Scores:
        """Return the scores of rows without a target; timed."""

    def parts(self, rows: pd.DataFrame) -> Mapping[str, Scores]:
        """Return the scores of what else was trained and is worth comparing, by name."""

    def about(self) -> dict[str, Any]:
        """Return what is worth knowing of what was trained, and versions under "versions"."""


def versions_of(*packages: str) -> dict[str, str]:
    """Return package -> version."""
    return {name: metadata.version(name) for name in packages}


class Combined:
    """scikit-learn's stack or soft vote of the usual members, trained without search and without a time limit."""

    def __init__(self, job: Job, how: str) -> None:
        self._job, self._how = job, how
        self._model: Any = None

    def prepare(self) -> None:
        """Import the libraries."""
        import lightgbm
        import sklearn.ensemble
        import xgboost

        del lightgbm, sklearn, xgboost

    def fit(self, train: pd.DataFrame) -> None:
        """Train every member, of the stack five times more, and what combines them."""
        from accuracy_members import combined

        rows = train.drop(columns=self._job.target)
        target = train[self._job.target]
        if self._job.is_classification:
            target = target.map({label: i for i, label in enumerate(self._job.classes)})
        self._model = combined(self._how, rows, self._job.is_classification, self._job.seed)
        self._model.fit(_words_as_text(rows), target.to_numpy())

    def load(self) -> None:
        """Do nothing."""

    def predict(self, rows: pd.DataFrame) -> Scores:
        """Return the combined scores."""
        rows = _words_as_text(rows)
        return self._model.predict_proba(rows) if self._job.is_classification else self._model.predict(rows)

    def parts(self, rows: pd.DataFrame) -> Mapping[str, Scores]:
        """Return nothing."""
        del rows
        return {}

    def about(self) -> dict[str, Any]:
        """Return versions and members."""
        return {
            "versions": versions_of("scikit-learn", "xgboost", "lightgbm"),
            "members": list(self._model.named_estimators_),
        }


def _words_as_text(rows: pd.DataFrame) -> pd.DataFrame:
    words = rows.select_dtypes(exclude="number").columns
    return rows.assign(**{name: rows[name].astype(object).fillna("").astype(object) for name in words})


class AutoGluon:
    """AutoGluon Tabular with one of its presets."""

    def __init__(self, job: Job, preset: str) -> None:
        self._job, self._preset = job, preset
        self._predictor: Any = None
        self._failure = ""

    def prepare(self) -> None:
        """Import the library."""
        from autogluon.tabular import TabularPredictor

        del TabularPredictor

    def fit(self, train: pd.DataFrame) -> None:
        """Train within the time limit.

        Where no model comes ready in the time that dynamic stacking gets, `fit` of 1.6.3 fails ("Learner is already
        fit"); it is called again without, as its log advises, with a new limit.
        """
        try:
            self._fit(train, {})
        except AssertionError as error:
            self._failure = str(error)
            shutil.rmtree(self._job.folder / "autogluon")
            self._fit(train, {"dynamic_stacking": False})

    def _fit(self, train: pd.DataFrame, more: Mapping[str, Any]) -> None:
        from autogluon.tabular import TabularPredictor

        job = self._job
        self._predictor = TabularPredictor(
            job.target,
            problem_type=job.task,
            eval_metric="log_loss" if job.is_classification else "root_mean_squared_error",
            path=str(job.folder / "autogluon"),
            verbosity=2,
        ).fit(train, presets=self._preset, time_limit=job.limit_s, num_cpus=1, num_gpus=0, **more)

    def load(self) -> None:
        """Keep the models in memory, else every call reads them from disk."""
        self._predictor.persist()

    def predict(self, rows: pd.DataFrame) -> Scores:
        """Return the scores of the best model of the predictor, which is its weighted ensemble as a rule."""
        if not self._job.is_classification:
            return self._predictor.predict(rows).to_numpy()
        scores = self._predictor.predict_proba(rows)
        return scores.reindex(columns=list(self._job.classes), fill_value=0.0).to_numpy()

    def parts(self, rows: pd.DataFrame) -> Mapping[str, Scores]:
        """Return nothing."""
        del rows
        return {}

    def about(self) -> dict[str, Any]:
        """Return versions, the models trained, and those that the best one needs."""
        best = self._predictor.model_best
        return {
            "versions": versions_of("autogluon.tabular", "torch", "catboost", "lightgbm", "xgboost-cpu"),
            "best": best,
            "second_try": self._failure,
            "models": self._predictor.model_names(),
            "needed": self._predictor.model_names(persisted=True),
        }


class Widedeep:
    """`widedeep train`, a command of its own, and its bundle in onnxruntime."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._output = job.folder / "repository"
        self._ensemble: Any = None

    def prepare(self) -> None:
        """Write nothing, import nothing: the command does."""

    def fit(self, train: pd.DataFrame) -> None:
        """Write the table to a file and run the command on it."""
        source = self._job.folder / "train.parquet"
        train.to_parquet(source, index=False)
        shutil.rmtree(self._output, ignore_errors=True)
        command = [str(Path(sys.executable).with_name("widedeep")), "train", "--data", str(source)]
        command += ["--target", self._job.target, "--time-limit", f"{self._job.limit_s:g}s"]
        command += ["--task", "classification" if self._job.is_classification else "regression"]
        command += ["--output", str(self._output), "--work", str(self._job.folder / "search")]
        command += ["--test-fraction", "0", "--seed", str(self._job.seed)]  # every row to train on, as the others have
        if status := subprocess.run([*command, *self._job.flags], check=False).returncode:
            sys.exit(status)  # the command has said why

    def load(self) -> None:
        """Load the bundle with one thread."""
        from widedeep.serving.engine.ensemble import Ensemble
        from widedeep.serving.engine.pool import Pool

        [bundle] = [path.parent for path in self._output.glob("*/*/bundle.json")]
        self._ensemble = Ensemble.load(bundle, pool=Pool(1))

    def _inputs(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        from widedeep.serving.client.tables import bind

        return bind(self._ensemble.bundle.inputs, rows)[0]

    def predict(self, rows: pd.DataFrame) -> Scores:
        """Bind the columns to the bundle's inputs and return the combined scores."""
        return self._in_order(self._ensemble.predict(self._inputs(rows), [self._output_name]))

    @property
    def _output_name(self) -> str:
        return "probabilities" if self._job.is_classification else "prediction"

    def _in_order(self, outputs: Mapping[str, np.ndarray]) -> Scores:
        [scores] = outputs.values()
        if not self._job.is_classification:
            return scores.reshape(len(scores))
        known = {str(label): i for i, label in enumerate(self._ensemble.bundle.classes)}
        return scores[:, [known[str(label)] for label in self._job.classes]]

    def parts(self, rows: pd.DataFrame) -> Mapping[str, Scores]:
        """Return the scores of the member with the least out-of-fold loss."""
        losses = {name: member["loss"] for name, member in self._training()["members"].items()}
        best = f"scores/{min(losses, key=lambda name: losses[name])}"
        return {BEST_MEMBER: self._in_order(self._ensemble.predict(self._inputs(rows), [best]))}

    def _training(self) -> dict[str, Any]:
        [evidence] = self._output.glob("*/*/evidence/training.json")
        return json.loads(evidence.read_text())

    def about(self) -> dict[str, Any]:
        """Return versions, members, their weight in the combination, and how many trials there were."""
        training, bundle = self._training(), self._ensemble.bundle
        return {
            "versions": versions_of("widedeep", "onnxruntime", "keras", "xgboost", "lightgbm", "scikit-learn"),
            "members": {name: member.get("loss") for name, member in training["members"].items()},
            "used": [member.name for member in bundle.used_members],
            "combiner": bundle.selection.get("chosen"),
            "trials": len(training.get("trials", ())),
            "seconds": training.get("seconds"),
            "bundle_bytes": sum(file.stat().st_size for file in self._output.rglob("*") if file.is_file()),
        }


def make(name: str, job: Job) -> System:
    """Return the system of this name."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    match name:
        case "stacking" | "voting":
            return Combined(job, name)
        case "autogluon_medium":
            return AutoGluon(job, "medium_quality")
        case "autogluon_best":
            return AutoGluon(job, "best_quality")
        case "widedeep":
            return Widedeep(job)
    raise ValueError(f"unknown system {name!r}")
