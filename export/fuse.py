"""The whole ensemble as one plain ONNX file that any runtime can serve, without this project.

    bundle -> one graph of members and combiner -> compared with the ensemble itself -> file with its certificate inside

The file is compared under a runtime's default options, since nobody knows which ones it will meet.
"""

import itertools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ..serving.contract.bundle import Bundle, read_samples
from ..serving.contract.certificate import DEFAULT_TOLERANCES, Certificate, has_clear_label
from ..serving.contract.tensors import Array, TensorSpec, check_rows
from ..serving.engine.ensemble import Ensemble
from ..serving.engine.runtime import CPU, ort
from .batches import Arrays, only_rows
from .comparison import LEAST_VARIATION, TIE, compare, sizes_of, variation
from .fused_graph import fused_graph, members_in, outputs_in
from .member import ConversionError, ParityError
from .native import ask_each
from .parity import REAL
from .probes import make_probes

MOST_BYTES = (2 << 30) - (1 << 20)
"""An ONNX file is one protobuf message, which ends at 2 GiB; some is left for the combiner."""

TOLERANCE = DEFAULT_TOLERANCES[CPU]
"""The same kernels compute the same members, so that of a member on the CPU is wide."""

_MAX_PROBES = 512
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Fused:
    """A fused ensemble on disk.

    Attributes:
        path: the ONNX file.
        inputs: what it takes, as the bundle does.
        outputs: what it answers.
        certificate: the comparison with the ensemble.
    """

    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    certificate: Certificate


def fuse(
    bundle: str | Path,
    output: str | Path,
    *,
    rows: Mapping[str, Array] | None = None,
    member_scores: bool = False,
) -> Fused:
    """Write a bundle's members and combiner as one ONNX file, proven to answer as the ensemble does.

    The file takes the bundle's inputs by the same names, datatypes and shapes, the first axis `n_rows`, and answers
    `probabilities` and `label`, or `prediction`. Members that the combiner does not use are left out. Its metadata
    holds `widedeep.name`, `widedeep.task`, `widedeep.inputs` and `widedeep.classes` (JSON), `widedeep.digest` of the
    bundle and `widedeep.certificate` (JSON). The same bundle and rows give the same bytes.

    Args:
        bundle: the bundle's folder.
        output: the file; what stands there is replaced, atomically and only once everything is proven.
        rows: input name -> further real rows to compare, beside the bundle's samples and probes made of both.
        member_scores: answer each member's scores too, as `scores/<member>`; then all members are in the file.

    Raises:
        ConversionError: the members cannot stand in one file, or it would be too large; nothing is written.
        ParityError: it answers otherwise than the ensemble; names the row, and nothing is written.
        BundleError: the bundle is damaged or does not load.
        InvalidInput: `rows` are not what the bundle takes.
    """
    folder, path = Path(bundle), Path(output)
    ensemble = Ensemble.load(folder)
    held = [ensemble.bundle.members[i] for i in members_in(ensemble.bundle, member_scores=member_scores)]
    _check_size([(folder / member.file).stat().st_size for member in held])
    graphs = {member.name: onnx.load(folder / member.file) for member in held}
    finished = fused_graph(ensemble.bundle, graphs, member_scores=member_scores)
    outputs = outputs_in(ensemble.bundle, member_scores=member_scores)
    batches = _gather(ensemble, _real(ensemble, read_samples(folder).inputs, rows), [spec.name for spec in outputs])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as staging:
        file = Path(staging) / path.name
        file.write_bytes(finished.data)
        certificate = _prove(_session(file), ensemble, batches)
        file.write_bytes(_described(finished.data, ensemble.bundle, certificate))
        _session(file)  # as it will be found
        _publish(file, path)
    return Fused(path, ensemble.bundle.inputs, outputs, certificate)


def _real(ensemble: Ensemble, samples: Arrays, rows: Mapping[str, Array] | None) -> Arrays:
    if rows is None:
        return samples
    check_rows(ensemble.bundle.inputs, rows)
    return {name: np.concatenate([array, rows[name]]) for name, array in samples.items()}


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one kind with the ensemble's answers by output."""

    kind: str
    rows: Arrays
    answers: Mapping[str, Array]


def _gather(ensemble: Ensemble, real: Arrays, outputs: Sequence[str]) -> list[_Batch]:
    """Ask the ensemble about real rows, the first batch, and probes; rows without a finite answer are left out."""
    first, n_outputs = outputs[0], ensemble.bundle.n_outputs
    batches = [_Batch(REAL, real, ensemble.predict(real, outputs))]
    for probe in make_probes(ensemble.bundle.inputs, real, thresholds={}, max_rows=_MAX_PROBES):
        # Where the ensemble has no finite answer there is nothing to hold the file to.
        known, _ = ask_each(
            lambda rows: ensemble.predict(rows, [first])[first], replace(probe, optional=True), n_outputs
        )
        if not known.any():
            continue
        rows = only_rows(probe.rows, known)
        answers = ensemble.predict(rows, outputs)
        # A member that the combiner does not use may have no answer of its own.
        finite = np.all([np.isfinite(answers[name]).all(axis=1) for name in outputs if name != "label"], axis=0)
        if finite.any():
            batches.append(_Batch(probe.kind, only_rows(rows, finite), only_rows(answers, finite)))
    scores = np.concatenate([batch.answers[first] for batch in batches])
    if variation(scores) <= LEAST_VARIATION:
        raise ConversionError(
            f"the ensemble's answers hardly vary over {len(scores)} rows and probes, so agreement would prove nothing; "
            f"pass rows=... that it tells apart"
        )
    return batches


