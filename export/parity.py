"""The gate between every converter and the bundle: a graph passes only if it answers as the trained model does.

The trained model and onnxruntime, under the options that serving uses, score the same real rows and probes. One score
over the tolerance, one label that differs without a tie, and the graph is refused: never a mean. The gate is given a
function that asks the trained model and knows nothing about frameworks. Where there are many probes, they are made anew
for every graph that is tried and only the scores are kept.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Task
from ..serving.contract.certificate import Certificate, tolerance_of
from ..serving.contract.tensors import Array, TensorSpec
from ..serving.engine.runtime import CPU, ort
from .batches import Arrays, Probe, batched, joined, only_rows, spread
from .comparison import LEAST_VARIATION, compare, sizes_of, variation
from .member import ConversionError, ParityError
from .native import MAX_SCORE, Native, ask, ask_each
from .probes import EXTREMES, Bases, ByColumn, make_probes, mixed
from .runs import open_graph, score
from .worst import Batch, Worst, shortened

__all__ = ["MAX_BYTES", "MAX_ROWS", "REAL", "Claim", "Evidence", "Locate", "Native", "gather", "prove"]

MAX_ROWS = 2000
"""Real rows compared at most, evenly drawn; how many probes there are of each kind follows from it."""

MAX_BYTES = 256 << 20
"""Real rows together take at most this much; large images are compared on fewer rows."""

KEPT_BYTES = 64 << 20
"""Probes that together take no more are kept, others are made anew for every graph."""

REAL = "a real row"

_MIXED, _IN_DOUBT = 2000, 200

_LEAST_ROWS = 16
_SUM_TOLERANCE = 1e-5

Reach = Callable[[Sequence[TensorSpec], Bases, int], Iterable[Probe]]
"""Inputs, rows of them to change, and how many are worth asking about, to more probes of what is known of the model."""

Locate = Callable[[Mapping[str, Array], bytes], str | None]
"""One row and the graph that answers it differently, to where they part in words."""


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
        max_rows: real rows, and probes of most kinds, at most.
        max_bytes: of those real rows together at most, unless that is less than 16 rows.
        categories: numbers that stand for categories, as far as known.
        reach: further probes.
        locate: where a row's answers part.
        rounding: tolerance of a model whose own answers rounding moves by more than that of a provider; see `Trained`.
    """

    inputs: Sequence[TensorSpec]
    task: Task
    n_outputs: int
    native: Native
    rows: Arrays
    thresholds: ByColumn = field(default_factory=dict)
    max_rows: int = MAX_ROWS
    max_bytes: int = MAX_BYTES
    categories: ByColumn = field(default_factory=dict)
    reach: Reach | None = None
    locate: Locate | None = None
    rounding: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """The trained model's own scores for real rows and probes, which are made anew whenever they are needed.

    Attributes:
        real: the real rows.
        probes: makes the same probes each time.
        answers: for each of them which rows have an answer, and the answers, `(n_answers, n_outputs)` float64.
        sizes: of the scores of the real rows, see `sizes_of`.
        coverage: what the model branches at -> how many of it were probed, of how many.
        kept: the probes themselves where they are few, else None.
    """

    real: Batch
    probes: Callable[[], Iterator[Probe]]
    answers: Sequence[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]]
    sizes: tuple[float, ...]
    coverage: Mapping[str, tuple[int, int]]
    kept: Sequence[Probe] | None = None

    def __iter__(self) -> Iterator[Batch]:
        """Yield the real rows, then all probes that the trained model has answered."""
        yield self.real
        probes = self.probes() if self.kept is None else self.kept
        for probe, (has_answer, scores) in zip(probes, self.answers, strict=True):
            if has_answer.all():
                yield Batch(probe.kind, probe.rows, scores)
            elif has_answer.any():
                yield Batch(probe.kind, only_rows(probe.rows, has_answer), scores)

    @property
    def left_out(self) -> int:
        """Probes without an answer."""
        return sum(int((~has_answer).sum()) for has_answer, _ in self.answers)


