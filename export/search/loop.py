"""The loop: choose, build, train, measure, choose next, in one process or in several that share a study.

    search --starts--> workers: [ask -> objective(params, report) -> tell | prune | fail] until nothing is left
           <--ends----          or the time is over; a worker that dies is replaced and its trial tried again

Knows nothing of models; the objective builds, trains and measures.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from ...serving.contract.errors import WidedeepError
from .space import Params, Space
from .study import Objective, Study
from .trial import Measured

_ALL_FAIL = 5
"""That many failures without anything else on record are the objective's fault and not the parameters'."""

_STOP_S = 5.0
"""How long a worker that is asked to end may take."""


class SearchError(WidedeepError):
    """A search cannot go on: its first trials all fail, or its workers end before they try anything."""


class Pruned(Exception):
    """Ends a trial early; raised by a `Report`, and passed on by the objective."""


@dataclass(frozen=True, slots=True)
class StudySpec:
    """What a study is opened with, by each process anew; the arguments of `Study.open`."""

    storage: Path | None
    name: str
    space: Space
    sampler: str = "tpe"
    objectives: Sequence[Objective] = ("loss",)
    first: Sequence[Params] = ()
    pruner: str = "median"
    seed: int = 0

    def open(self) -> Study:
        """Return the study; see `Study.open`."""
        options = {name: getattr(self, name) for name in ("sampler", "objectives", "first", "pruner", "seed")}
        return Study.open(self.storage, self.name, self.space, **options)


class Report:
    """What an objective tells of a trial while it runs; made anew for each.

    Attributes:
        number: the trial's.
        seed: for everything that the trial draws at random; the same when its parameters are tried again.
    """

    def __init__(self, study: Study, number: int, seed: int) -> None:
        self._study = study
        self.number = number
        self.seed = seed

    def __call__(self, step: int, loss: float) -> None:
        """Put an intermediate loss on record.

        Raises:
            Pruned: the trial should end.
        """
        if self._study.report(self.number, step, loss):
            raise Pruned(f"loss {loss:.6g} at step {step}")


Evaluate = Callable[[Params, Report], Measured]


@dataclass(frozen=True, slots=True)
class Limits:
    """When workers begin no more trials: so many draws on record, or a moment of `time.monotonic`, the machine's."""

    n_trials: int | None
    begin_until: float


def search(
    spec: StudySpec,
    objective: Evaluate,
    *,
    n_trials: int | None = None,
    time_limit_s: float | None = None,
    grace_s: float = 60.0,
    n_workers: int = 1,
) -> None:
    """Search until the study has `n_trials` or the time is over; what came of it is on record in the study.

    Interrupted (SIGINT, SIGTERM) or killed, it goes on where it was when it is called again.

    Args:
        spec: the study. In memory, the trials run in this process, one after the other, and none is cut off.
        objective: takes parameters and a `Report`; its exceptions fail the trial. Where the study is in a file, it runs
            in worker processes, one trial each at a time, and must be picklable.
        n_trials: how many the study shall have in all, those on record included; one tried again counts once.
        time_limit_s: seconds after which no trial begins.
        grace_s: seconds that trials have then to end; those that do not are failed, "out of time".
        n_workers: processes.

    Raises:
        ValueError: neither `n_trials` nor `time_limit_s` is given, or several workers for a study in memory.
        SearchError: the first trials all failed, or workers end before they try anything.
    """
    if n_trials is None and time_limit_s is None:
        raise ValueError("expected n_trials, time_limit_s or both; got neither")
    if spec.storage is None and n_workers != 1:
        raise ValueError(f"a study in memory is one process's; expected 1 worker, got {n_workers}")
    begin_until = time.monotonic() + (float("inf") if time_limit_s is None else time_limit_s)
    limits = Limits(n_trials, begin_until)
    study = spec.open()
    try:
        if spec.storage is None:
            work(study, objective, limits)
        else:
            with _interrupted_by_sigterm():
                _Crew(spec, objective, limits, n_workers).run(study, begin_until + grace_s)
        _check_hope(study)
    finally:
        study.close()


