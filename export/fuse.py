"""The whole ensemble as one plain ONNX file that any runtime can serve, without this project.

    bundle -> one graph of members and combiner -> compared with the ensemble itself -> file with its certificate inside

The file is compared under a runtime's default options, since nobody knows which ones it will meet.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from ..serving.contract.bundle import Bundle, read_samples
from ..serving.contract.certificate import DEFAULT_TOLERANCES, Certificate
from ..serving.contract.tensors import Array, TensorSpec, check_rows
from ..serving.engine.ensemble import Ensemble
from ..serving.engine.runtime import CPU, ort
from .agreement import certify
from .batches import Arrays
from .fused_graph import check_size, fused_graph, members_in, outputs_in
from .member import ConversionError

TOLERANCE = DEFAULT_TOLERANCES[CPU]
"""The same kernels compute the same members, so that of a member on the CPU is wide."""


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
    check_size(sum((folder / member.file).stat().st_size for member in held))
    graphs = {member.name: onnx.load(folder / member.file) for member in held}
    finished = fused_graph(ensemble.bundle, graphs, member_scores=member_scores)
    outputs = outputs_in(ensemble.bundle, member_scores=member_scores)
    real = _real(ensemble, read_samples(folder).inputs, rows)
    names = [spec.name for spec in outputs]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as staging:
        file = Path(staging) / path.name
        file.write_bytes(finished.data)
        session = _session(file)
        certificate = certify(
            lambda fed: dict(zip(names, session.run(names, dict(fed)), strict=True)),
            lambda fed: ensemble.predict(fed, names),
            ensemble.bundle,
            real,
            TOLERANCE,
        )
        file.write_bytes(_described(finished.data, ensemble.bundle, certificate))
        _session(file)  # as it will be found
        _publish(file, path)
    return Fused(path, ensemble.bundle.inputs, outputs, certificate)


def _real(ensemble: Ensemble, samples: Arrays, rows: Mapping[str, Array] | None) -> Arrays:
    if rows is None:
        return samples
    check_rows(ensemble.bundle.inputs, rows)
    return {name: np.concatenate([array, rows[name]]) for name, array in samples.items()}


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


def _publish(file: Path, path: Path) -> None:
    with file.open("rb") as written:
        os.fsync(written.fileno())
    file.chmod(0o644)
    file.replace(path)