def gather(claim: Claim) -> Evidence:
    """Ask the trained model about real rows and probes, once for all graphs that may be tried.

    Raises:
        ConversionError: the model cannot score the rows, its scores are not what the task says, or they vary so little
            that agreement would prove nothing.
    """
    row_bytes = sum(array[:1].nbytes for array in claim.rows.values())
    most = min(claim.max_rows, max(_LEAST_ROWS, claim.max_bytes // row_bytes))
    real = _drawn_evenly(claim, most)
    scores = ask(claim.native, real, claim.n_outputs, "the rows given")
    _check_meaning(claim, scores)
    bases = None if claim.reach is None else _bases(claim, real, scores)

    def probes() -> Iterator[Probe]:
        yield from make_probes(
            claim.inputs, real, thresholds=claim.thresholds, categories=claim.categories, max_rows=most
        )
        if claim.reach is not None and bases is not None:
            yield from claim.reach(claim.inputs, bases, most)

    answers, coverage = [], dict[str, tuple[int, int]]()
    kept: list[Probe] = []
    kept_bytes = 0
    for probe in probes():
        coverage.update(probe.coverage)
        answers.append(ask_each(claim.native, probe, claim.n_outputs))
        kept_bytes += sum(array.nbytes for array in probe.rows.values())
        if kept_bytes <= KEPT_BYTES:
            kept.append(probe)
    few = kept if kept_bytes <= KEPT_BYTES else None
    return Evidence(Batch(REAL, real, scores), probes, answers, sizes_of(scores, claim.task), coverage, few)


def prove(graph: bytes, claim: Claim, evidence: Evidence, *, providers: Iterable[str] = ()) -> Certificate:
    """Compare a graph with the evidence, on the CPU and on each further provider.

    Args:
        graph: serialised ONNX model with the inputs of `claim` and one FP32 output.
        claim: what it should do.
        evidence: from `gather`.
        providers: execution providers to prove beside the CPU.

    Returns:
        The certificate of the CPU comparison, with the tolerance that every proven provider kept.

    Raises:
        ParityError: a score or a label differs; names the worst row with its values.
        ConversionError: the graph is not valid ONNX, onnxruntime cannot load or run it, or its inputs and its output
            are not the declared ones.
        ConfigurationError: a provider cannot be had here.
    """
    others = [provider for provider in dict.fromkeys(providers) if provider != CPU]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "member.onnx"
        path.write_bytes(graph)
        certificate = _compare(path, claim, evidence, CPU)
        for provider in others:
            _compare(path, claim, evidence, provider)
    providers = dict.fromkeys([*certificate.tolerance, *others])
    return replace(certificate, tolerance={provider: _tolerance(claim, provider) for provider in providers})


def _tolerance(claim: Claim, provider: str) -> float:
    return max(tolerance_of({}, provider), claim.rounding)


def _compare(path: Path, claim: Claim, evidence: Evidence, provider: str) -> Certificate:
    """Return the certificate of one provider."""
    tolerance = _tolerance(claim, provider)
    session = open_graph(path, claim.inputs, provider)
    worst, kinds, n_rows, overflowed = Worst(), dict[str, int](), 0, 0
    for asked in evidence:
        # The real rows run in batches of every size, the probes in large ones.
        answered = score(session, asked.rows, claim.n_outputs, small_batches=n_rows == 0)
        batch, scores = _without_overflow(asked, answered)
        overflowed += len(answered) - len(scores)
        if len(scores):
            found = compare(batch.scores, scores, task=claim.task, tolerance=tolerance, sizes=evidence.sizes)
            worst.add(found, batch, scores, n_rows)
            n_rows += len(scores)
            kinds[batch.kind] = kinds.get(batch.kind, 0) + len(scores)
    if worst.n_differ:
        parted = _parted(claim, worst.rows, path.read_bytes())
        raise ParityError(worst.refusal(claim.inputs, kinds[REAL], f"{tolerance:g} in {provider}", parted))
    return Certificate(
        rows=kinds.pop(REAL),
        probes=sum(kinds.values()),
        max_abs_diff=worst.max_absolute,
        max_rel_diff=worst.max_relative,
        worst_row=worst.row,
        labels_differ=worst.n_labels,
        versions={"onnx": version("onnx"), "onnxruntime": ort.__version__, "numpy": np.__version__},
        sizes=evidence.sizes,
        worst_kind=worst.kind,
        kinds=kinds,
        left_out=evidence.left_out,
        overflowed=overflowed,
        coverage=evidence.coverage,
    )


def _without_overflow(batch: Batch, scores: npt.NDArray[np.float64]) -> tuple[Batch, npt.NDArray[np.float64]]:
    """Leave out rows at the ends of a datatype's range where the graph's arithmetic overflows.

    Serving refuses a row without a finite score, so that nobody is told a wrong one.
    """
    is_finite = np.asarray(np.isfinite(scores).all(axis=1))
    if batch.kind != EXTREMES or is_finite.all():
        return batch, scores
    return batch.only(is_finite), scores[is_finite]


def _parted(claim: Claim, row: Arrays, graph: bytes) -> str | None:
    if claim.locate is None:
        return None
    try:
        return claim.locate(row, graph)
    except Exception:  # a search for the cause must not hide what it was to explain
        return None


def _check_meaning(claim: Claim, scores: npt.NDArray[np.float64]) -> None:
    if claim.task == "classification":
        off = np.abs(scores.sum(axis=1) - 1)
        if (off > _SUM_TOLERANCE).any() or (scores < 0).any():
            row = int(off.argmax())
            raise ConversionError(
                f"the scores are no probabilities: row {row} is {shortened(scores[row])}, which sums to "
                f"{scores[row].sum():.6g}. If they are logits, end the model with a softmax (or a sigmoid for one "
                f"column); if the classes are not exclusive, train one binary model a class; if it is a regression, "
                f"say task='regression'"
            )
    elif (np.abs(scores) > MAX_SCORE).any():
        raise ConversionError(
            f"the model answers {np.abs(scores).max():.3g}, and scores are served in FP32, which ends at "
            f"{MAX_SCORE:.3g}; scale the target"
        )
    if (varies := variation(scores)) <= LEAST_VARIATION:
        raise ConversionError(
            f"the model's scores vary by only {varies:.3g} over the {len(scores)} rows given, so agreement would prove "
            f"nothing. Pass at least two rows that it tells apart, better some hundred of real data; train the model "
            f"first if it is not; scale a regression target of tiny values"
        )


def _bases(claim: Claim, real: Arrays, scores: npt.NDArray[np.float64]) -> Bases:
    """Return the real rows and, of a classifier, mixtures of them on which it is in doubt: more than of its own."""
    if claim.task == "regression":
        return Bases(real, np.zeros(len(scores)))
    parts, doubts = [real], [1 - scores.max(axis=1)]
    for probe in batched("values of several rows", mixed(real, _MIXED, np.random.default_rng(1)), optional=True):
        has_answer, answers = ask_each(claim.native, probe, claim.n_outputs)
        doubt = 1 - answers.max(axis=1)
        best = np.sort(np.argsort(-doubt, kind="stable")[:_IN_DOUBT])
        parts.append(only_rows(only_rows(probe.rows, has_answer), best))
        doubts.append(doubt[best])
    return Bases(joined(parts), np.concatenate(doubts))


def _drawn_evenly(claim: Claim, most: int) -> dict[str, Array]:
    index = spread(len(next(iter(claim.rows.values()))), most)
    return {spec.name: np.ascontiguousarray(claim.rows[spec.name][index]) for spec in claim.inputs}
