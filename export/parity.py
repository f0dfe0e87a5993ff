"""The gate between every converter and the bundle: a graph passes only if it answers as the trained model does.

The trained model and onnxruntime, under the options that serving uses, score the same real rows and probes. One score
over the tolerance, one label that differs without a tie, and the graph is refused: never a mean. The gate is given a
function that asks the trained model and knows nothing about frameworks.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Task
from ..serving.contract.certificate import DEFAULT_TOLERANCES, Certificate, tolerance_of
from ..serving.contract.errors import BundleError
from ..serving.contract.tensors import Array, TensorSpec
from ..serving.engine.runtime import CPU, open_session, ort, resolve_providers
from .member import ConversionError, ParityError
from .probes import Arrays, Thresholds, make_probes

Native = Callable[[Arrays], Array]
"""Tensor name -> rows, to the trained model's own scores `(n_rows, n_outputs)`."""

MAX_ROWS = 2000
"""Real rows compared at most, evenly drawn, and probes of each kind."""

MAX_BYTES = 256 << 20
"""Real rows together take at most this much; large images are compared on fewer rows."""

_LEAST_ROWS = 16

TIE = 1e-6
"""Where the two best scores of the trained model are closer than this, its label is arbitrary."""

_CHUNKS = ((8, 1), (64, 8))
"""The first eight rows run one by one, the next up to row 64 in eights, the rest in `_CHUNK`: batches of any size."""