def work(study: Study, objective: Evaluate, limits: Limits) -> None:
    """Run trials one after the other until the limits, or until there is no hope."""
    while time.monotonic() < limits.begin_until:
        asked = study.ask(limits.n_trials)
        if asked is None:
            return
        try:
            measured = objective(asked.params, Report(study, asked.number, asked.seed))
        except Pruned as pruned:
            study.prune(asked.number, str(pruned))
        except Exception as error:  # whatever a training raises; the next parameters may do better
            study.fail(asked.number, f"{type(error).__name__}: {error}")
            if _is_hopeless(study):
                return
        else:
            study.tell(asked.number, measured)


class _Crew:
    """Worker processes of one search, run from one thread; `run` once."""

    def __init__(self, spec: StudySpec, objective: Evaluate, limits: Limits, n_workers: int) -> None:
        self._spec = spec
        self._objective = objective
        self._limits = limits
        self._n_workers = n_workers
        self._processes: list[SpawnProcess] = []
        self._context: SpawnContext = get_context("spawn")

    def run(self, study: Study, end_at: float) -> None:
        """Keep workers at work until nothing is left, and end those that still run at `end_at`."""
        n_idle_deaths, n_begun = 0, len(study.trials())
        reason, again = "interrupted", True
        try:
            self._start(self._n_workers)
            while self._processes:
                ended = self._wait(end_at)
                if not ended:
                    reason, again = "out of time", False
                    return
                dead = [process for process in ended if process.exitcode]
                if dead:
                    study.recover()
                    n_idle_deaths = 0 if len(study.trials()) > n_begun else n_idle_deaths + 1
                    n_begun = len(study.trials())
                if n_idle_deaths == _ALL_FAIL:
                    raise SearchError(f"workers end with exit code {dead[0].exitcode} before they try anything")
                if time.monotonic() < self._limits.begin_until and not _is_hopeless(study):
                    # A draw may come to wait after the last worker found nothing to do.
                    self._start(len(dead) or int(not self._processes and study.n_waiting() > 0))
        finally:
            self._stop()
            study.recover(reason, again=again)

    def _start(self, n_workers: int) -> None:
        for _ in range(n_workers):
            process = self._context.Process(
                target=_run_worker, args=(self._spec, self._objective, self._limits), daemon=False
            )
            self._processes.append(process)
            process.start()

    def _wait(self, end_at: float) -> list[SpawnProcess]:
        """Return workers that have ended, at least one; none if the time is over first."""
        left_s = max(0.0, end_at - time.monotonic())
        sentinels = [process.sentinel for process in self._processes]
        ready = connection.wait(sentinels, None if left_s == float("inf") else left_s)
        ended = [process for process in self._processes if process.sentinel in ready]
        for process in ended:
            process.join()
        self._processes = [process for process in self._processes if process not in ended]
        return ended

    def _stop(self) -> None:
        self._processes = [process for process in self._processes if process.pid is not None]
        for process in self._processes:
            process.terminate()
        until = time.monotonic() + _STOP_S
        for process in self._processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._processes = []


def _run_worker(spec: StudySpec, objective: Evaluate, limits: Limits) -> None:
    """A worker's life. It ends with the process that started it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    study = spec.open()
    try:
        work(study, objective, limits)
    finally:
        study.close()


def _end_with(sentinel: Any) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for SIGINT, so that workers are stopped and the record closed; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_hopeless(study: Study) -> bool:
    ended = [trial for trial in study.trials() if trial.state != "running"]
    return len(ended) >= _ALL_FAIL and all(trial.state == "failed" for trial in ended)


def _check_hope(study: Study) -> None:
    """Check that something came of a study.

    Raises:
        SearchError: every trial failed, and there are several; says why the first did.
    """
    if _is_hopeless(study):
        trials = [trial for trial in study.trials() if trial.state == "failed"]
        raise SearchError(f"all {len(trials)} trials failed; the first: {trials[0].reason}")
