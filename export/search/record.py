"""A study's record, read from Optuna's: what was defined, the trials, and which of them try the same draw."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ...serving.contract.errors import WidedeepError
from .space import Params, Space
from .trial import Measured, State, Trial

STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class StudyError(WidedeepError):
    """A study on record is not the one that is asked for, or one of its trials is not running."""


def define(study: optuna.Study, space: Space, objectives: Sequence[str], first: Sequence[Params]) -> Sequence[Params]:
    """Put a new study's definition on record, or check what is asked for against it; return the `first` on record.

    Raises:
        StudyError: the study on record has another space or other objectives; names what differs.
    """
    if len(study.directions) != len(objectives):
        kept = " and ".join(("loss", "latency")[: len(study.directions)])
        asked = " and ".join(objectives)
        raise StudyError(f"study {study.study_name!r} on record searches for {kept}; asked for is {asked}")
    described = _described(space)
    definition = study.user_attrs.get("definition")
    if definition is None:
        study.set_user_attr("definition", {"space": described, "first": [dict(params) for params in first]})
        return first
    kept_space = definition["space"]
    if kept_space != described:
        names = sorted(name for name in kept_space | described if kept_space.get(name) != described.get(name))
        raise StudyError(f"study {study.study_name!r} on record has another search space: {', '.join(names)} differ")
    first_on_record: Sequence[Params] = definition["first"]
    return first_on_record


def _described(space: Space) -> dict[str, Any]:
    """Return a space as JSON gives it back."""
    described: dict[str, Any] = json.loads(json.dumps({name: _plain(each) for name, each in space.items()}))
    return described


def _plain(parameter: Any) -> list[Any]:
    return [type(parameter).__name__, asdict(parameter)]


def is_new(trial: FrozenTrial) -> bool:
    """Return whether a trial is the first of its draw."""
    return "again" not in trial.user_attrs


def draw_of(trial: FrozenTrial | optuna.Trial, trials: Iterable[FrozenTrial]) -> int:
    """Return the index of a trial's draw, given all trials before it.

    On record with a trial that is tried again; else the number of new trials before it, which a process that dies
    right after it has made the trial leaves as it was.
    """
    if "draw" in trial.user_attrs:
        return int(trial.user_attrs["draw"])
    return sum(other.number < trial.number and is_new(other) for other in trials)


def trial_of(trial: FrozenTrial) -> Trial:
    """Return a trial that has begun, as one of ours."""
    measured = None
    if trial.state is TrialState.COMPLETE:
        measured = Measured(trial.values[0], **trial.user_attrs["measured"])
    start, end = trial.datetime_start, trial.datetime_complete
    return Trial(
        number=trial.number,
        params=trial.params,
        state=STATES[trial.state],
        measured=measured,
        steps=trial.intermediate_values,
        started_s=start.timestamp() if start else 0.0,
        seconds=(end - start).total_seconds() if start and end else 0.0,
        reason=trial.user_attrs.get("reason", ""),
    )
