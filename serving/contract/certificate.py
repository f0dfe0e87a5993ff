"""The parity certificate: what was compared, natively and in onnxruntime, before a member entered a bundle.

Also the one rule by which scores are compared, in the gate as well as with the golden rows when a bundle is loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .tensors import Array

DEFAULT_TOLERANCES: Mapping[str, float] = {
    "CPUExecutionProvider": 1e-5,
    "CUDAExecutionProvider": 1e-4,
    "TensorrtExecutionProvider": 1e-4,
}
"""Largest difference of a score that each provider may show; absolute below `Certificate.sizes`, relative above."""

OTHER_TOLERANCE = 1e-4
"""For providers without an entry of their own: accelerators that sum in another order than the CPU."""


def tolerance_of(tolerance: Mapping[str, float], provider: str) -> float:
    """Return the tolerance of `provider`, from the certificate or else the default."""
    return tolerance.get(provider, DEFAULT_TOLERANCES.get(provider, OTHER_TOLERANCE))


def relative_difference(
    expected: Array, actual: Array, sizes: Array | tuple[float, ...] = ()
) -> npt.NDArray[np.float64]:
    """Return what a tolerance bounds: differences of scores `(n_rows, n_outputs)`, absolute below a size.

    Args:
        expected: finite scores.
        actual: scores to judge; NaN and infinities differ by NaN or infinity.
        sizes: for each output the size of a score up to which its difference counts as absolute; 1 by default.
    """
    wide = np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(np.asarray(actual, np.float64) - wide)
    return np.asarray(difference / np.maximum(sizes if len(sizes) else 1.0, np.abs(wide)), np.float64)


def has_clear_label(scores: Array, tie: float) -> npt.NDArray[np.bool_]:
    """Return for probabilities `(n_rows, n_outputs)` whether the two best are at least `tie` apart, `(n_rows,)`."""
    top_two = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(top_two[:, -1] - top_two[:, 0] >= tie)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Proof that a member's graph answers as the trained model did.

    Attributes:
        rows: real rows compared.
        probes: generated rows compared (thresholds, missing values, unseen categories ...).
        max_abs_diff: largest absolute difference of a score.
        max_rel_diff: largest `relative_difference` of a score with `sizes`; this is what the tolerance bounds.
        worst_row: index of that row among rows then probes.
        labels_differ: rows whose label differs although the native top-two margin is not a tie.
        tolerance: provider -> bound that the comparison kept (measured providers) or that loading checks (others).
        versions: library -> version that took part.
        sizes: for each output the size of a score up to which differences count as absolute, `(n_outputs,)`; empty for
            1: probabilities. For a regression no less than the median size of the real rows' scores.
        worst_kind: what the worst row is: "a real row" or the kind of probe.
        kinds: kind of probe -> how many were compared.
        left_out: probes on which the trained model has no answer of its own (it refuses them, or its score is not
            finite or too large for FP32), so that the graph's was not compared.
        overflowed: probes at the ends of a datatype's range that the trained model answers and the graph does not: its
            arithmetic overflows. An ensemble refuses such rows.
        coverage: what the model branches at ("thresholds", "splits", "categories") -> how many were probed, of how
            many. All thresholds are probed at the value itself and one step to either side.
    """

    rows: int
    probes: int
    max_abs_diff: float
    max_rel_diff: float
    worst_row: int
    labels_differ: int
    tolerance: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_TOLERANCES))
    versions: Mapping[str, str] = field(default_factory=dict)
    sizes: tuple[float, ...] = ()
    worst_kind: str = ""
    kinds: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    overflowed: int = 0
    coverage: Mapping[str, tuple[int, int]] = field(default_factory=dict)

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
            "sizes": list(self.sizes),
            "worst_kind": self.worst_kind,
            "kinds": dict(self.kinds),
            "left_out": self.left_out,
            "overflowed": self.overflowed,
            "coverage": {name: list(counts) for name, counts in self.coverage.items()},
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
            sizes=tuple(float(size) for size in data.get("sizes", ())),
            worst_kind=str(data.get("worst_kind", "")),
            kinds={str(k): int(v) for k, v in data.get("kinds", {}).items()},
            left_out=int(data.get("left_out", 0)),
            overflowed=int(data.get("overflowed", 0)),
            coverage={str(k): (int(done), int(of)) for k, (done, of) in data.get("coverage", {}).items()},
        )
