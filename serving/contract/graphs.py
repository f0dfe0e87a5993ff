"""The graphs of a bundle as it declares them: one a member, and maybe one of members and combiner together.

What `bundle.json` says of each; the files themselves are the bundle's and the engine's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .certificate import Certificate, tolerance_of
from .errors import BundleError
from .quantization import Quantization

FUSED_FILE = "fused.onnx"


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One member as the bundle declares it.

    Attributes:
        name: unique in the bundle; its scores are served as the output `scores/<name>`.
        inputs: names of the bundle inputs that its graph takes.
        source: where it came from: `framework`, `version`, `class`.
        opset: ONNX domain -> version.
        certificate: proof of parity with the trained model.
        sha256: digest of its file, filled in when the bundle is written.
        quantization: what its int8 graph costs; None for a graph that computes as the trained model does.
    """

    name: str
    inputs: tuple[str, ...]
    source: Mapping[str, str]
    opset: Mapping[str, int]
    certificate: Certificate
    sha256: str = ""
    quantization: Quantization | None = None

    def tolerance(self, provider: str) -> float:
        """Return the largest difference of a golden score that `provider` may show."""
        proven = tolerance_of(self.certificate.tolerance, provider)
        return proven if self.quantization is None else max(proven, self.quantization.tolerance)

    @property
    def file(self) -> str:
        """Path of the graph inside the bundle."""
        return f"members/{self.name}.onnx"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        quantization = {} if self.quantization is None else {"quantization": self.quantization.to_json()}
        return {
            "name": self.name,
            "file": self.file,
            "sha256": self.sha256,
            "inputs": list(self.inputs),
            "source": dict(self.source),
            "opset": dict(self.opset),
            "certificate": self.certificate.to_json(),
            **quantization,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        spec = cls(
            name=str(data["name"]),
            inputs=tuple(map(str, data["inputs"])),
            source=dict(data["source"]),
            opset=dict(data["opset"]),
            certificate=Certificate.from_json(data["certificate"]),
            sha256=str(data["sha256"]),
            quantization=Quantization.from_json(data["quantization"]) if data.get("quantization") else None,
        )
        if data["file"] != spec.file:
            raise BundleError(f"member {spec.name!r}: expected its file at {spec.file}, got {data['file']!r}")
        return spec


@dataclass(frozen=True, slots=True)
class FusedSpec:
    """The graph that runs the members and the combiner in one, as the bundle declares it.

    It takes the bundle's inputs by the same names, datatypes and shapes, and answers `combined`, float64
    `(n_rows, n_outputs)`, the combiner's answer, and `scores`, float64 `(n_members, n_rows, n_outputs)`, those of
    `members` in this order.

    Attributes:
        members: names of the members in it: those that the combiner uses, in the bundle's order.
        inputs: names of the bundle inputs that it takes: those that its members read, in the bundle's order.
        opset: ONNX domain -> version.
        certificate: proof that it answers as members and combiner do.
        sha256: digest of its file, filled in when the bundle is written.
    """

    members: tuple[str, ...]
    inputs: tuple[str, ...]
    opset: Mapping[str, int]
    certificate: Certificate
    sha256: str = ""

    @property
    def file(self) -> str:
        """Path of the graph inside the bundle."""
        return FUSED_FILE

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "members": list(self.members),
            "inputs": list(self.inputs),
            "opset": dict(self.opset),
            "certificate": self.certificate.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        spec = cls(
            members=tuple(map(str, data["members"])),
            inputs=tuple(map(str, data["inputs"])),
            opset=dict(data["opset"]),
            certificate=Certificate.from_json(data["certificate"]),
            sha256=str(data["sha256"]),
        )
        if data["file"] != spec.file:
            raise BundleError(f"fused graph: expected its file at {spec.file}, got {data['file']!r}")
        return spec


def check_sizes(graph: str, certificate: Certificate, n_outputs: int) -> None:
    """Refuse a certificate that states the sizes of other outputs.

    Raises:
        BundleError: it does; names the graph.
    """
    if len(certificate.sizes) not in {0, n_outputs}:
        raise BundleError(f"{graph}: its certificate states {len(certificate.sizes)} sizes for {n_outputs} outputs")
