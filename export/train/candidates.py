"""Candidates: what trials leave on disk until an ensemble is chosen from it.

    candidates/<name>/    hyperparameters and out-of-fold scores; enough to choose by
    members/<name>/       the exported member, of those that were worth the export

A folder appears whole or not at all, so that what a killed run leaves can be used by the next one.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...serving.contract.certificate import Certificate
from ...serving.contract.tensors import TensorSpec
from ..member import Member
from ..search.space import Params
from ..zoo.kind import Family, Float64Array

_ABOUT_FILE, _GRAPH_FILE, _SCORES_FILE = "about.json", "member.onnx", "scores.npy"
_CANDIDATES, _MEMBERS = "candidates", "members"


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a candidate.

    Attributes:
        kind: of the zoo.
        family: deep or wide.
        trial: number among the trials of its kind.
        params: its hyperparameters.
        loss: out of fold.
        settled: what the folds' trainings found for themselves, see `Fitted.settled`.
        latency_us: microseconds a row in onnxruntime, None until it is exported.
        importance: column -> share, empty where the model does not tell or is not exported.
        history: curve -> values of the model that is served; until it is exported, of the first fold's.
    """

    kind: str
    family: Family
    trial: int
    params: Params
    loss: float
    settled: Params = field(default_factory=dict)
    latency_us: float | None = None
    importance: Mapping[str, float] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Unique among candidates; the member's name in the bundle."""
        return f"{self.kind}_{self.trial}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate in a work folder; its scores and graph are read when asked for."""

    work: Path
    about: About

    @property
    def is_exported(self) -> bool:
        """Whether there is a member."""
        return self.about.latency_us is not None

    def scores(self) -> Float64Array:
        """Return the out-of-fold scores `(n_rows, n_outputs)`, mapped from the file."""
        return np.asarray(np.load(self.work / _CANDIDATES / self.about.name / _SCORES_FILE, mmap_mode="r"))

    def member(self) -> Member:
        """Return the exported member."""
        folder = self.work / _MEMBERS / self.about.name
        document = json.loads((folder / _ABOUT_FILE).read_text())["member"]
        return Member(
            graph=(folder / _GRAPH_FILE).read_bytes(),
            inputs=tuple(map(TensorSpec.from_json, document["inputs"])),
            task=document["task"],
            classes=tuple(document["classes"]),
            n_outputs=document["n_outputs"],
            source=document["source"],
            opset=document["opset"],
            certificate=Certificate.from_json(document["certificate"]),
        )


def keep_candidate(work: Path, about: About, scores: Float64Array) -> Candidate:
    """Write a candidate that is not exported yet."""

    def write(folder: Path) -> None:
        np.save(folder / _SCORES_FILE, np.asarray(scores, np.float64), allow_pickle=False)
        (folder / _ABOUT_FILE).write_text(json.dumps({"about": asdict(about)}))

    _put(work / _CANDIDATES / about.name, write)
    return Candidate(work, about)


def keep_member(
    candidate: Candidate,
    member: Member,
    *,
    latency_us: float,
    importance: Mapping[str, float],
    history: Mapping[str, tuple[float, ...]],
) -> Candidate:
    """Write a candidate's exported member, and return the candidate with it."""
    about = replace(candidate.about, latency_us=latency_us, importance=dict(importance), history=dict(history))

    def write(folder: Path) -> None:
        (folder / _GRAPH_FILE).write_bytes(member.graph)
        (folder / _ABOUT_FILE).write_text(json.dumps({"about": asdict(about), "member": _declaration(member)}))

    _put(candidate.work / _MEMBERS / about.name, write)
    return Candidate(candidate.work, about)


def read_candidate(work: Path, name: str) -> Candidate:
    """Return a candidate of a work folder."""
    exported = work / _MEMBERS / name / _ABOUT_FILE
    file = exported if exported.is_file() else work / _CANDIDATES / name / _ABOUT_FILE
    about = json.loads(file.read_text())["about"]
    about["history"] = {curve: tuple(values) for curve, values in about["history"].items()}
    return Candidate(work, About(**about))


def read_candidates(work: Path) -> tuple[Candidate, ...]:
    """Return all candidates of a work folder, in the order of their names."""
    names = sorted(place.name for place in (work / _CANDIDATES).glob("*") if not place.name.startswith("."))
    return tuple(read_candidate(work, name) for name in names)


def _put(place: Path, write: Callable[[Path], None]) -> None:
    """Make a folder whole under a hidden name and put it in its place, instead of what stood there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        write(staging)
        shutil.rmtree(place, ignore_errors=True)
        staging.rename(place)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _declaration(member: Member) -> dict[str, Any]:
    return {
        "inputs": [spec.to_json() for spec in member.inputs],
        "task": member.task,
        "classes": list(member.classes),
        "n_outputs": member.n_outputs,
        "source": dict(member.source),
        "opset": dict(member.opset),
        "certificate": member.certificate.to_json(),
    }
