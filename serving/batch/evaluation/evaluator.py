"""Evaluates the rows of a job: counts each scored batch into a tally, and makes the report of the merged tally."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...contract.bundle import BUNDLE_FILE, Bundle, read_description
from ...contract.errors import ConfigurationError
from ...contract.histograms import Histograms, read_histograms
from ...contract.tensors import Array, TensorSpec
from ...engine.outputs import SCORES
from ..scorer import Scorer
from ..spec import JobSpec
from .classification import Classification
from .drift import Drift
from .intervals import LEVEL
from .measure import Measure
from .moments import Floats, Moments
from .regression import Regression
from .tally import Slices, Tally, kept, places
from .truth import UNKNOWN, UNLABELLED, check_slice_type, distinct

_ENSEMBLE = ""
"""Its name among the predictors: one that no member can have."""

MISSING = "(missing)"
_MAX_VALUE_TEXT = 100
"""Values of a slice column are told apart by so many characters."""


class Evaluator:
    """Counts rows and reports. Immutable; any number of threads may use it at once, each with a tally of its own."""

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        *,
        classes: Sequence[str] | Sequence[int] = (),
        label: str,
        slices: Sequence[str] = (),
        histograms: Histograms | None = None,
    ) -> None:
        """Prepare the evaluation.

        Args:
            inputs: what the bundle takes.
            outputs: what it answers, every member's scores included.
            classes: of a classification, in score order.
            label: column with the truth.
            slices: columns by whose values the metrics are told apart.
            histograms: what the inputs are compared with, None if the bundle has none.

        Raises:
            ConfigurationError: the ensemble's output is not there, or of classes that are not known.
        """
        sizes = {spec.name: spec.row_shape[0] for spec in outputs}
        if not (ensemble := [name for name in ("prediction", "probabilities") if name in sizes]):
            raise ConfigurationError(
                f"expected an output `probabilities` or `prediction` to evaluate, got {list(sizes)}"
            )
        self._ensemble = ensemble[0]
        self._members = tuple(name for name in sizes if name.startswith(SCORES))
        self._label = label
        self._slices = tuple(dict.fromkeys(slices))
        self._drift = None if histograms is None else Drift(inputs, histograms)
        predictors = [_ENSEMBLE, *(name.removeprefix(SCORES) for name in self._members)]
        n_outputs = sizes[self._ensemble]
        self._measure: Measure
        if self._ensemble == "prediction":
            self._measure = Regression(predictors, n_outputs)
        elif len(classes) == n_outputs:
            self._measure = Classification(predictors, tuple(map(str, classes)))
        else:
            raise ConfigurationError(f"{n_outputs} probabilities of {len(classes)} classes cannot be evaluated")

    @classmethod
    def of_bundle(
        cls, bundle: Bundle, *, label: str, slices: Sequence[str] = (), histograms: Histograms | None = None
    ) -> "Evaluator":
        """Return the evaluator of a bundle's rows."""
        outputs = (*bundle.outputs, *bundle.score_outputs)
        return cls(bundle.inputs, outputs, classes=bundle.classes, label=label, slices=slices, histograms=histograms)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs that `add_batch` needs."""
        return self._ensemble, *self._members

    def check_schema(self, schema: Any) -> None:
        """Refuse rows of a `pyarrow.Schema` that cannot be evaluated.

        Raises:
            ConfigurationError: a column is not there or of a type that does not fit; names it.
        """
        for name in (self._label, *self._slices):
            if name not in schema.names:
                raise ConfigurationError(f"there is no column {name!r} to evaluate by; there are {schema.names}")
        self._measure.check_type(self._label, schema.field(self._label).type)
        for name in self._slices:
            check_slice_type(name, schema.field(name).type)

    def tally(self) -> Tally:
        """Return a tally of no rows."""
        return Tally()

    def add_batch(self, tally: Tally, batch: Any, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        """Count scored rows.

        Args:
            tally: what they are added to.
            batch: their `pyarrow.RecordBatch`, with the columns of the label and the slices.
            inputs: their tensors.
            outputs: their answers, of every name in `outputs`.
        """
        found = Tally()
        answers = [outputs[name] for name in self.outputs]
        labels = self._measure.labels(batch.column(self._label))
        has_truth = labels.status == 0
        if not has_truth.all():
            answers = [answer[has_truth] for answer in answers]
        columns = self._measure.count(found, labels.truth, answers)
        found.moments["rows"] = Moments.of(columns)
        for name in self._slices:
            found.slices[name] = _sliced(batch.column(name), has_truth, columns)
        found.counts["labels"] = np.array([np.count_nonzero(labels.status == kind) for kind in _KINDS], np.int64)
        found.add_labels([text[:_MAX_VALUE_TEXT] for text in labels.unknown])
        if self._drift is not None:
            found.counts |= self._drift.count(inputs)
        tally.merge(found)

    def report(self, tally: Tally) -> dict[str, Any]:
        """Return what was found, as JSON; see `describe` for people."""
        labels = tally.counts.get("labels", np.zeros(len(_KINDS), np.int64))
        n_evaluated, n_unlabelled, n_unknown = map(int, labels)
        out: dict[str, Any] = {
            "label": self._label,
            "task": self._measure.task,
            "level": LEVEL,
            "n_rows": int(labels.sum()),
            "n_evaluated": n_evaluated,
            "n_unlabelled": n_unlabelled,
            "n_unknown_label": n_unknown,
            "unknown_labels": list(tally.unknown_labels),
        }
        if n_evaluated:
            summary = self._measure.summary(tally.moments["rows"])
            further, sections = self._measure.details(tally)
            everyone = {name: {**further[name], **metrics} for name, metrics in summary.items()}
            out |= {"ensemble": everyone.pop(_ENSEMBLE), "members": everyone, **sections}
            out["slices"] = {name: self._slice_report(part) for name, part in tally.slices.items()}
        out["drift"] = {"available": False} if self._drift is None else self._drift.report(tally.counts)
        return out

    def _slice_report(self, slices: Slices) -> list[dict[str, Any]]:
        """Return the metrics of each value's rows, the most frequent value first."""
        rows = []
        for i in np.argsort(-slices.moments.n, kind="stable"):
            summary = self._measure.summary(slices.moments, int(i))
            one = {"value": slices.values[i], "n": int(slices.moments.n[i]), "ensemble": summary.pop(_ENSEMBLE)}
            rows.append({**one, "members": summary})
        return rows


