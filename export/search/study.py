"""A study: what was tried in one search space and what came of it, and what to try next.

Theory of operation. The record is an Optuna study; where it has a path, several studies share one SQLite file and
several processes work on each. A *draw* is one choice of parameters. Its first trial may die with its process; whoever
comes next marks that trial failed and puts the draw in the queue again, so a draw has one trial for each attempt, and
counts once. What is drawn depends on the study's seed, the draw's index and the record alone:

    ask --> running --tell--> complete
               |----prune---> pruned      (after `report` said to stop)
               |----fail----> failed
               '--(process ends)--> failed, and the draw waits for `ask` again, `_MAX_ATTEMPTS` times in all
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from .front import best, front
from .life import Life
from .pruning import make_pruner, should_stop
from .record import STATES, StudyError, define, draw_of, is_new, trial_of
from .samplers import Seeded
from .space import Params, Space, check_params
from .storage import close_storage, open_storage
from .trial import Measured, Trial

Objective = Literal["loss", "latency"]

_MAX_ATTEMPTS = 5
"""After that many trials of one draw that died with their process, take it that the parameters are why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A trial to run.

    Attributes:
        number: of the trial, unique in its study.
        params: what to try.
        seed: for everything that the trial draws at random; the same when a draw is tried again.
    """

    number: int
    params: Params
    seed: int


class Study:
    """One study, as one process sees it.

    One thread at a time; not to be used after a fork. Owns its storage's connections and this process's sign of life
    (see `life`): the trials that it asked for run as long as it is open. Any process may report, tell, prune or fail
    them. Legal order: `open`, any number of `ask` and what follows it, `close`; also a context manager.
    """

    def __init__(self, study: optuna.Study, storage: BaseStorage, sampler: Seeded, life: Life | None) -> None:
        self._study = study
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._sampler = sampler
        self._life = life

    @classmethod
    def open(
        cls,
        storage: Path | None,
        name: str,
        space: Space,
        *,
        sampler: str = "tpe",
        objectives: Sequence[Objective] = ("loss",),
        first: Sequence[Params] = (),
        pruner: str = "median",
        seed: int = 0,
    ) -> "Study":
        """Return a study, new or with all that is on record; trials of dead processes are queued again.

        With one worker the same arguments give the same draws, whenever and wherever the study was interrupted, for
        the samplers `random`, `tpe`, `gp` and `hyperopt`. `cma_es` and `nsga2` go on from the record, too, but number
        their generations by trials, and interrupted ones count there.

        Args:
            storage: an SQLite file, made if missing; it may hold other studies. None keeps the record in memory, where
                no other process sees it.
            name: of the study, unique in its file.
            space: what is searched; an empty one has one point.
            sampler: a name of `samplers.SAMPLERS`.
            objectives: what is searched for; one that knows only the loss leaves latency out of account.
            first: parameters to try before the sampler chooses any; those on record count if the study is not new.
            pruner: a name of `pruning.PRUNERS`.
            seed: of everything drawn at random.

        Raises:
            ValueError: no such sampler, pruner or objectives; or a `first` lies outside the space.
            SamplerMissing: the sampler's library is not installed.
            StudyError: the study on record has another space or other objectives.
        """
        if tuple(objectives) not in {("loss",), ("loss", "latency")}:
            raise ValueError(f"expected the objectives loss, or loss and latency; got {', '.join(objectives)}")
        for params in first:
            check_params(space, params)
        chosen = make_pruner(pruner)
        optuna.logging.set_verbosity(logging.ERROR)
        life = Life(storage) if storage is not None else None
        record = None
        try:
            with _alone(life):
                record = open_storage(storage)
                study = optuna.create_study(
                    storage=record,
                    study_name=name,
                    directions=["minimize"] * len(objectives),
                    load_if_exists=True,
                    pruner=chosen,
                )
                kept = define(study, space, objectives, first)
            study.sampler = choice = Seeded(sampler, space, kept, seed)
            opened = cls(study, record, choice, life)
            opened.recover()
        except BaseException:
            _close(record, life)
            raise
        return opened

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the record; trials still running count as dead from now on."""
        _close(self._storage, self._life)

    def ask(self, n_draws: int | None = None) -> Asked | None:
        """Return the next trial to run, now running: a draw that waits to be tried again, or else a new one.

        Args:
            n_draws: how many draws the study may have in all.

        Returns:
            None if the study has as many draws and none waits.
        """
        with self._alone():
            self._recover("its process ended", again=True)
            trials = self._study.get_trials(deepcopy=False)
            is_waiting = any(trial.state is TrialState.WAITING for trial in trials)
            if n_draws is not None and not is_waiting and sum(map(is_new, trials)) >= n_draws:
                return None
            trial = self._study.ask()
            if self._life is not None:
                trial.set_user_attr("owner", self._life.owner)
        draw = draw_of(trial, trials)
        self._sampler.begin(draw)
        params = {name: _suggest(trial, name, each) for name, each in self._sampler.distributions.items()}
        return Asked(trial.number, params, self._sampler.draw_seed(draw))

    def report(self, number: int, step: int, loss: float) -> bool:
        """Put a running trial's intermediate loss on record and return whether the trial should stop.

        Args:
            number: the trial's.
            step: from 0, ascending; the same step means the same amount of training in every trial.
            loss: at that step, as far as it is known; not a number stops the trial.

        Raises:
            StudyError: the trial does not run.
        """
        trial_id = self._running(number)._trial_id
        self._storage.set_trial_intermediate_value(trial_id, step, float(loss))
        return should_stop(self._study.pruner, self._study, self._storage.get_trial(trial_id))

    def tell(self, number: int, measured: Measured) -> None:
        """End a running trial: complete, or failed if a figure is not finite.

        Raises:
            StudyError: the trial does not run.
            ValueError: latency is an objective, and was not measured.
        """
        figures = {"loss": measured.loss}
        if measured.latency_us is not None:
            figures["latency"] = measured.latency_us
        n_objectives = len(self._study.directions)
        if len(figures) < n_objectives:
            raise ValueError(f"trial {number}: latency is an objective; expected microseconds a row, got none")
        for name, value in figures.items():
            if not math.isfinite(value):
                self.fail(number, f"its {name} is {value}")
                return
        note = {"latency_us": measured.latency_us, "notes": dict(measured.notes)}
        self._end(number, TrialState.COMPLETE, "measured", note, list(figures.values())[:n_objectives])

    def prune(self, number: int, reason: str) -> None:
        """End a running trial early, for its losses so far.

        Raises:
            StudyError: the trial does not run.
        """
        self._end(number, TrialState.PRUNED, "reason", reason)

    def fail(self, number: int, reason: str) -> None:
        """End a running trial that gave nothing; its parameters are not tried again.

        Raises:
            StudyError: the trial does not run.
        """
        self._end(number, TrialState.FAIL, "reason", reason)

    def recover(self, reason: str = "its process ended", *, again: bool = True) -> int:
        """Mark trials of dead processes failed, queue their draws again if `again`, and return how many there were.

        `open` and `ask` do it by themselves.
        """
        with self._alone():
            return self._recover(reason, again=again)

    def trials(self) -> tuple[Trial, ...]:
        """Return every trial that has begun, by number."""
        everything = self._study.get_trials(deepcopy=False)
        return tuple(trial_of(trial) for trial in everything if trial.state is not TrialState.WAITING)

    def best(self) -> Trial | None:
        """Return the complete trial of least loss, if any."""
        return best(self.trials())

    def front(self) -> tuple[Trial, ...]:
        """Return the complete trials that none beats in both loss and latency, fastest first."""
        return front(self.trials())

    def n_waiting(self) -> int:
        """Return how many draws wait to be tried again."""
        return len(self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with _alone(self._life):
            yield

    def _recover(self, reason: str, *, again: bool) -> int:
        if self._life is None:
            return 0
        trials = self._study.get_trials(deepcopy=False)
        dead = [trial for trial in trials if trial.state is TrialState.RUNNING and not self._is_owned(trial)]
        queued = {trial.user_attrs.get("again") for trial in trials}
        for trial in dead:
            attempt = trial.user_attrs.get("attempt", 1)
            # Queued before it is marked: a process killed between the two leaves it for the next to be marked.
            if again and attempt < _MAX_ATTEMPTS and trial.number not in queued:
                draw = draw_of(trial, trials)
                attrs = {"again": trial.number, "attempt": attempt + 1, "draw": draw}
                self._study.enqueue_trial(self._drawn(trial), user_attrs=attrs)
            self.fail(trial.number, f"{reason} (attempt {attempt} of {_MAX_ATTEMPTS})" if again else reason)
        return len(dead)

    def _is_owned(self, trial: FrozenTrial) -> bool:
        """Return whether a trial's process lives; a trial without an owner lost it within `ask`."""
        owner = trial.user_attrs.get("owner")
        return owner is not None and self._life is not None and self._life.is_alive(owner)

    def _drawn(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return a trial's parameters if all are on record; else none, to be drawn again as they were."""
        return dict(trial.params) if self._sampler.distributions.keys() <= trial.params.keys() else {}

    def _running(self, number: int) -> FrozenTrial:
        try:
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            raise StudyError(f"study {self._study.study_name!r} has no trial {number}") from None
        trial = self._storage.get_trial(trial_id)
        if trial.state is not TrialState.RUNNING:
            stands = STATES.get(trial.state, "waiting")
            raise StudyError(f"study {self._study.study_name!r}: expected trial {number} to be running; it is {stands}")
        return trial

    def _end(self, number: int, state: TrialState, key: str, note: Any, values: list[float] | None = None) -> None:
        self._storage.set_trial_user_attr(self._running(number)._trial_id, key, note)
        self._study.tell(number, values, state)


def _close(storage: BaseStorage | None, life: Life | None) -> None:
    if storage is not None:
        close_storage(storage)
    if life is not None:
        life.close()


@contextmanager
def _alone(life: Life | None) -> Iterator[None]:
    if life is None:
        yield
        return
    with life.alone():
        yield


def _suggest(trial: optuna.Trial, name: str, each: BaseDistribution) -> Any:
    if isinstance(each, FloatDistribution):
        return trial.suggest_float(name, each.low, each.high, log=each.log)
    if isinstance(each, IntDistribution):
        return trial.suggest_int(name, each.low, each.high, log=each.log)
    if isinstance(each, CategoricalDistribution):
        return trial.suggest_categorical(name, each.choices)
    raise TypeError(f"parameter {name!r}: expected a distribution that a space has, got {each!r}")
