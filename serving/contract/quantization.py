"""What rounding a member to int8 costs, measured on held-out rows before the member entered a bundle."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Quantization:
    """A member's graph computes in int8; its parity certificate is that of the float32 graph which it was made from.

    Losses are those of the whole ensemble, with all its int8 members in int8 and with none: the mean log loss (natural
    logarithm) of a classification, the mean squared error of a regression over all outputs.

    Attributes:
        method: how it was made.
        calibration_rows: real rows that the ranges of activations were measured on.
        held_out_rows: rows that the losses were measured on.
        loss_before: of the ensemble with every member in float32.
        loss_after: of the ensemble as it is in the bundle.
        bound: how far `loss_after` may exceed `loss_before`: by that much for a log loss, by that share of it for the
            squared error of every output.
        labels_differ: held-out rows that the ensemble labels otherwise than with every member in float32.
        max_abs_diff: largest difference of a score of this member from its float32 graph on those rows.
        tolerance: how far golden scores of this member may lie off on another machine, where values round to the other
            side.
    """

    method: str
    calibration_rows: int
    held_out_rows: int
    loss_before: float
    loss_after: float
    bound: float
    labels_differ: int
    max_abs_diff: float
    tolerance: float

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "method": self.method,
            "calibration_rows": self.calibration_rows,
            "held_out_rows": self.held_out_rows,
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
            "bound": self.bound,
            "labels_differ": self.labels_differ,
            "max_abs_diff": self.max_abs_diff,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON form; unknown keys are ignored."""
        return cls(
            method=str(data["method"]),
            calibration_rows=int(data["calibration_rows"]),
            held_out_rows=int(data["held_out_rows"]),
            loss_before=float(data["loss_before"]),
            loss_after=float(data["loss_after"]),
            bound=float(data["bound"]),
            labels_differ=int(data["labels_differ"]),
            max_abs_diff=float(data["max_abs_diff"]),
            tolerance=float(data["tolerance"]),
        )
