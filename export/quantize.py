"""Int8 members: accepted only if the ensemble, not the net alone, stays as good on rows that nobody has seen.

    float32 members, combiner -> int8 graphs -> losses of both ensembles on held-out rows -> accepted or refused

Both ensembles consist of the final members and the same combiner, so the losses are not those of the out-of-fold
scores that the combination was learned on. How a graph is quantised is `int8_graph`'s business.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..serving.contract.bundle import Task
from ..serving.contract.certificate import DEFAULT_TOLERANCES, relative_difference
from ..serving.contract.combiner import Combiner
from ..serving.contract.quantization import Quantization
from ..serving.contract.tensors import Array
from ..serving.engine.runtime import CPU
from .batches import only_rows, spread
from .int8_graph import METHOD, int8_graph, jittered
from .member import ConversionError, Member
from .runs import open_graph, score
from .weights.metrics import log_losses

BOUND = 0.01
"""A log loss that is higher by this much: the true classes get one percent less probability (geometric mean)."""

_LEAST_ROWS = 32  # for ranges of activations, and for losses, to mean anything
CALIBRATION_ROWS = 512
"""Rows on which the ranges of activations are measured at most."""

_JITTERS, _JITTER = 8, 2.0**-21  # a few roundings of float32
_MARGIN = 2.0  # for machines that round otherwise than any of the jitters


@dataclass(frozen=True, slots=True)
class Int8:
    """Which members to serve in int8, and what that may cost.

    What it gains depends on net and CPU, so measure it where it serves. Without VNNI: 0.8 times the speed of float32
    for the demo's small net, 1.5 times for a MobileNet of half width on 96x96 pixels.

    Attributes:
        members: names of nets of convolutions and matrix products.
        rows: input name -> rows, as `build` takes them, that no member was trained on: a net that knows its training
            rows by heart hides what rounding costs.
        target: the truth of these rows, as `build` takes it.
        bound: how far the ensemble's loss on them may rise: by so much for the log loss of a classification, by this
            share of itself for the mean squared error of a regression, of every output.
    """

    members: Sequence[str]
    rows: Mapping[str, Array]
    target: Array | Sequence[object]
    bound: float = BOUND


def to_int8(
    members: Mapping[str, Member],
    int8: Int8,
    *,
    combiner: Combiner,
    truth: Array,
    calibration: Mapping[str, Array],
    golden: Mapping[str, Array],
) -> dict[str, Member]:
    """Return the members with those that `int8` names in int8.

    Args:
        members: name -> member, in the combiner's order.
        int8: what is wished.
        combiner: the learned combination.
        truth: of the rows of `int8`: class indices `(n_rows,)` or values `(n_rows, n_outputs)`.
        calibration: real rows to measure the ranges of activations on; 512 of them, evenly drawn.
        golden: the rows of the golden test, for which its tolerance is measured.

    Raises:
        ConversionError: a member is no net, has no weight in the combination or cannot be quantised, there are too few
            rows, or the ensemble's loss rises by more than the bound; then the message gives both losses.
    """
    names = list(members)
    _check(names, int8, len(truth), len(next(iter(calibration.values()))))
    drawn = _drawn(calibration)
    quantised = {name: _quantised(name, members[name], drawn) for name in int8.members}
    if unused := [name for i, name in enumerate(names) if name in quantised and i not in combiner.used]:
        raise ConversionError(
            f"int8: the combiner gives member {unused[0]!r} no weight, so the ensemble's loss says nothing about it"
        )
    before = {name: _scores(member, int8.rows) for name, member in members.items()}
    after = before | {name: _scores(member, int8.rows) for name, member in quantised.items()}
    combined = [combiner(np.array([scores[name] for name in names])) for scores in (before, after)]
    loss_before, loss_after = _judged(combined, truth, next(iter(members.values())).task, int8)

    def measured(name: str) -> Quantization:
        return Quantization(
            method=METHOD,
            calibration_rows=len(next(iter(drawn.values()))),
            held_out_rows=len(truth),
            loss_before=loss_before,
            loss_after=loss_after,
            bound=int8.bound,
            labels_differ=_labels_differ(combined, members[name]),
            max_abs_diff=float(np.abs(after[name] - before[name]).max()),
            tolerance=_tolerance(quantised[name], golden),
        )

    return {
        name: replace(quantised[name], quantization=measured(name)) if name in quantised else member
        for name, member in members.items()
    }


def _judged(combined: Sequence[Array], truth: Array, task: Task, int8: Int8) -> tuple[float, float]:
    """Return the losses of the ensemble before and after; refuse what the bound does not allow.

    A regression's bound holds for each output, since one of large numbers would hide the others.
    """
    if task == "classification":
        before, after = (log_losses(each, truth).mean(keepdims=True) for each in combined)
        limit, kind = before + int8.bound, "log loss"
    else:
        before, after = (np.square(each - truth.reshape(each.shape)).mean(axis=0) for each in combined)
        limit, kind = before * (1 + int8.bound), "mean squared error"
    # Not "greater than": a NaN loss must fail too.
    for output in np.flatnonzero(np.logical_not(after <= limit)):
        which = f" of output {output}" if len(limit) > 1 else ""
        raise ConversionError(
            f"int8 of {', '.join(map(repr, int8.members))}: the ensemble's {kind}{which} on {len(truth)} held-out rows "
            f"rises from {before[output]:.6g} to {after[output]:.6g}, above {limit[output]:.6g}, which the bound of "
            f"{int8.bound:g} allows; keep the members in float32 or allow more"
        )
    return float(before.mean()), float(after.mean())


def _labels_differ(combined: Sequence[Array], member: Member) -> int:
    before, after = (each.argmax(axis=1) for each in combined)
    return int((before != after).sum()) if member.task == "classification" else 0


def _check(names: Sequence[str], int8: Int8, n_rows: int, n_calibration: int) -> None:
    if not int8.members:
        raise ConversionError("int8 names no member")
    if not (0 <= int8.bound < np.inf):
        raise ConversionError(f"int8: expected a bound of 0 or more, got {int8.bound}")
    for name in int8.members:
        if name not in names:
            raise ConversionError(f"int8: there is no member {name!r}; there are {', '.join(map(repr, names))}")
    if n_rows != (given := len(next(iter(int8.rows.values())))):
        raise ConversionError(f"int8: {given} held-out rows with the truth of {n_rows}")
    for what, n in (("held-out rows", n_rows), ("rows to calibrate on", n_calibration)):
        if n < _LEAST_ROWS:
            raise ConversionError(f"int8 needs at least {_LEAST_ROWS} {what}, got {n}")


def _quantised(name: str, member: Member, calibration: Mapping[str, Array]) -> Member:
    if member.quantization is not None:
        raise ConversionError(f"int8: member {name!r} is in int8 already")
    try:
        rows = {spec.name: calibration[spec.name] for spec in member.inputs}
        finished = int8_graph(member.graph, member.inputs, member.n_outputs, rows)
    except ConversionError as error:
        raise ConversionError(f"int8: member {name!r} ({member.source.get('class', 'unknown')}): {error}") from error
    return replace(member, graph=finished.data, opset=finished.opset)


def _scores(member: Member, rows: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    """Return a member's scores `(n_rows, n_outputs)` as it is served."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_graph(member.save(Path(folder) / "member.onnx"), member.inputs, CPU)
    return score(session, rows, member.n_outputs)


def _tolerance(member: Member, golden: Mapping[str, Array]) -> float:
    """Return how far golden scores may lie off on a machine that rounds otherwise.

    A value halfway between two steps of an activation falls to either side by one rounding of float32, and one step
    moves a score by far more than the tolerance of float32 graphs. So the graph is run with its steps moved by some
    roundings: most golden rows are nowhere near such a value and keep a small tolerance.
    """
    expected = _scores(member, golden)
    others = [_scores(replace(member, graph=jittered(member.graph, _JITTER, seed)), golden) for seed in range(_JITTERS)]
    widest = max(float(relative_difference(expected, other, member.certificate.sizes).max()) for other in others)
    return max(DEFAULT_TOLERANCES[CPU], _MARGIN * widest)


def _drawn(rows: Mapping[str, Array]) -> dict[str, Array]:
    return only_rows(rows, spread(len(next(iter(rows.values()))), CALIBRATION_ROWS))
