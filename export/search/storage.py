"""Where Optuna keeps studies: an SQLite file for several studies and processes, or memory; and views of one study."""

import copy
import math
import sqlite3
from collections.abc import Container
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_BUSY_S = 60.0
"""How long a write waits for another process's; one takes milliseconds."""


def open_storage(path: Path | None) -> BaseStorage:
    """Return Optuna's storage in an SQLite file, made if missing; in memory if there is no path.

    Only one process at a time may make the file's tables.
    """
    if path is None:
        return InMemoryStorage()
    # The path goes by the creator and not by the URL, in which `?`, `%` and braces mean something else.
    return RDBStorage("sqlite:///study", engine_kwargs={"creator": partial(_connect, path)})


def close_storage(storage: BaseStorage) -> None:
    """Close this thread's connection to the file, and the idle ones."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()


def _connect(path: Path) -> sqlite3.Connection:
    """Connect to the file in write-ahead mode: readers never wait, and a kill at any moment leaves whole transactions.

    `synchronous=NORMAL` spares a disk flush a transaction; the last ones may be lost with the machine's power, but not
    with a process.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def view(study: optuna.Study, n_objectives: int) -> optuna.Study:
    """Return a study as one of its first objectives, in which pruned trials have as many values as the others.

    For Optuna's pruners, which know one objective, and its samplers, of which some know one objective and some do not
    know pruned trials beside several. A pruned trial has its last loss for a loss, and the greatest latency on record.
    A live view: it reads and writes the study's own trials. Optuna keeps what it has read: take a new view each time.
    """
    # Optuna asks no more of a storage than its methods.
    storage: Any = study._storage if len(study.directions) == 1 else _Seen(study._storage, n_objectives)
    return optuna.Study(study.study_name, storage, pruner=study.pruner)


class _Seen:
    """A storage of trials with several values, seen as a `view`."""

    def __init__(self, whole: BaseStorage, n_objectives: int) -> None:
        self._whole = whole
        self._n_objectives = n_objectives

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._whole.get_study_directions(study_id)[: self._n_objectives]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._whole.get_all_trials(study_id, deepcopy)
        worst = [max(column) for column in zip(*[trial.values for trial in trials if trial.values], strict=True)]
        seen = [self._see(trial, worst) for trial in trials]
        return [trial for trial in seen if states is None or trial.state in states]

    def _see(self, trial: FrozenTrial, worst: list[float]) -> FrozenTrial:
        if not trial.state.is_finished():
            return trial
        seen = copy.copy(trial)
        if trial.values is not None:
            seen.values = list(trial.values[: self._n_objectives])
        elif trial.state is TrialState.PRUNED:
            values = [last_loss(trial), *worst[1 : self._n_objectives]]
            is_known = len(values) == self._n_objectives and not math.isnan(values[0])
            seen.values = values if is_known else None
            if self._n_objectives > 1:
                seen.state = TrialState.COMPLETE if is_known else TrialState.FAIL
        return seen


def last_loss(trial: FrozenTrial) -> float:
    """Return the loss that a trial reported last; not a number if it reported none."""
    return float("nan") if trial.last_step is None else trial.intermediate_values[trial.last_step]
