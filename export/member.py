"""What every converter returns: one ONNX graph, its declared inputs and the proof that it answers as the model did.

Holds no training library's object and knows no framework; the bundle is assembled elsewhere.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..serving.contract.bundle import MemberSpec, Task
from ..serving.contract.certificate import Certificate
from ..serving.contract.errors import WidedeepError
from ..serving.contract.quantization import Quantization
from ..serving.contract.tensors import TensorSpec

Classes = tuple[str, ...] | tuple[int, ...]


class ConversionError(WidedeepError):
    """A model cannot be converted faithfully; the message gives the reason and the way out.

    Belongs to the tree in `serving.contract.errors`, next to the bundle's own error: nothing is wrong with a request.
    """

    status = "FAILED_PRECONDITION"


class ParityError(ConversionError):
    """A converted graph runs but does not answer as the trained model does; the message names the worst row."""


@dataclass(frozen=True, slots=True)
class Member:
    """A converted model whose parity is proven.

    Attributes:
        graph: serialised ONNX model; its one output `scores` is FP32 `(n_rows, n_outputs)`.
        inputs: what the graph takes, by the same names, datatypes and shapes.
        task: "classification" (scores are probabilities, a binary one's as two columns) or "regression".
        classes: labels in score order, all `str` or all `int`; empty for a regression.
        n_outputs: columns of the scores.
        source: `framework`, `version` and `class` of the trained model.
        opset: ONNX domain -> version.
        certificate: what was compared and how large the differences were.
        quantization: what its int8 graph costs; the certificate is then that of the float32 graph it was made from.
    """

    graph: bytes
    inputs: tuple[TensorSpec, ...]
    task: Task
    classes: Classes
    n_outputs: int
    source: Mapping[str, str]
    opset: Mapping[str, int]
    certificate: Certificate
    quantization: Quantization | None = None

    def save(self, path: str | Path) -> Path:
        """Write the graph to `path`, atomically: readers see the old file or the whole new one."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.graph)
                file.flush()
                os.fsync(file.fileno())
            Path(staging).chmod(0o644)
            Path(staging).replace(path)
        except BaseException:
            Path(staging).unlink(missing_ok=True)
            raise
        return path

    def spec(self, name: str) -> MemberSpec:
        """Return the bundle's declaration of this member under `name`."""
        return MemberSpec(
            name=name,
            inputs=tuple(spec.name for spec in self.inputs),
            source=self.source,
            opset=self.opset,
            certificate=self.certificate,
            quantization=self.quantization,
        )
