"""`widedeep train` from end to end: data, search, ensemble, export, test, within a time limit."""

import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract.bundle import Bundle, add_evidence, check_name, read_bundle
from ...serving.contract.columns import bind_columns
from ...serving.engine.pool import available_cores
from ..evidence import TEST_FILE, TRAINING_FILE
from ..examples import EXAMPLES_FILE, examples_bytes, pick_examples
from ..search.trial import Trial
from ..zoo.catalogue import kinds_for
from ..zoo.kind import Family, Kind
from .assembly import Assembled, Judged, assemble, choose, judge, publish, staging_folder
from .attempt import Setting
from .campaign import Campaign, Limits, News
from .candidates import Candidate
from .crew import Crew
from .dataset import Dataset, deal_folds, read_dataset, split_test
from .evidence import Training, test_bytes
from .options import Options, TrainError
from .worker import Worker, write_setting
from .workplace import Workplace, workplace

GRACE_S = 45.0
"""How far beyond the time limit a run may go that has no member yet; the whole has to end 90 s after the limit."""

_EXAMPLES = 12
_LARGE_ROWS = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The outcome.

    Attributes:
        path: the bundle.
        bundle: its description.
        assembled: how it was put together.
        judged: its answers for the test rows, None where none were set aside.
        candidates: all that it was chosen from.
        data: what was learned from.
        test: what was set aside.
        n_trials: trials on record, of earlier runs too.
        seconds: of the whole.
    """

    path: Path
    bundle: Bundle
    assembled: Assembled
    judged: Judged | None
    candidates: Sequence[Candidate]
    data: Dataset
    test: Dataset | None
    n_trials: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears how it goes; every function is optional.

    Attributes:
        on_data: the data is read: rows to learn from, and test rows.
        on_resume: so many trials of an earlier run are on record.
        on_news: a trial has ended.
        on_assembly: the search is over, a bundle is made from so many candidates.
    """

    on_data: Callable[[Dataset, Dataset | None], None] = lambda *_: None
    on_resume: Callable[[int], None] = lambda _: None
    on_news: Callable[[News], None] = lambda _: None
    on_assembly: Callable[[int], None] = lambda _: None


def train(options: Options, listener: Listener | None = None) -> Trained:
    """Train on a file's rows and leave a bundle in the repository `options.output`.

    Nothing unfinished ever lies there: the bundle is made beside it and moved in when it is whole. A run that was cut
    off and is started again with the same data and options goes on with the trials on record.

    Raises:
        DataError: the data cannot be learned from.
        TrainError: no model could be trained in the time, or none keeps to the latency.
        BundleError: the name is not one of a bundle.
        OSError: the output cannot be written.
        ConversionError: the members contradict each other.
    """
    started = time.monotonic()
    listener = listener or Listener()
    model = _model_folder(options)
    data, test = split_test(_read(options), options.test_fraction, options.seed)
    kinds = _kinds(data, options)
    listener.on_data(data, test)
    with workplace(data, kinds, options) as place:
        searched = _search(data, kinds, options, place, listener=listener, started=started)
        if not searched.members:
            raise TrainError(_nothing_found(options, searched.failures))
        listener.on_assembly(len(searched.candidates))
        staging = staging_folder(options.output)
        try:
            assembled = assemble(
                searched.members,
                data,
                staging / "bundle",
                name=model.name,
                max_members=options.max_members,
                budget_us=options.max_latency_us_per_row,
                batch_rows=options.batch_rows,
                seed=options.seed,
            )
            judged = None if test is None else judge(assembled.built.path, test)
            training = _training(
                options,
                data,
                test,
                searched=searched,
                assembled=assembled,
                seconds=time.monotonic() - started,
            )
            add_evidence(assembled.built.path, {TRAINING_FILE: training.to_json(), **_tested(test, judged, assembled)})
            path = publish(assembled.built.path, model)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    n_trials = sum(map(len, training.trials.values()))
    seconds = time.monotonic() - started
    return Trained(path, read_bundle(path), assembled, judged, searched.candidates, data, test, n_trials, seconds)


def _read(options: Options) -> Dataset:
    return read_dataset(
        options.data,
        target=options.target,
        image_column=options.image_column,
        image_size=options.image_size,
        weight_column=options.weight_column,
        class_weight=options.class_weight,
        drop=options.drop,
        task=options.task,
        max_rows=options.max_rows,
        seed=options.seed,
    )


def _kinds(data: Dataset, options: Options) -> tuple[Kind, ...]:
    """Return the kinds to try.

    Raises:
        TrainError: a kind is unknown or does not suit the problem.
    """
    suited = {kind.name: kind for kind in kinds_for(data.problem)}
    if unknown := [name for name in options.kinds if name not in suited]:
        raise TrainError(
            f"kind {unknown[0]!r} is unknown or does not suit this data; those that do: {', '.join(suited)}"
        )
    return tuple(kind for name, kind in suited.items() if not options.kinds or name in options.kinds)


def _model_folder(options: Options) -> Path:
    """Return the folder for the model's versions; what would keep a bundle from it shows here, before the search.

    Raises:
        BundleError: the name is not one of a bundle.
        OSError: nothing can be written there.
    """
    name = options.name or _name_of(options.data)
    check_name("bundle", name)
    staging_folder(options.output).rmdir()
    model = options.output / name
    nearest = next(place for place in (model, options.output, options.output.parent) if place.exists())
    if not nearest.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(nearest))
    if not os.access(nearest, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(nearest))
    return model


