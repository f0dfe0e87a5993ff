"""The search over all kinds of the zoo: one study a kind, one driver, several workers, until the time is up.

The driver asks the studies, hands out trials, records what comes of them and waits; everything slow is a worker's. What
is on record survives the driver: a later campaign over the same studies and candidates goes on where this one was cut
off.

The proof of an export can take longer than a training, so trials only score. An ensemble is chosen of what is scored
while the search goes on, and again towards the end, and only its members are exported.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..search.study import Study
from ..search.trial import Measured
from ..zoo.kind import Kind
from .candidates import Candidate, read_candidate, read_candidates
from .crew import Crew, Job, Message
from .dispatch import Standing, next_kind
from .exports import Choose, Exports
from .messages import Ended, Export, Failed, Order, Question, Told
from .worker import Worker

_FIRST_SHARE = 1 / 3
"""Of the time that is left, what a kind's first trial may take at least."""

_ALL = 2
"""Choices of an ensemble: one while the search goes on, so that there is one whatever happens, and the last one."""

_NEW_MEMBERS, _SPARE = 2, 1.5
"""How many members of a later choice are not exported yet, as a rule, and how much longer than others they may take.
With less time than they need the ensemble is made of those that are."""

_WORTH_S = 3.0
"""Exports that ended sooner than expected leave time to search on, if it is that much."""

_AT_ONCE = -math.inf