_CHUNK = 256
_SUM_TOLERANCE = 1e-5
_VACUOUS = 10.0
"""Scores must vary by this many tolerances, or a constant graph would pass."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be proven.

    Attributes:
        inputs: what the graph takes.
        task: classification or regression.
        n_outputs: columns of the scores.
        native: the trained model.
        rows: tensor name -> real rows.
        thresholds: where the trained model branches, as far as known.
        max_rows: real rows, and probes of each kind, at most.
        max_bytes: of those real rows together at most, unless that is less than 16 rows.
    """

    inputs: Sequence[TensorSpec]
    task: Task
    n_outputs: int
    native: Native
    rows: Arrays
    thresholds: Thresholds
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows with the trained model's own scores for them.

    Attributes:
        rows: tensor name -> rows, the real ones first.
        scores: `(n_rows, n_outputs)` float64.
        n_real: how many are real.
    """

    rows: Arrays
    scores: npt.NDArray[np.float64]
    n_real: int


def gather(claim: Claim) -> Evidence:
    """Ask the trained model about real rows and probes, once for all graphs that may be tried.

    Raises:
        ConversionError: the model cannot score the rows, its scores are not what the task says, or they vary so little
            that agreement would prove nothing.
    """
    row_bytes = sum(array[:1].nbytes for array in claim.rows.values())
    most = min(claim.max_rows, max(_LEAST_ROWS, claim.max_bytes // row_bytes))
    real = _drawn_evenly(claim.rows, most)
    parts = [(real, _ask(claim, real, "the rows given"))]
    _check_meaning(claim, parts[0][1])
    for probe in make_probes(claim.inputs, real, claim.thresholds, most):
        try:
            parts.append((probe.rows, _ask(claim, probe.rows, f"probes with {probe.kind}")))
        except ConversionError:
            if not probe.optional:
                raise
    rows = {spec.name: np.concatenate([part[spec.name] for part, _ in parts]) for spec in claim.inputs}
    return Evidence(rows, np.concatenate([scores for _, scores in parts]), len(parts[0][1]))


def prove(graph: bytes, claim: Claim, evidence: Evidence, *, providers: Iterable[str] = ()) -> Certificate:
    """Compare a graph with the evidence, on the CPU and on each further provider.

    Args:
        graph: serialised ONNX model with the inputs of `claim` and one output.
        claim: what it should do.
        evidence: from `gather`.
        providers: execution providers to prove beside the CPU.

    Returns:
        The certificate of the CPU comparison, with the tolerance that every proven provider kept.

    Raises:
        ParityError: a score or a label differs; names the worst row with its values.
        ConversionError: onnxruntime cannot load or run the graph, or its inputs are not the declared ones.
        ConfigurationError: a provider cannot be had here.
    """
    others = [provider for provider in dict.fromkeys(providers) if provider != CPU]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "member.onnx"
        path.write_bytes(graph)
        certificate = _compare(path, claim, evidence, CPU)
        for provider in others:
            _compare(path, claim, evidence, provider)
    proven = {provider: tolerance_of({}, provider) for provider in others}
    return replace(certificate, tolerance=dict(certificate.tolerance) | proven)


def _compare(path: Path, claim: Claim, evidence: Evidence, provider: str) -> Certificate:
    tolerance = tolerance_of({}, provider)
    scores = _run(path, claim, evidence, provider)
    difference = np.abs(scores - evidence.scores)
    relative = difference / np.maximum(_size(claim, evidence), np.abs(evidence.scores))
    # Not "greater than": a NaN difference must fail too.
    over = np.logical_not(np.all(relative <= tolerance, axis=1))
    if over.any():
        _refuse(claim, evidence, scores, over, f"more than {tolerance:g} in {provider}")
    labels = _labels_differ(evidence.scores, scores) if claim.task == "classification" else np.zeros(len(scores), bool)
    if labels.any():
        _refuse(claim, evidence, scores, labels, f"in the label in {provider}")
    return Certificate(
        rows=evidence.n_real,
        probes=len(scores) - evidence.n_real,
        max_abs_diff=float(difference.max()),
        max_rel_diff=float(relative.max()),
        worst_row=int(relative.max(axis=1).argmax()),
        labels_differ=int(labels.sum()),
        versions={"onnx": version("onnx"), "onnxruntime": ort.__version__, "numpy": np.__version__},
    )


def _size(claim: Claim, evidence: Evidence) -> npt.NDArray[np.float64]:
    """Return for each output the size `(n_outputs,)` up to which differences count as absolute: 1 for probabilities.

    A value near zero can be the sum of terms as large as the other values, and carries their rounding errors: a
    regression is measured against the median size of its real scores where that is larger.
    """
    if claim.task == "classification":
        return np.ones(claim.n_outputs)
    return np.asarray(np.maximum(1.0, np.median(np.abs(evidence.scores[: evidence.n_real]), axis=0)))


def _run(path: Path, claim: Claim, evidence: Evidence, provider: str) -> npt.NDArray[np.float64]:
    """Return the graph's scores for all rows of the evidence, in batches of several sizes."""
    try:
        session = open_session(path, providers=resolve_providers([provider]))
    except BundleError as error:
        raise ConversionError(f"the converted graph does not load: {error}") from error
    taken, declared = [node.name for node in session.get_inputs()], [spec.name for spec in claim.inputs]
    if sorted(taken) != sorted(declared):
        raise ConversionError(f"the converted graph takes {taken}, declared are {declared}")
    n_rows = len(evidence.scores)
    parts = []
    for start, stop in _batches(n_rows):
        try:
            part = session.run(None, {name: evidence.rows[name][start:stop] for name in declared})[0]
        except Exception as error:  # onnxruntime raises a different class for each of its own status codes
            raise ConversionError(f"the converted graph fails on rows {start} to {stop - 1}: {error}") from error
        if part.shape != (stop - start, claim.n_outputs):
            raise ConversionError(
                f"the converted graph answers {list(part.shape)} for {stop - start} rows; "
                f"expected {[stop - start, claim.n_outputs]}"
            )
        parts.append(part)
    return np.concatenate(parts).astype(np.float64)


def _batches(n_rows: int) -> Iterable[tuple[int, int]]:
    start = 0
    while start < n_rows:
        size = next((size for until, size in _CHUNKS if start < until), _CHUNK)
        yield start, min(start + size, n_rows)
        start += size


