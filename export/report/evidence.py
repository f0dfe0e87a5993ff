"""What a bundle holds to be told: its description and the evidence files, each of which may be missing.

Scores are read as a stream, and of many rows only as many as plots and intervals need.
"""

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from ...serving.contract.bundle import EVIDENCE_FOLDER, Bundle, read_bundle
from ...serving.contract.combiner import Float64Array
from ...serving.contract.errors import BundleError
from ...serving.contract.tensors import Array
from ..batches import spread
from ..build import HELD_OUT_FILE
from ..evidence import TEST_FILE, TRAINING_FILE, TRAINING_FORMAT
from ..examples import EXAMPLES_FILE

MAX_VALUES = 1 << 26
"""Scores held at once, of all members together: 256 MiB; of more, evenly spread rows stand for all."""
_READ_BYTES = 8 << 20
_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Rows with a truth, and what the members and the ensemble answer.

    Attributes:
        source: untouched test rows, or the rows that the combination was learned on.
        n_rows: rows that there are; the arrays may hold fewer, evenly spread.
        target: class indices `(n,)` or values `(n, n_outputs)`.
        scores: of the bundle's members `(n_members, n, n_outputs)`, float32.
        ensemble: `(n, n_outputs)`.
        has_weights: whether the rows count differently in training; they all count the same here.
    """

    source: Literal["test", "held_out"]
    n_rows: int
    target: Array
    scores: npt.NDArray[np.float32]
    ensemble: Float64Array
    has_weights: bool = False

    @property
    def words(self) -> str:
        """Which rows these are, for a sentence."""
        read = len(self.target)
        rows = f"{self.n_rows:,}" if read == self.n_rows else f"{read:,} evenly spread ones of {self.n_rows:,}"
        kind = "untouched test rows" if self.source == "test" else "held-out rows"
        return f"{rows} {kind}"


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Test rows that the ensemble gets right where members fail.

    Attributes:
        index: their numbers among the test rows.
        target: class indices or values.
        ensemble: `(n, n_outputs)`.
        scores: member -> `(n, n_outputs)`.
        inputs: input name -> rows as served.
    """

    index: Array
    target: Array
    ensemble: Array
    scores: Mapping[str, Array]
    inputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that is known of a bundle.

    Attributes:
        bundle: its description.
        training: how it was found, as `widedeep train` writes it; empty where it did not.
        judged: rows to judge on: test rows where there are some, else the held-out ones; None where there are neither.
        examples: None where there are none.
    """

    bundle: Bundle
    training: Mapping[str, Any]
    judged: Scored | None
    examples: Examples | None

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, in the bundle's order."""
        return tuple(member.name for member in self.bundle.members)

    @property
    def metric(self) -> str:
        """The loss that everything is compared by."""
        return "log_loss" if self.bundle.task == "classification" else "rmse"

    def about(self, member: str) -> Mapping[str, Any]:
        """Return what training tells of a member; empty where it tells nothing."""
        told: Mapping[str, Any] = self.training.get("members", {}).get(member, {})
        return told


def read_evidence(path: Path) -> Evidence:
    """Read a bundle and its evidence; every digest is checked.

    Raises:
        BundleError: it is no bundle, has changed, or an evidence file is damaged.
    """
    bundle = read_bundle(path)
    folder = path / EVIDENCE_FOLDER
    here = bundle.evidence
    try:
        training = _training(folder / TRAINING_FILE) if TRAINING_FILE in here else {}
        judged = None
        if TEST_FILE in here:
            judged = _scored(folder / TEST_FILE, bundle, "test")
        elif HELD_OUT_FILE in here:
            judged = _scored(folder / HELD_OUT_FILE, bundle, "held_out")
        examples = _examples(folder / EXAMPLES_FILE) if EXAMPLES_FILE in here else None
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise BundleError(f"evidence in {folder} cannot be read: {type(error).__name__}: {error}") from error
    return Evidence(bundle, training, judged, examples)


def _training(file: Path) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(file.read_bytes())
    if document["format"] != TRAINING_FORMAT:
        raise ValueError(f"{file.name} has format {document['format']}; expected {TRAINING_FORMAT}")
    return document


def _scored(file: Path, bundle: Bundle, source: Literal["test", "held_out"]) -> Scored:
    n_members, n_outputs = len(bundle.members), bundle.n_outputs
    with zipfile.ZipFile(file) as archive:
        target = _rows(archive, "target", None)
        n_rows = len(target)
        if not n_rows:
            raise ValueError(f"{file.name} has no rows")
        most = max(1, MAX_VALUES // (n_members * n_outputs))
        index = spread(n_rows, most)
        scores = np.empty((n_members, len(index), n_outputs), np.float32)
        for i, member in enumerate(bundle.members):
            scores[i] = _rows(archive, f"scores/{member.name}", index)
        has_weights = "weights.npy" in archive.namelist()
        given = _rows(archive, "ensemble", index) if "ensemble.npy" in archive.namelist() else None
    target = target[index]
    if bundle.task == "regression":
        target = np.asarray(target, np.float64).reshape(-1, n_outputs)
    elif target.dtype.kind not in "iu" or target.min() < 0 or target.max() >= n_outputs:
        raise ValueError(f"{file.name}: expected class indices below {n_outputs} as the target")
    ensemble = _combined(bundle, scores) if given is None else np.asarray(given, np.float64)
    return Scored(source, n_rows, target, scores, ensemble, has_weights)


def _combined(bundle: Bundle, scores: npt.NDArray[np.float32]) -> Float64Array:
    """Return the ensemble's answers, made in blocks of rows: a combiner takes float64."""
    n_members, n_rows, n_outputs = scores.shape
    step = max(1, _BLOCK_VALUES // (n_members * n_outputs))
    blocks = (scores[:, start : start + step].astype(np.float64) for start in range(0, n_rows, step))
    return np.concatenate([bundle.combiner(block) for block in blocks])


def _rows(archive: zipfile.ZipFile, key: str, index: npt.NDArray[np.int64] | None) -> Array:
    """Return rows of an array of an archive, all of them for None, without holding more than a block beside them.

    An array that is stored column after column is read as a whole.
    """
    with archive.open(f"{key}.npy") as stream:
        shape, is_fortran, dtype = _header(stream)
    if dtype.hasobject or (index is not None and (len(shape) != 2 or index[-1] >= shape[0])):
        raise ValueError(f"{key}: expected numbers (n_rows, n_outputs), got {dtype} of shape {list(shape)}")
    with archive.open(f"{key}.npy") as stream:
        if index is None or is_fortran:
            whole = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
            return whole if index is None else whole[index]
        _header(stream)
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        step = max(1, _READ_BYTES // max(1, row_bytes))
        out = np.empty((len(index), *shape[1:]), dtype)
        for start in range(0, shape[0], step):
            n = min(step, shape[0] - start)
            data = stream.read(n * row_bytes)
            if len(data) != n * row_bytes:
                raise ValueError(f"{key} ends early")
            first, last = np.searchsorted(index, (start, start + n))
            block = np.frombuffer(data, dtype).reshape(n, *shape[1:])
            out[first:last] = block[index[first:last] - start]
    return out


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    return tuple(shape), bool(is_fortran), dtype


def _examples(file: Path) -> Examples:
    with np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}

    def under(side: str) -> dict[str, Array]:
        return {key.removeprefix(f"{side}/"): array for key, array in arrays.items() if key.startswith(f"{side}/")}

    return Examples(arrays["index"], arrays["target"], arrays["ensemble"], under("scores"), under("inputs"))
