"""The parity certificate: what was compared, natively and in onnxruntime, before a member entered a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

DEFAULT_TOLERANCES: Mapping[str, float] = {
    "CPUExecutionProvider": 1e-5,
    "CUDAExecutionProvider": 1e-4,
    "TensorrtExecutionProvider": 1e-4,
}
"""Largest difference of a score that each provider may show; absolute below 1 in size, relative above."""

OTHER_TOLERANCE = 1e-4
"""For providers without an entry of their own: accelerators that sum in another order than the CPU."""


def tolerance_of(tolerance: Mapping[str, float], provider: str) -> float:
    """Return the tolerance of `provider`, from the certificate or else the default."""
    return tolerance.get(provider, DEFAULT_TOLERANCES.get(provider, OTHER_TOLERANCE))


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that a member's graph answers as the trained model did.

    Attributes:
        rows: real rows compared.
        probes: generated rows compared (thresholds, missing values, unseen categories ...).
        max_abs_diff: largest absolute difference of a score.
        max_rel_diff: largest difference divided by `max(1, |native score|)`, for a regression also by no less than the
            median size of the real rows' scores; this is what the tolerance bounds.
        worst_row: index of that row among rows then probes.
        labels_differ: rows whose label differs although the native top-two margin is not a tie.
        tolerance: provider -> bound that the comparison kept (measured providers) or that loading checks (others).
        versions: library -> version that took part.
    """

    rows: int
    probes: int
    max_abs_diff: float
    max_rel_diff: float
    worst_row: int
    labels_differ: int
    tolerance: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_TOLERANCES))
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "rows": self.rows,
            "probes": self.probes,
            "max_abs_diff": self.max_abs_diff,
            "max_rel_diff": self.max_rel_diff,
            "worst_row": self.worst_row,
            "labels_differ": self.labels_differ,
            "tolerance": dict(self.tolerance),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        return cls(
            rows=int(data["rows"]),
            probes=int(data["probes"]),
            max_abs_diff=float(data["max_abs_diff"]),
            max_rel_diff=float(data["max_rel_diff"]),
            worst_row=int(data["worst_row"]),
            labels_differ=int(data["labels_differ"]),
            tolerance={str(k): float(v) for k, v in data["tolerance"].items()},
            versions={str(k): str(v) for k, v in data.get("versions", {}).items()},
        )