def _ask(claim: Claim, rows: Arrays, what: str) -> npt.NDArray[np.float64]:
    """Return the trained model's scores, checked for shape and finiteness."""
    try:
        with warnings.catch_warnings():
            # Probes are odd on purpose, and a library may warn of the form in which its own rows come back.
            warnings.simplefilter("ignore")
            scores = np.asarray(claim.native(rows), np.float64)
    except Exception as error:  # whatever class the library chose
        raise ConversionError(f"the model itself cannot score {what}: {type(error).__name__}: {error}") from error
    expected = (len(next(iter(rows.values()))), claim.n_outputs)
    if scores.shape != expected:
        raise ConversionError(f"the model itself answers {list(scores.shape)} for {what}; expected {list(expected)}")
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        raise ConversionError(f"the model itself answers {scores[row].tolist()} for {what}, row {row}")
    return scores


def _check_meaning(claim: Claim, scores: npt.NDArray[np.float64]) -> None:
    if claim.task == "classification":
        off = np.abs(scores.sum(axis=1) - 1)
        if (off > _SUM_TOLERANCE).any() or (scores < 0).any():
            row = int(off.argmax())
            raise ConversionError(
                f"the scores are no probabilities: row {row} is {_short(scores[row])}, which sums to "
                f"{scores[row].sum():.6g}. If they are logits, end the model with a softmax (or a sigmoid for one "
                f"column); if the classes are not exclusive, train one binary model a class; if it is a regression, "
                f"say task='regression'"
            )
    spread = (np.ptp(scores, axis=0) / np.maximum(1.0, np.abs(scores).max(axis=0))).max()
    if spread <= _VACUOUS * DEFAULT_TOLERANCES[CPU]:
        raise ConversionError(
            f"the model's scores vary by only {spread:.3g} over the {len(scores)} rows given, so agreement would prove "
            f"nothing. Pass at least two rows that it tells apart, better some hundred of real data; train the model "
            f"first if it is not; scale a regression target of tiny values"
        )


def _labels_differ(native: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    top_two = np.sort(native, axis=1)[:, -2:]
    clear = top_two[:, 1] - top_two[:, 0] >= TIE
    return np.asarray((native.argmax(axis=1) != scores.argmax(axis=1)) & clear)


def _refuse(
    claim: Claim, evidence: Evidence, scores: npt.NDArray[np.float64], rows: npt.NDArray[np.bool_], how: str
) -> None:
    """Raise with the worst of the marked rows."""
    difference = np.nan_to_num(np.abs(scores - evidence.scores).max(axis=1), nan=np.inf)
    row = int(np.where(rows, difference, -1).argmax())
    place = f"row {row}" if row < evidence.n_real else f"probe {row - evidence.n_real}"
    values = ", ".join(f"{spec.name}={_short(evidence.rows[spec.name][row])}" for spec in claim.inputs)
    raise ParityError(
        f"the converted graph is not the model: {int(rows.sum())} of {len(scores)} rows differ {how}. Worst is {place} "
        f"by {difference[row]:.3g}: the model answers {_short(evidence.scores[row])}, the graph {_short(scores[row])} "
        f"for {values}. Way out: train without the part that differs (categories given as numbers: give them as whole "
        f"numbers), or write the model to ONNX another way and pass the path with native="
    )


def _short(values: Array, most: int = 8) -> str:
    flat = np.asarray(values).ravel()
    shown = ", ".join(f"{v:.9g}" if isinstance(v, float | np.floating) else str(v) for v in flat[:most])
    return f"[{shown}{', ...' if flat.size > most else ''}]"


def _drawn_evenly(rows: Arrays, most: int) -> Arrays:
    n_rows = len(next(iter(rows.values())))
    index = np.unique(np.linspace(0, n_rows - 1, min(n_rows, most)).round().astype(np.int64))
    return {name: array[index] for name, array in rows.items()}