def _name_of(data: Path) -> str:
    """Return a bundle's name after a file's."""
    name = data.name.partition(".")[0]
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter == "-") else "_" for letter in name)
    return ("_" + plain if plain.startswith("-") else plain or "model")[:128]


def divide(options: Options, started: float) -> Limits:
    """Return when a run that started then does what, as `time.monotonic()` counts.

    What is left of the time limit at the end is for learning weights, building and testing.
    """
    limit_s = options.time_limit_s
    ends_s = limit_s - min(60.0, max(8.0, 0.15 * limit_s))
    export_s = 0.0 if options.searches_latency else min(150.0, 0.35 * limit_s)
    return Limits(
        first_choice=started + 0.45 * ends_s,
        last_choice=started + ends_s - export_s,
        ends_at=started + ends_s,
        last_call=started + limit_s + GRACE_S,
        max_trials=options.max_trials,
    )


@dataclass(frozen=True, slots=True)
class _Searched:
    candidates: Sequence[Candidate]
    members: Sequence[Candidate]
    trials: Mapping[str, Sequence[Trial]]
    families: Mapping[str, Family]
    failures: Sequence[News]
    n_folds: int
    started_s: float
    seconds: float


def _search(
    data: Dataset, kinds: Sequence[Kind], options: Options, place: Workplace, *, listener: Listener, started: float
) -> _Searched:
    """Search and export until the time is up; what is found lies in the workplace."""
    n_workers = options.n_workers or available_cores()
    n_threads = max(1, available_cores() // n_workers)
    folds = deal_folds(data, options.n_folds or default_folds(data), options.seed)
    setting = Setting(data, folds, options.keep, options.batch_rows, options.seed, n_threads, place.folder)
    write_setting(place.setting, setting)
    numbers = itertools.count()
    began, began_s = time.monotonic(), time.time()
    with ExitStack() as stack:
        studies = {kind.name: stack.enter_context(place.study(kind, data, options)) for kind in kinds}
        if n_known := sum(len(study.trials()) for study in studies.values()):
            listener.on_resume(n_known)
        crew = Crew(lambda: Worker(place.setting, place.log(next(numbers)), n_threads), n_workers)
        stack.callback(crew.close)
        campaign = Campaign(
            kinds,
            studies,
            place.folder,
            crew,
            lambda candidates: _choose(candidates, data, options),
            export_all=options.searches_latency,
            on_news=listener.on_news,
        )
        campaign.run(divide(options, started))
        trials = {kind: study.trials() for kind, study in studies.items()}
    return _Searched(
        candidates=campaign.exports.candidates,
        members=campaign.exports.exported,
        trials=trials,
        families={kind.name: kind.family for kind in kinds},
        failures=campaign.failures,
        n_folds=len(folds),
        started_s=began_s,
        seconds=time.monotonic() - began,
    )


def _choose(candidates: Sequence[Candidate], data: Dataset, options: Options) -> Sequence[str]:
    budget_us, most = options.max_latency_us_per_row, options.max_members
    return choose(candidates, data, budget_us=budget_us, max_members=most, seed=options.seed).names


def default_folds(data: Dataset) -> int:
    """Return how many folds to deal: fewer where trainings are long, for many rows and for nets over images."""
    return 3 if data.problem.n_rows > _LARGE_ROWS or data.problem.arrays else 5


def _nothing_found(options: Options, failures: Sequence[News]) -> str:
    if failures:
        reasons = "; ".join(f"{news.name}: {news.reason}" for news in failures[:3])
        return f"no model could be trained and exported. {reasons}"
    return (
        f"no model was trained within {options.time_limit_s:g} s and {GRACE_S:g} s of grace; give more time with "
        f"--time-limit, fewer rows with --max-rows, or quicker kinds with --kind"
    )


def _training(
    options: Options,
    data: Dataset,
    test: Dataset | None,
    *,
    searched: _Searched,
    assembled: Assembled,
    seconds: float,
) -> Training:
    abouts = {candidate.about.name: candidate.about for candidate in searched.members}
    settings: dict[str, Any] = {
        "n_folds": searched.n_folds,
        "keep": options.keep,
        "seed": options.seed,
        "time_limit_s": options.time_limit_s,
        "sampler": options.sampler,
    }
    return Training(
        target=data.target_name,
        task=data.problem.task,
        n_rows={"train": len(data.target), "test": 0 if test is None else len(test.target)},
        columns=data.columns,
        notes=data.notes,
        settings=settings,
        seconds={"search": searched.seconds, "export": seconds - searched.seconds},
        trials=searched.trials,
        families=searched.families,
        started_s=searched.started_s,
        members={name: abouts[name] for name in assembled.members.names},
        reasons=assembled.members.reasons,
        latency={
            "budget_us": options.max_latency_us_per_row,
            "ensemble_us": assembled.latency_us,
            "batch_rows": options.batch_rows,
        },
    )


def _tested(test: Dataset | None, judged: Judged | None, assembled: Assembled) -> dict[str, bytes]:
    if test is None or judged is None:
        return {}
    scores = np.stack(list(judged.scores.values()))
    index = pick_examples(test.target, judged.ensemble, scores, _EXAMPLES, task=test.problem.task)
    inputs = bind_columns(assembled.built.bundle.inputs, test.rows.columns())
    return {
        TEST_FILE: test_bytes(test.target, judged.scores, judged.ensemble, test.weights),
        EXAMPLES_FILE: examples_bytes(
            index, target=test.target, ensemble=judged.ensemble, scores=judged.scores, inputs=inputs
        ),
    }
