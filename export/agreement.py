"""The gate for fused graphs: one passes only if it answers as the ensemble does, output by output.

Real rows and probes go to both sides in the same batches: one row alone, a few, many. What runs the members and what
runs all in one are only functions here.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np

from ..serving.contract.bundle import Bundle, Task
from ..serving.contract.certificate import Certificate, has_clear_label
from ..serving.contract.tensors import Array
from ..serving.engine.runtime import CPU, ort
from .batches import Arrays, Probe, only_rows
from .comparison import LEAST_VARIATION, TIE, compare, sizes_of, variation
from .member import ConversionError, ParityError
from .native import ask_each
from .parity import REAL
from .probes import make_probes
from .worst import shortened

Answers = Mapping[str, Array]
"""Output -> `(n_rows, n)`: first the ensemble's own answer, then others; "label" holds classes, all others scores."""

Answer = Callable[[Arrays], Answers]
"""Tensor name -> rows, to what one side answers."""

LABEL = "label"

_MAX_PROBES = 512
_FEW, _MANY = 8, 256


def certify(fused: Answer, ensemble: Answer, bundle: Bundle, real: Arrays, tolerance: float) -> Certificate:
    """Return the proof that a fused graph answers as the ensemble does.

    Rows to which the ensemble has no finite answer hold the graph to nothing and are left out.

    Args:
        fused: runs the graph; it may answer more than is asked for here.
        ensemble: runs members and combiner; every one of its outputs is compared.
        bundle: whose task and inputs apply.
        real: tensor name -> real rows, of the inputs that both sides take. Probes are made of them.
        tolerance: largest difference of a score, by the rule of `relative_difference`.

    Raises:
        ParityError: a score or a label differs; names the output and a row.
        ConversionError: the graph fails, or the ensemble's answers vary so little that agreement would prove nothing.
    """
    inputs = [spec for spec in bundle.inputs if spec.name in real]
    probes = make_probes(inputs, real, thresholds={}, max_rows=_MAX_PROBES)
    batches = (
        batch
        for probe in itertools.chain([Probe(REAL, real)], probes)
        if (batch := _answered(ensemble, probe, bundle.n_outputs))
    )
    found: _Found | None = None
    firsts = []
    for batch in batches:
        found = found or _Found(bundle.task, tolerance, batch)
        found.add(batch, _from_graph(fused, batch))
        firsts.append(next(iter(batch.answers.values())))
    if found is None or variation(np.concatenate(firsts)) <= LEAST_VARIATION:
        raise ConversionError(
            f"the ensemble's answers hardly vary over {sum(map(len, firsts))} rows and probes, so agreement would "
            f"prove nothing; pass rows=... that it tells apart"
        )
    return found.certificate()


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one kind with the ensemble's answers."""

    kind: str
    rows: Arrays
    answers: Answers


class _Found:
    """What comparing batch after batch has found so far; the sizes of scores are those of the first."""

    def __init__(self, task: Task, tolerance: float, first: _Batch) -> None:
        self._task: Task = task
        self._tolerance = tolerance
        self._sizes = {name: sizes_of(scores, task) for name, scores in first.answers.items() if name != LABEL}
        self._kinds: dict[str, int] = {}
        self._n_rows = 0
        self._most_absolute, self._most_relative = 0.0, -1.0
        self._worst_row, self._worst_kind = 0, ""

    def add(self, batch: _Batch, actual: Answers) -> None:
        """Compare a batch with what the graph answers.

        Raises:
            ParityError: a score or a label differs.
        """
        for name, sizes in self._sizes.items():
            expected = batch.answers[name]
            found = compare(expected, actual[name], task=self._task, tolerance=self._tolerance, sizes=sizes)
            differs = found.is_over
            if name == next(iter(self._sizes)) and LABEL in batch.answers:
                other = (actual[LABEL] != batch.answers[LABEL])[:, 0]
                differs = differs | (other & has_clear_label(expected, TIE))
            if differs.any():
                raise ParityError(_refusal(name, batch, actual[name], differs, self._tolerance))
            row = int(found.relative.argmax())
            self._most_absolute = max(self._most_absolute, float(found.absolute.max()))
            if found.relative[row] > self._most_relative:
                self._most_relative = float(found.relative[row])
                self._worst_row, self._worst_kind = self._n_rows + row, batch.kind
        n_rows = len(next(iter(batch.rows.values())))
        self._n_rows += n_rows
        self._kinds[batch.kind] = self._kinds.get(batch.kind, 0) + n_rows

    def certificate(self) -> Certificate:
        """Return what was compared."""
        probes = {kind: n_rows for kind, n_rows in self._kinds.items() if kind != REAL}
        return Certificate(
            rows=self._kinds.get(REAL, 0),
            probes=sum(probes.values()),
            max_abs_diff=self._most_absolute,
            max_rel_diff=self._most_relative,
            worst_row=self._worst_row,
            labels_differ=0,
            tolerance={CPU: self._tolerance},
            versions={"onnx": version("onnx"), "onnxruntime": ort.__version__, "numpy": np.__version__},
            sizes=next(iter(self._sizes.values())),
            worst_kind=self._worst_kind,
            kinds=probes,
        )


def _answered(ensemble: Answer, probe: Probe, n_outputs: int) -> _Batch | None:
    """Ask the ensemble about rows of one kind and keep those that it has finite answers to, None if to no row."""
    asked = replace(probe, optional=True)
    known, _ = ask_each(lambda rows: next(iter(_in_batches(ensemble, rows).values())), asked, n_outputs)
    if not known.any():
        return None
    rows = only_rows(probe.rows, known)
    answers = _in_batches(ensemble, rows)
    # A member that the combiner does not use may have no answer of its own.
    finite = np.all([np.isfinite(answers[name]).all(axis=1) for name in answers if name != LABEL], axis=0)
    if not finite.any():
        return None
    return _Batch(probe.kind, only_rows(rows, finite), only_rows(answers, finite))


def _from_graph(fused: Answer, batch: _Batch) -> Answers:
    try:
        return _in_batches(fused, batch.rows)
    except Exception as error:  # onnxruntime raises a different class for each of its own status codes
        raise ConversionError(f"the fused graph fails on {batch.kind}: {error}") from error


def _in_batches(answer: Answer, rows: Arrays) -> dict[str, Array]:
    """Return the answers to all rows, asked for one row, then a few, then many at a time."""
    n_rows = len(next(iter(rows.values())))
    edges = sorted({0, n_rows, *(edge for edge in (1, _FEW, *range(_MANY, n_rows, _MANY)) if edge < n_rows)})
    parts = [
        answer({name: array[start:stop] for name, array in rows.items()}) for start, stop in itertools.pairwise(edges)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _refusal(name: str, batch: _Batch, actual: Array, differs: Array, tolerance: float) -> str:
    row = int(differs.argmax())
    values = "; ".join(f"{key}={shortened(array[row])}" for key, array in batch.rows.items())
    return (
        f"the fused graph is not the ensemble: {int(differs.sum())} of {len(differs)} rows of a kind ({batch.kind}) "
        f"differ in {name!r} by more than {tolerance:g} or in the label. Row {row}: the ensemble answers "
        f"{batch.answers[name][row].tolist()}, the graph {actual[row].tolist()}, for {values}"
    )