def _prove(session: Any, ensemble: Ensemble, batches: Sequence[_Batch]) -> Certificate:
    """Compare the file's answers with the ensemble's; the first row alone, the others in larger batches."""
    task, first = ensemble.bundle.task, batches[0].answers
    sizes = {name: sizes_of(scores, task) for name, scores in first.items() if name != "label"}
    kinds: dict[str, int] = {}
    n_rows, most_absolute, most_relative, worst = 0, 0.0, -1.0, (0, "")
    for batch in batches:
        actual = _answers(session, batch)
        for name, size in sizes.items():
            found = compare(batch.answers[name], actual[name], task=task, tolerance=TOLERANCE, sizes=size)
            differs = found.is_over
            if name == "probabilities":
                other = (actual["label"] != batch.answers["label"])[:, 0]
                differs = differs | (other & has_clear_label(batch.answers[name], TIE))
            row = int(np.where(differs, np.inf, found.relative).argmax())
            if differs.any():
                raise ParityError(_refusal(name, batch, actual, row, int(differs.sum())))
            most_absolute = max(most_absolute, float(found.absolute.max()))
            if found.relative[row] > most_relative:
                most_relative, worst = float(found.relative[row]), (n_rows + row, batch.kind)
        n_rows += len(actual[name])
        kinds[batch.kind] = kinds.get(batch.kind, 0) + len(actual[name])
    return Certificate(
        rows=kinds.pop(batches[0].kind),
        probes=sum(kinds.values()),
        max_abs_diff=most_absolute,
        max_rel_diff=most_relative,
        worst_row=worst[0],
        labels_differ=0,
        tolerance={CPU: TOLERANCE},
        versions={"onnx": version("onnx"), "onnxruntime": ort.__version__, "numpy": np.__version__},
        sizes=next(iter(sizes.values())),
        worst_kind=worst[1],
        kinds=kinds,
    )


def _answers(session: Any, batch: _Batch) -> dict[str, Array]:
    names = list(batch.answers)
    n_rows = len(batch.answers[names[0]])
    parts = []
    for start, stop in itertools.pairwise(sorted({0, 1, *range(_CHUNK, n_rows, _CHUNK), n_rows})):
        try:
            parts.append(session.run(names, {name: array[start:stop] for name, array in batch.rows.items()}))
        except Exception as error:  # onnxruntime raises a different class for each of its own status codes
            raise ConversionError(f"the fused graph fails on {batch.kind}: {error}") from error
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _refusal(name: str, batch: _Batch, actual: Mapping[str, Array], row: int, n_differ: int) -> str:
    values = "; ".join(f"{key}={array[row].ravel()[:8].tolist()}" for key, array in batch.rows.items())
    return (
        f"the fused graph is not the ensemble: {n_differ} of {len(actual[name])} rows of a kind ({batch.kind}) differ "
        f"in {name!r} by more than {TOLERANCE:g} or in the label. Row {row}: the ensemble answers "
        f"{batch.answers[name][row].tolist()}, the graph {actual[name][row].tolist()}, for {values}"
    )


def _session(file: Path) -> Any:
    """Open the file as any user of onnxruntime would, all options at their defaults."""
    try:
        return ort.InferenceSession(str(file), providers=[CPU])
    except Exception as error:  # onnxruntime raises a different class for each of its own status codes
        raise ConversionError(f"the fused graph does not load: {error}") from error


def _described(data: bytes, bundle: Bundle, certificate: Certificate) -> bytes:
    model = ModelProto.FromString(data)
    facts = {
        "name": bundle.name,
        "task": bundle.task,
        "digest": bundle.digest,
        "inputs": json.dumps([spec.to_json() for spec in bundle.inputs]),
        "classes": json.dumps(list(bundle.classes)),
        "certificate": json.dumps(certificate.to_json()),
    }
    onnx.helper.set_model_props(model, {f"widedeep.{key}": value for key, value in facts.items()})
    return model.SerializeToString(deterministic=True)


def _check_size(sizes: Sequence[int]) -> None:
    if (total := sum(sizes)) > MOST_BYTES:
        raise ConversionError(
            f"the members together take {total / 2**30:.2f} GiB, and an ONNX file without external data ends at 2 GiB; "
            f"serve the bundle itself"
        )


def _publish(file: Path, path: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.chmod(0o644)
    file.replace(path)