_KINDS = (0, UNLABELLED, UNKNOWN)


def evaluator_of(spec: JobSpec, bundle: str, scorer: Scorer | None = None) -> Evaluator | None:
    """Return the evaluator of a job's rows, None where the job has none.

    Args:
        spec: the job.
        bundle: the bundle's folder. Where a server scores and its bundle does not lie there, drift is not told.
        scorer: what the server says of itself; needed in that case alone.

    Raises:
        BundleError: the bundle, or its histograms, are damaged.
        ConfigurationError: the columns of label and slices do not fit, or the server tells no classes.
    """
    if not spec.label:
        return None
    folder = Path(bundle)
    if not spec.server or ((folder / BUNDLE_FILE).is_file() and read_description(folder).digest == spec.digest):
        described = read_description(folder)
        histograms = read_histograms(folder, described)
        evaluator = Evaluator.of_bundle(described, label=spec.label, slices=spec.slices, histograms=histograms)
    elif scorer is not None:
        evaluator = Evaluator(
            scorer.inputs, scorer.outputs, classes=scorer.classes, label=spec.label, slices=spec.slices
        )
    else:
        raise ConfigurationError(f"{bundle} is not the bundle that the server scores with; nothing tells its classes")
    evaluator.check_schema(spec.input.schema)
    return evaluator


def _sliced(column: Any, has_truth: Array, columns: Floats) -> Slices:
    """Return the moments of the rows that have a truth, by their values of a slice column."""
    codes, cells = distinct(column.filter(pa.array(has_truth)) if not has_truth.all() else column)
    present = np.unique(codes)
    texts = [MISSING if cells[i] is None else str(cells[i])[:_MAX_VALUE_TEXT] for i in present]
    values = kept(set(texts))
    groups = np.zeros(len(cells), np.int64)
    groups[present] = places(texts, values)
    return Slices(values, Moments.of(columns, groups[codes], len(values)))
