"""From candidates to a bundle: choose members, learn weights, build, keep to the latency, judge on the test rows once.

Everything happens in a staging folder; `publish` puts the finished bundle into the repository in one step.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...serving.contract.columns import bind_columns
from ...serving.contract.tensors import Array
from ...serving.engine.ensemble import Ensemble
from ...serving.engine.outputs import SCORES, all_outputs
from ..batches import spread
from ..build import Built, build
from ..inputs import merged_inputs
from ..weights import learners_for, metrics_of
from .candidates import Candidate
from .dataset import Dataset
from .latency import ensemble_latency_us, load_on_one_core
from .members import Members, choose_members
from .options import TrainError

_ROWS_TO_PROVE = 2000
_ROWS_TO_COMPARE = 100_000
_CELLS_TO_LEARN = 200_000
"""Scores from which weights are learned, over all members, rows and outputs: ten to twenty seconds for all learners. A
million took beyond 80 s, most of them for stacking."""

_STACKING_PRODUCTS = 5_000_000
"""Products of a pass over the rows beyond which stacking is left out: 60 classes and 10 million took it 30 to 50 s."""

_BEST_OF_A_KIND = 4
"""Models of one kind err alike: beyond the best few, more of them let selection overfit and cost time to serve."""

_ATTEMPTS = 4
"""Ensembles to build until one keeps to the latency; each is chosen for a smaller sum of its members' own latencies."""