_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class News:
    """A trial or an export has ended.

    Attributes:
        name: kind and number of the trial.
        state: how it ended.
        seconds: what it took.
        candidate: what it gave, None where that is nothing.
        reason: why it failed.
    """

    name: str
    state: Literal["scored", "exported", "pruned", "failed"]
    seconds: float
    candidate: Candidate | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a campaign does what, as `time.monotonic()` counts.

    Attributes:
        first_choice: when an ensemble is chosen and exported for the first time, while the search goes on.
        last_choice: when the last one is, at the earliest, and no trial begins any more. Where the first exports have
            shown that less time is needed it is put off.
        ends_at: when everything ends if there is a member.
        last_call: when everything ends.
        max_trials: trials of this campaign at most.
    """

    first_choice: float
    last_choice: float
    ends_at: float
    last_call: float
    max_trials: int | None = None


@dataclass(slots=True)
class _Record:
    """How a kind does, as the campaign goes on."""

    n_started: int = 0
    n_failed: int = 0
    losses: list[float] = field(default_factory=list)  # of candidates
    seconds: list[float] = field(default_factory=list)


class Campaign:
    """Searches and exports. Owner: one thread; `run` once.

    Args:
        kinds: kinds to try, the quick ones first.
        studies: kind -> its study.
        work: folder of the candidates; those of earlier campaigns count.
        crew: who trains.
        choose: chooses an ensemble.
        export_all: export whatever is scored at once, for a search that wants every trial's latency.
        on_news: hears of every trial and every export that ends.

    Attributes:
        exports: the candidates, and which of them have members.
        failures: trials and exports that failed.
    """

    def __init__(
        self,
        kinds: Sequence[Kind],
        studies: Mapping[str, Study],
        work: Path,
        crew: Crew,
        choose: Choose,
        *,
        export_all: bool = False,
        on_news: Callable[[News], None] = lambda _: None,
    ) -> None:
        self._studies = studies
        self._work = work
        self._crew = crew
        self._export_all = export_all
        self._on_news = on_news
        self._records = {kind.name: _earlier(studies[kind.name]) for kind in kinds}
        known = [candidate for candidate in read_candidates(work) if candidate.about.kind in self._records]
        for candidate in known:
            self._records[candidate.about.kind].losses.append(candidate.about.loss)
        self.exports = Exports(known, choose)
        self.failures: list[News] = []
        self._n_begun = 0
        self._n_choices = 0
        self._export_seconds: list[float] = []

    def run(self, limits: Limits) -> None:
        """Search and export until a limit is reached or nothing is left to do; afterwards no job runs."""
        try:
            while (left_s := self._left(limits)) > 0:
                self._choose(limits)
                self._hand_out(limits, left_s)
                if self._n_choices == _ALL and not self.exports.n_open:
                    if self.exports.exported and self._last_choice(limits) - time.monotonic() < _WORTH_S:
                        break  # trials that still run would not be chosen from
                    self._n_choices = 1
                    continue
                if not self._crew.jobs:
                    if limits.last_choice == _AT_ONCE:
                        break
                    limits = replace(limits, last_choice=_AT_ONCE)  # nothing is left to try: choose for good
                    continue
                for worker, job, message in self._crew.listen(min(_POLL_S, left_s)):
                    self._hear(worker, job, message)
        except BaseException:
            self._crew.stop()  # trials cut off by Ctrl-C stay running on record, for the next run to try again
            raise
        for job in self._crew.stop():
            if isinstance(job.order, Order):
                self._studies[job.order.kind].fail(job.order.number, "out of time")

    def _left(self, limits: Limits) -> float:
        return (limits.ends_at if self.exports.exported else limits.last_call) - time.monotonic()

    def _choose(self, limits: Limits) -> None:
        """Choose an ensemble to export if it is time: once while the search goes on, and once for good."""
        if not self.exports.sound:
            return
        now = time.monotonic()
        if self._n_choices < _ALL and now >= self._last_choice(limits):
            self._n_choices = _ALL
            self.exports.choose()
        elif not self._n_choices and now >= limits.first_choice:
            self._n_choices = 1
            self.exports.choose()

    def _last_choice(self, limits: Limits) -> float:
        """Return when to choose for good: so that a few exports more can end, with something to spare."""
        if not self._export_seconds or self.exports.n_open or limits.last_choice == _AT_ONCE:
            return limits.last_choice
        mean_s = sum(self._export_seconds) / len(self._export_seconds)
        longest_s = max(self._export_seconds)
        needed_s = _SPARE * max(longest_s, _NEW_MEMBERS * mean_s / self._crew.n_workers)
        return max(limits.last_choice, limits.ends_at - needed_s)

    def _hand_out(self, limits: Limits, left_s: float) -> None:
        while self._crew.is_free and self.exports.is_waiting:
            candidate = self.exports.next()
            order = Export(candidate.about.kind, candidate.about.name, time.monotonic() + left_s)
            self._crew.give(order)
        if self._n_choices == _ALL:
            return
        search_s = self._last_choice(limits) - time.monotonic() if self.exports.sound else left_s
        while self._crew.is_free and (limits.max_trials is None or self._n_begun < limits.max_trials):
            if (kind := next_kind(self._standings(), search_s)) is None:
                return
            stop_at = self._stop_at(limits, kind)
            asked = self._studies[kind].ask()
            assert asked is not None  # noqa: S101 - the number of draws is not limited
            self._records[kind].n_started += 1
            self._n_begun += 1
            self._crew.give(Order(kind, asked.number, asked.params, stop_at))

    def _stop_at(self, limits: Limits, kind: str) -> float:
        """Return when a trial should have stopped learning: a kind's first one leaves time for those of the others."""
        now = time.monotonic()
        n_untried = sum(not record.n_started for record in self._records.values())
        is_first = not self._records[kind].n_started
        share = min(1.0, max(_FIRST_SHARE, 2 * self._crew.n_workers / n_untried)) if is_first else 1.0
        return now + share * max(0.0, self._last_choice(limits) - now)

    def _standings(self) -> list[Standing]:
        running = [(job.order.kind, job.seconds) for job in self._crew.jobs if isinstance(job.order, Order)]
        return [
            Standing(
                kind=kind,
                n_started=record.n_started,
                n_running=sum(one == kind for one, _ in running),
                n_scored=len(record.losses),
                n_failed=record.n_failed,
                best_loss=min(record.losses, default=math.inf),
                mean_s=sum(record.seconds) / len(record.seconds) if record.seconds else 0.0,
                spent_s=sum(record.seconds) + sum(seconds for one, seconds in running if one == kind),
            )
            for kind, record in self._records.items()
        ]

    def _hear(self, worker: Worker, job: Job, message: Message | None) -> None:
        if message is None:
            message = Failed(worker.died_of())
        if isinstance(job.order, Export):
            self._hear_export(worker, job, job.order, message)
            return
        order, study = job.order, self._studies[job.order.kind]
        match message:
            case Told(step, loss):
                worker.send(not study.report(order.number, step, loss))
            case Question():
                worker.send(self._export_all)
            case Ended(_, name):
                self._end(job, order, read_candidate(self._work, name))
            case Failed():
                self._give_up(job, order, message)

    def _hear_export(self, worker: Worker, job: Job, order: Export, message: Message) -> None:
        match message:
            case Ended(_, name):
                candidate = read_candidate(self._work, name)
                self._export_seconds.append(job.seconds)
                self.exports.keep(candidate)
                self._on_news(News(name, "exported", job.seconds, candidate))
            case Failed(reason, _):
                self.failures.append(News(order.name, "failed", job.seconds, reason=f"export: {reason}"))
                self._on_news(self.failures[-1])
                self.exports.fail(order.name)
            case _:
                worker.send(True)  # a step of a training that nobody prunes

    def _end(self, job: Job, order: Order, candidate: Candidate) -> None:
        about = candidate.about
        record = self._records[order.kind]
        record.losses.append(about.loss)
        record.seconds.append(job.seconds)
        measured = Measured(about.loss, about.latency_us, {"candidate": about.name})
        self._studies[order.kind].tell(order.number, measured)
        self.exports.keep(candidate)
        self._on_news(News(about.name, "exported" if candidate.is_exported else "scored", job.seconds, candidate))

    def _give_up(self, job: Job, order: Order, failed: Failed) -> None:
        record, study = self._records[order.kind], self._studies[order.kind]
        state: Literal["pruned", "failed"] = "pruned" if failed.pruned else "failed"
        news = News(f"{order.kind}_{order.number}", state, job.seconds, reason=failed.reason)
        record.seconds.append(job.seconds)
        if failed.pruned:
            study.prune(order.number, failed.reason)
        else:
            study.fail(order.number, failed.reason)
            record.n_failed += 1
            self.failures.append(news)
        self._on_news(news)


def _earlier(study: Study) -> _Record:
    """Return how a kind did in earlier campaigns; the losses of candidates are not among it."""
    trials = study.trials()
    ended = [trial.seconds for trial in trials if trial.state in {"complete", "pruned"}]
    return _Record(n_started=len(trials), seconds=ended)
