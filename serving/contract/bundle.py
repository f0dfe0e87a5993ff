"""The bundle: an ensemble on disk, the only thing that passes from export to serving.

    <bundle>/
      bundle.json        what `Bundle` holds
      members/*.onnx     one graph a member
      fused.onnx         optional: the members that count and the combiner as one graph
      samples.npz        real rows and their exact outputs: `inputs/<name>`, `outputs/<name>`
      evidence/*         optional, listed with digests, never read by a server; batch evaluation reads `inputs.json`

Nothing else may lie there: an unlisted file, a symlink or a digest that differs is refused. There is no pickle and no
code in a bundle. Whether the graphs still answer as `samples.npz` says is the engine's question, not this module's.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self, get_args

import numpy as np

from .combiner import Combiner, combiner_from_json
from .errors import BundleError
from .graphs import FUSED_FILE, FusedSpec, MemberSpec, check_sizes
from .tensors import Array, DataType, TensorSpec

__all__ = [
    "BUNDLE_FILE",
    "FORMAT",
    "SAMPLES_FILE",
    "Bundle",
    "FusedSpec",
    "MemberSpec",
    "Samples",
    "Task",
    "check_place",
    "listed_files",
    "read_bundle",
    "read_description",
    "read_samples",
    "replace_folder",
    "write_bundle",
]

FORMAT = (1, 1)
"""1.1 added `fused.onnx`; readers of 1.0 refuse a bundle that holds one, as an unlisted file."""

BUNDLE_FILE = "bundle.json"
SAMPLES_FILE = "samples.npz"
EVIDENCE_FOLDER = "evidence"

Task = Literal["classification", "regression"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MAX_OUTPUTS = 1 << 20
"""More than a model has; arrays of this width are made before any graph is seen."""
_HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """An ensemble without its weights' bytes; what `bundle.json` says.

    Attributes:
        name: default served name.
        task: "classification" (scores are probabilities) or "regression".
        inputs: what a request must carry.
        classes: class labels in score order: all `str` or all `int`; empty for a regression.
        n_outputs: columns of every score tensor.
        members: the members, in the order in which the combiner takes their scores.
        combiner: the learned combination.
        selection: how the combiner was chosen and the held-out metrics of every method tried.
        created_by: library -> version.
        evidence: file under `evidence/` -> SHA-256; see `histograms` for the one that batch evaluation reads.
        samples_sha256: digest of `samples.npz`, filled in when the bundle is written.
        digest: SHA-256 of `bundle.json` as read, which covers every other file through their digests.
        fused: the graph of the members that count and the combiner; None where there is none.
    """

    name: str
    task: Task
    inputs: tuple[TensorSpec, ...]
    classes: tuple[str, ...] | tuple[int, ...]
    n_outputs: int
    members: tuple[MemberSpec, ...]
    combiner: Combiner
    selection: Mapping[str, Any] = field(default_factory=dict)
    created_by: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, str] = field(default_factory=dict)
    samples_sha256: str = ""
    digest: str = ""
    fused: FusedSpec | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        check_name("bundle", self.name)
        if self.task not in get_args(Task):
            raise BundleError(f"task {self.task!r}: expected one of {', '.join(get_args(Task))}")
        least = 2 if self.task == "classification" else 1
        if not least <= self.n_outputs <= _MAX_OUTPUTS:
            raise BundleError(f"{self.task} with {self.n_outputs} outputs: expected {least} to {_MAX_OUTPUTS}")
        _unique("input", [spec.name for spec in self.inputs])
        _unique("member", [member.name for member in self.members])
        for member in self.members:
            check_sizes(f"member {member.name!r}", member.certificate, self.n_outputs)
        declared = {spec.name for spec in self.inputs}
        for member in self.members:
            check_name("member", member.name)
            if not member.inputs or not declared.issuperset(member.inputs):
                raise BundleError(
                    f"member {member.name!r} takes inputs {list(member.inputs)}; the bundle has {sorted(declared)}"
                )
        if self.combiner.n_members != len(self.members):
            raise BundleError(f"combiner of {self.combiner.n_members} members in a bundle of {len(self.members)}")
        if len(self.classes) != (self.n_outputs if self.task == "classification" else 0):
            raise BundleError(f"{len(self.classes)} classes for a {self.task} with {self.n_outputs} outputs")
        if self.combiner(np.full((len(self.members), 1, self.n_outputs), 0.5)).shape != (1, self.n_outputs):
            raise BundleError(f"combiner does not answer with {self.n_outputs} outputs")
        if self.fused is not None:
            self._check_fused(self.fused)

    def _check_fused(self, fused: FusedSpec) -> None:
        if not self.combiner.used:
            raise BundleError("fused graph in a bundle whose combiner uses no member")
        if fused.members != (members := tuple(member.name for member in self.used_members)):
            raise BundleError(f"fused graph of {list(fused.members)}; the combiner uses {list(members)}")
        if fused.inputs != (inputs := self.inputs_of(members)):
            raise BundleError(f"fused graph takes inputs {list(fused.inputs)}; its members take {list(inputs)}")
        check_sizes("fused graph", fused.certificate, self.n_outputs)

    @property
    def used_members(self) -> tuple[MemberSpec, ...]:
        """The members whose scores can change the answer, in the bundle's order."""
        return tuple(self.members[i] for i in self.combiner.used)

    def inputs_of(self, members: Collection[str]) -> tuple[str, ...]:
        """Return the names of the inputs that any of these members reads, in the bundle's order."""
        read = {name for member in self.members if member.name in members for name in member.inputs}
        return tuple(spec.name for spec in self.inputs if spec.name in read)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs answered when a request names none."""
        if self.task == "regression":
            return (TensorSpec("prediction", DataType.FP32, (-1, self.n_outputs)),)
        label = DataType.BYTES if isinstance(self.classes[0], str) else DataType.INT64
        return (
            TensorSpec("probabilities", DataType.FP32, (-1, self.n_outputs)),
            TensorSpec("label", label, (-1, 1)),
        )

    @property
    def score_outputs(self) -> tuple[TensorSpec, ...]:
        """Each member's own scores, answered only when asked for."""
        return tuple(
            TensorSpec(f"scores/{member.name}", DataType.FP32, (-1, self.n_outputs)) for member in self.members
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form written to `bundle.json`."""
        return {
            "format": "{}.{}".format(*FORMAT),
            "name": self.name,
            "task": self.task,
            "inputs": [spec.to_json() for spec in self.inputs],
            "classes": list(self.classes),
            "n_outputs": self.n_outputs,
            "members": [member.to_json() for member in self.members],
            "combiner": self.combiner.to_json(),
            **({} if self.fused is None else {"fused": self.fused.to_json()}),
            "selection": dict(self.selection),
            "samples": {"file": SAMPLES_FILE, "sha256": self.samples_sha256},
            "evidence": dict(self.evidence),
            "created_by": dict(self.created_by),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], digest: str = "") -> Self:
        """Read the JSON form; unknown keys are ignored, a newer major format is refused.

        Raises:
            BundleError: a key is missing or its value is not legal.
        """
        try:
            major = int(str(data["format"]).split(".", maxsplit=1)[0])
            if major > FORMAT[0]:
                raise BundleError(f"bundle format {data['format']} is newer than {FORMAT[0]}, the newest known here")
            return cls(
                name=str(data["name"]),
                task=data["task"],
                inputs=tuple(map(TensorSpec.from_json, data["inputs"])),
                classes=_classes(data["classes"]),
                n_outputs=int(data["n_outputs"]),
                members=tuple(map(MemberSpec.from_json, data["members"])),
                combiner=combiner_from_json(data["combiner"]),
                selection=dict(data.get("selection", {})),
                created_by=dict(data.get("created_by", {})),
                evidence={str(k): str(v) for k, v in data.get("evidence", {}).items()},
                samples_sha256=str(data["samples"]["sha256"]),
                digest=digest,
                fused=None if data.get("fused") is None else FusedSpec.from_json(data["fused"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise BundleError(f"{BUNDLE_FILE}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Samples:
    """Real input rows and the exact outputs expected for them: warm-up and golden test in one.

    Attributes:
        inputs: input name -> `(n_rows, ...)`.
        outputs: output name -> `(n_rows, ...)`, member scores included; BYTES as arrays of `str`.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's description after checking that the folder holds exactly the listed files, unchanged.

    Files are hashed as streams; no graph is loaded.

    Raises:
        BundleError: not a bundle, a newer format, or a file missing, unlisted, linked or changed; names the file.
    """
    bundle = read_description(path)
    expected = listed_files(bundle)
    present = set(_files(path)) - {BUNDLE_FILE}
    if extra := sorted(present - expected.keys()):
        raise BundleError(f"{path / extra[0]} is not listed in {BUNDLE_FILE}")
    for file, digest in expected.items():
        if file not in present:
            raise BundleError(f"{path / file} is missing")
        if (actual := _sha256(path / file)) != digest:
            raise BundleError(f"{path / file} has changed: expected SHA-256 {digest}, got {actual}")
    return bundle


def read_description(path: Path) -> Bundle:
    """Read `bundle.json` alone; no other file is looked at.

    Raises:
        BundleError: not a bundle, a newer format, or a description that is damaged or contradicts itself.
    """
    if not (path / BUNDLE_FILE).is_file():
        raise BundleError(f"{path} is not a bundle: it has no {BUNDLE_FILE}")
    text = (path / BUNDLE_FILE).read_bytes()
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair would fail in every answer that holds it
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path / BUNDLE_FILE} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path / BUNDLE_FILE}: expected a JSON object")
    return Bundle.from_json(data, hashlib.sha256(text).hexdigest())


def listed_files(bundle: Bundle) -> dict[str, str]:
    """Return the files that a bundle consists of, beside `bundle.json`, with the SHA-256 of each.

    Names are relative to its folder, with `/` between their parts, and lead out of it nowhere.

    Raises:
        BundleError: a name is none of a file of a bundle.
    """
    listed = {SAMPLES_FILE: bundle.samples_sha256}
    listed |= {member.file: member.sha256 for member in bundle.members}
    if bundle.fused is not None:
        listed[bundle.fused.file] = bundle.fused.sha256
    for name, digest in bundle.evidence.items():
        if PurePosixPath(name).parts != (name,) or name in {".", ".."}:
            raise BundleError(f"evidence {name!r}: expected a plain file name")
        listed[f"{EVIDENCE_FOLDER}/{name}"] = digest
    return listed


def read_samples(path: Path) -> Samples:
    """Read `samples.npz` of the bundle at `path`; strings come back as object arrays of `str`.

    Raises:
        BundleError: the file is no archive of plain arrays under the expected keys.
    """
    inputs: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    try:
        # Opened here, for numpy leaves a file open that is no archive.
        with (path / SAMPLES_FILE).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                side, _, name = key.partition("/")
                array = archive[key]
                target = {"inputs": inputs, "outputs": outputs}[side]
                target[name] = array.astype(object) if array.dtype.kind == "U" else array
    except Exception as error:  # numpy, zipfile and zlib each have their own for bytes that are no archive
        raise BundleError(f"{path / SAMPLES_FILE} cannot be read: {type(error).__name__}: {error}") from error
    return Samples(inputs, outputs)


def check_place(path: Path) -> None:
    """Refuse a place for a bundle where something else stands: only a bundle or an empty folder is replaced.

    Raises:
        BundleError: it is a file, or a folder that holds other things.
    """
    if path.exists() and not path.is_dir():
        raise BundleError(f"{path} is a file; expected the bundle's folder")
    if path.is_dir() and any(path.iterdir()) and not (path / BUNDLE_FILE).is_file():
        raise BundleError(
            f"{path} holds other things than a bundle, and only a bundle is replaced; give a folder of its own, such "
            f"as {path / '<name>' / '1'}"
        )


def write_bundle(
    path: Path,
    bundle: Bundle,
    graphs: Mapping[str, bytes],
    samples: Samples,
    evidence: Mapping[str, bytes] | None = None,
    *,
    fused: bytes | None = None,
) -> Bundle:
    """Write a bundle atomically: all of it appears at `path`, replacing what was there, or nothing does.

    Args:
        path: the bundle's folder.
        bundle: its description; digests are filled in here.
        graphs: member name -> serialised ONNX graph.
        samples: golden rows.
        evidence: file name -> content, written under `evidence/`.
        fused: the serialised graph that `bundle.fused` describes, exactly where there is one.

    Returns:
        The description as read back from disk, every digest checked.

    Raises:
        BundleError: something else than a bundle stands at `path`, see `check_place`, or a fused graph lacks its
            description or the other way round.
    """
    check_place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        digests = {
            f"members/{name}.onnx": _put(staging / f"members/{name}.onnx", data) for name, data in graphs.items()
        }
        if fused is not None:
            digests[FUSED_FILE] = _put(staging / FUSED_FILE, fused)
        kept = {name: _put(staging / EVIDENCE_FOLDER / name, data) for name, data in (evidence or {}).items()}
        with (staging / SAMPLES_FILE).open("wb") as file:
            np.savez(file, allow_pickle=False, **_plain("inputs", samples.inputs), **_plain("outputs", samples.outputs))
            file.flush()
            os.fsync(file.fileno())
        sealed = replace(
            bundle,
            members=tuple(replace(member, sha256=digests[member.file]) for member in bundle.members),
            evidence=kept,
            samples_sha256=_sha256(staging / SAMPLES_FILE),
            fused=bundle.fused and replace(bundle.fused, sha256=digests.get(FUSED_FILE, "")),
        )
        _put(staging / BUNDLE_FILE, json.dumps(sealed.to_json(), indent=2).encode() + b"\n")
        read_bundle(staging)
        staging.chmod(0o755)
        replace_folder(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return read_bundle(path)


def check_name(what: str, name: str) -> None:
    """Check the name of a bundle or a member; neither may lead out of a folder.

    Raises:
        BundleError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise BundleError(f"{what} name {name!r}: expected {_NAME.pattern}")


def add_evidence(path: Path, evidence: Mapping[str, bytes]) -> Bundle:
    """Add files to a bundle's evidence, and return the bundle as read back.

    For a bundle that nobody serves yet, such as one that is still being made: while the files are written it is not
    whole, and afterwards its digest is another one.

    Args:
        path: the bundle's folder.
        evidence: file name -> content; a file of that name is replaced.

    Raises:
        BundleError: the bundle is not sound, or was not meant to hold such names.
    """
    bundle = read_bundle(path)
    kept = {name: _put(path / EVIDENCE_FOLDER / name, data) for name, data in evidence.items()}
    sealed = replace(bundle, evidence={**bundle.evidence, **kept})
    _put(path / BUNDLE_FILE, json.dumps(sealed.to_json(), indent=2).encode() + b"\n")
    return read_bundle(path)


def replace_folder(staging: Path, path: Path) -> None:
    """Put `staging` at `path`, beside which it lies.

    What stood there is moved aside first, since a folder cannot be renamed over another.
    """
    if not path.exists():
        staging.rename(path)
    else:
        old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        path.rename(old / "old")
        staging.rename(path)
        shutil.rmtree(old)
    _fsync_folder(path.parent)


def _put(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _fsync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(side: str, arrays: Mapping[str, Array]) -> dict[str, Any]:
    return {
        f"{side}/{name}": array.astype(np.str_) if array.dtype == object else array for name, array in arrays.items()
    }


def _files(path: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            if (Path(folder) / name).is_symlink():
                raise BundleError(f"{Path(folder) / name} is a symlink; a bundle holds plain files only")
        for name in files:
            if not (Path(folder) / name).is_file():
                raise BundleError(f"{Path(folder) / name} is no plain file")  # a pipe would be read for ever
            yield (Path(folder) / name).relative_to(path).as_posix()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _classes(values: list[Any]) -> tuple[str, ...] | tuple[int, ...]:
    if all(isinstance(value, str) for value in values):
        return tuple(values)
    if all(isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 for value in values):
        return tuple(values)
    raise BundleError("classes must be all strings or all integers of 64 bits")


def _unique(kind: str, names: list[str]) -> None:
    if not names:
        raise BundleError(f"a bundle needs at least one {kind}")
    if len(set(names)) != len(names):
        raise BundleError(f"{kind} names must be unique, got {names}")