_TEST_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Assembled:
    """A built ensemble that is not published yet.

    Attributes:
        built: the bundle in its staging folder.
        members: those of it, and why.
        latency_us: microseconds a row of the whole ensemble.
    """

    built: Built
    members: Members
    latency_us: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Answers for the test rows.

    Attributes:
        ensemble: `(n_rows, n_outputs)`.
        scores: member -> `(n_rows, n_outputs)`.
        metrics: of the ensemble.
        members: member -> metrics.
    """

    ensemble: Array
    scores: Mapping[str, Array]
    metrics: Mapping[str, float]
    members: Mapping[str, Mapping[str, float]]


def assemble(
    candidates: Sequence[Candidate],
    data: Dataset,
    folder: Path,
    *,
    name: str,
    max_members: int,
    budget_us: float | None,
    batch_rows: int,
    seed: int,
) -> Assembled:
    """Choose members among exported candidates, build their bundle in `folder`, and measure it.

    Raises:
        TrainError: not even the quickest candidate keeps to the budget.
        ConversionError: the members contradict each other.
    """
    by_name = {candidate.about.name: candidate for candidate in candidates}
    latencies = {member: candidate.about.latency_us or 0.0 for member, candidate in by_name.items()}
    aim_us = budget_us
    for _ in range(_ATTEMPTS):
        chosen = choose(candidates, data, budget_us=aim_us, max_members=max_members, seed=seed)
        if not chosen.names:
            break
        built = _built([by_name[member] for member in chosen.names], data, folder, name=name, seed=seed)
        latency_us = ensemble_latency_us(load_on_one_core(built.path), _inputs(built, data), batch_rows)
        if budget_us is None or latency_us <= budget_us:
            return Assembled(built, chosen, latency_us)
        # What the ensemble takes beside its members - checks, combiner - does not shrink with them.
        alone_us = sum(latencies[member] for member in chosen.names)
        aim_us = min(0.9 * alone_us, 0.95 * (budget_us - max(0.0, latency_us - alone_us)))
    quickest = min(latencies, key=lambda member: latencies[member])
    raise TrainError(
        f"no ensemble was found that takes at most {budget_us:g} us a row in batches of {batch_rows}; the quickest "
        f"candidate alone, {quickest}, takes {latencies[quickest]:.3g} us. Allow more, or name quicker kinds"
    )


def choose(
    candidates: Sequence[Candidate], data: Dataset, *, budget_us: float | None, max_members: int, seed: int
) -> Members:
    """Return the members of an ensemble, of the best candidates of each kind; see `choose_members`.

    What is not exported counts as quick.
    """
    by_name = {candidate.about.name: candidate for candidate in _best_of_each_kind(candidates, budget_us)}
    return choose_members(
        {name: candidate.scores() for name, candidate in by_name.items()},
        data.target,
        task=data.problem.task,
        weights=data.weights,
        latency_us={name: candidate.about.latency_us or 0.0 for name, candidate in by_name.items()},
        groups={name: candidate.about.kind for name, candidate in by_name.items()},
        budget_us=budget_us,
        max_members=max_members,
        seed=seed,
    )


def _best_of_each_kind(candidates: Sequence[Candidate], budget_us: float | None) -> list[Candidate]:
    """Return the candidates of each kind with the lowest losses; with a budget also those that none beats in both."""
    kept: list[Candidate] = []
    for kind in dict.fromkeys(candidate.about.kind for candidate in candidates):
        ranked = sorted((each for each in candidates if each.about.kind == kind), key=lambda each: each.about.loss)
        quickest = float("inf")
        for place, candidate in enumerate(ranked):
            latency_us = candidate.about.latency_us or 0.0
            if place < _BEST_OF_A_KIND or (budget_us is not None and latency_us < quickest):
                kept.append(candidate)
            quickest = min(quickest, latency_us)
    return kept


def _built(chosen: Sequence[Candidate], data: Dataset, folder: Path, *, name: str, seed: int) -> Built:
    members = {candidate.about.name: candidate.member() for candidate in chosen}
    inputs = merged_inputs(members)
    index = _rows_to_learn(data, len(members), seed)
    n_outputs = data.problem.n_outputs
    is_stacked = len(index) * len(members) * n_outputs**2 <= _STACKING_PRODUCTS
    return build(
        folder,
        name=name,
        members=members,
        scores={candidate.about.name: candidate.scores()[index] for candidate in chosen},
        target=data.target[index],
        weights=None if data.weights is None else data.weights[index],
        rows=bind_columns(inputs, data.rows.take(spread(len(data.rows), _ROWS_TO_PROVE)).columns()),
        reference=bind_columns(inputs, data.rows.take(spread(len(data.rows), _ROWS_TO_COMPARE)).columns()),
        classes=data.classes or None,
        learners=learners_for(data.problem.task, len(members), n_outputs, with_stacking=is_stacked),
        seed=seed,
        pixel_scale={spec.name: data.pixel_scale[spec.name] for spec in inputs if spec.name in data.pixel_scale},
    )


def _rows_to_learn(data: Dataset, n_members: int, seed: int) -> Array:
    """Return the rows to learn weights on: all, or a sample drawn at random where they are very many."""
    n_rows = len(data.target)
    most = max(1000, _CELLS_TO_LEARN // (n_members * data.problem.n_outputs))
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, most, replace=False))


def _inputs(built: Built, data: Dataset) -> dict[str, Array]:
    rows = data.rows.take(spread(len(data.rows), _ROWS_TO_PROVE))
    return bind_columns(built.bundle.inputs, rows.columns())


def judge(path: Path, test: Dataset) -> Judged:
    """Return what the bundle at `path` answers for the test rows."""
    ensemble = Ensemble.load(path)
    names = all_outputs(ensemble.bundle)
    parts = []
    for start in range(0, len(test.rows), _TEST_CHUNK_ROWS):
        rows = test.rows.take(np.arange(start, min(start + _TEST_CHUNK_ROWS, len(test.rows))))
        parts.append(ensemble.predict(bind_columns(ensemble.bundle.inputs, rows.columns()), names))
    answers = {name: np.concatenate([part[name] for part in parts]) for name in names}
    task = test.problem.task
    combined = answers["probabilities" if task == "classification" else "prediction"]
    scores = {member.name: answers[SCORES + member.name] for member in ensemble.bundle.members}
    return Judged(
        combined,
        scores,
        metrics_of(combined, test.target, task, test.weights),
        {member: metrics_of(array, test.target, task, test.weights) for member, array in scores.items()},
    )


def staging_folder(output: Path) -> Path:
    """Return a new hidden folder beside `output`, where a rename into it is possible."""
    output.parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))


def publish(bundle: Path, model: Path) -> Path:
    """Move a finished bundle into a model's folder as its next version, and return its place.

    Servers and other readers of the repository see the whole bundle or none.

    Raises:
        OSError: the folder cannot be written.
    """
    model.mkdir(parents=True, exist_ok=True)
    while True:
        place = model / str(next_version(model))
        try:
            bundle.rename(place)
        except OSError as error:
            if error.errno in {errno.EEXIST, errno.ENOTEMPTY}:
                continue  # somebody else has just published
            if error.errno != errno.EXDEV:
                raise
            _copy_beside(bundle, place)
        descriptor = os.open(model, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return place


def next_version(model: Path) -> int:
    """Return the number after the highest version in a model's folder, 1 for none."""
    versions = [int(place.name) for place in model.glob("*") if place.name.isdecimal()] if model.is_dir() else []
    return max(versions, default=0) + 1


def _copy_beside(bundle: Path, place: Path) -> None:
    """Copy a bundle from another file system under a hidden name, then put it in place."""
    hidden = place.parent / f".{place.name}.{os.getpid()}"
    try:
        shutil.copytree(bundle, hidden)
        hidden.rename(place)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
