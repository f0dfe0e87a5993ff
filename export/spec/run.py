"""From an export file to a bundle: read the rows, load and convert each model, score, learn, build.

The combination is learned from what the converted members answer, for that is what the server will weigh; they are
proven to answer as the trained models do. Nothing is written before every member has passed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.certificate import DEFAULT_TOLERANCES
from ...serving.contract.errors import InvalidInput
from ...serving.contract.tensors import Array
from ...serving.engine.runtime import CPU
from ..batches import spread
from ..build import Built, build
from ..convert import convert
from ..convert.trained import probabilities
from ..fuse import Fused, fuse
from ..histograms import MAX_ROWS
from ..member import ConversionError, Member, ParityError
from ..quantize import CALIBRATION_ROWS, Int8
from ..weights import AnyLearner, learners_for
from . import models
from .checks import check_fit, formats_of, inputs_of
from .data import BARE, Dataset, read_data
from .inputs import Source, Stack, Table
from .places import bundle_place
from .problems import Problem
from .schema import Sheet
from .scoring import own_scores, row_bytes, rows_to_convert, servable, tensors

Phase = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
"""Opens a stage of the work given its title and number of steps; the function that it yields is called once a step
with the name of what is done."""

_TOLERANCE = DEFAULT_TOLERANCES[CPU]
"""Of what a trained model itself is said to answer: of probabilities, and relative to the largest value of a
regression, as the parity gate has it."""

_FUSED_ROWS = 500
"""Real rows on which a fused graph is compared, beside probes and the golden rows."""

_MOST_BYTES = 1 << 30
"""Held-out rows on which int8 is judged, or whose histograms the bundle carries, take at most this much."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export file.

    Attributes:
        built: the bundle, and how its combiner was chosen.
        formats: member -> format of its file.
        n_rows: rows that the combination was learned on.
        left_out: rows left out, since requests may not hold missing values.
        notes: what the reader should know and did not ask.
        fused: the ensemble as one graph, if that was wished for.
    """

    built: Built
    formats: Mapping[str, str]
    n_rows: int
    left_out: int
    notes: tuple[str, ...]
    fused: Fused | None


def run(
    sheet: Sheet, phase: Phase, *, trust: bool = False, output: Path | None = None, fused: Path | None = None
) -> Exported:
    """Make the bundle.

    Args:
        sheet: the export file.
        phase: shows progress.
        trust: whether code in model files may run.
        output: the bundle's folder, instead of the one in the file.
        fused: file for the whole ensemble as one ONNX graph, None for none.

    Raises:
        SpecError: something is missing, does not fit or cannot be converted faithfully; names the place.
        ConversionError: the ensemble cannot stand in one file; the bundle is written all the same.
        BundleError: the written bundle does not answer as its members did.
    """
    place = bundle_place(sheet, output)
    formats = formats_of(sheet, trust=trust)
    with phase("Reading rows", 0):
        data = read_data(sheet)
        check_fit(sheet, data, formats)
    members: dict[str, Member] = {}
    notes: list[str] = []
    with phase("Exporting to ONNX and proving parity", len(formats)) as step:
        for name, found in formats.items():
            members[name] = _convert(sheet, data, name, found, notes, trust=trust)
            step(name)
    scores: dict[str, npt.NDArray[np.float64]] = {}
    with phase("Scoring rows", len(members)) as step:
        for name, member in members.items():
            scores[name] = _scores(sheet, data, name, member)
            step(name)
    keep = np.flatnonzero(np.all([np.isfinite(answers).all(axis=1) for answers in scores.values()], axis=0))
    with phase("Learning the combination", 0) as step:
        built = _build(sheet, data, members, scores, keep, path=place, on_learner=step)
    if built.not_fused:
        notes.append(f"the bundle carries no fused graph: {built.not_fused}")
    one = None
    if fused is not None:
        with phase("Fusing into one graph and proving it", 0):
            one = fuse(built.path, fused, rows=tensors(data, members, keep[spread(len(keep), _FUSED_ROWS)]))
    return Exported(built, formats, len(keep), len(data) - len(keep), tuple(notes), one)


def _convert(sheet: Sheet, data: Dataset, name: str, found: str, notes: list[str], *, trust: bool) -> Member:
    spec, member = sheet.spec, sheet.spec.members[name]
    given = inputs_of(sheet, data, name, found)
    with sheet.blame("members", name, "file"):
        model = models.load(sheet.resolve(member.file), member, trust=trust)
        if note := models.note(model, member):
            notes.append(f"{name}: {note}")
    with sheet.blame("members", name):
        rows, features = rows_to_convert(given)
        extra: dict[str, Any] = {"input_name": given[0].name} if isinstance(given[0], Table) else {}
        try:
            return convert(
                model,
                rows,
                feature_names=features or None,
                task=spec.task,
                classes=spec.classes or None,
                allow_nan=member.allow_nan,
                output=member.output,
                providers=spec.providers or (CPU,),
                **extra,
            )
        except ParityError:
            raise  # about its answers, not about how the rows were given
        except ConversionError as error:
            raise Problem(_in_toml(str(error), sheet, given)) from error


def _scores(sheet: Sheet, data: Dataset, name: str, member: Member) -> npt.NDArray[np.float64]:
    """Return scores `(n_rows, n_outputs)`: those given, or the member's own; NaN where a row may not be asked."""
    with sheet.blame("members", name):
        complete_only = sheet.spec.members[name].allow_nan is False
        among = servable(data, member) if complete_only else np.ones(len(data), np.bool_)
        own = None
        if name not in data.scores or name in data.expected:
            own = own_scores(data, name, member, among)
    if own is not None and name in data.expected:
        _compare(sheet, name, member, own, _as_scores(sheet, name, "expected", data.expected[name], member))
    if own is not None and name not in data.scores:
        return own
    return np.where(among[:, np.newaxis], _as_scores(sheet, name, "scores", data.scores[name], member), np.nan)


def _as_scores(sheet: Sheet, name: str, key: str, given: Array, member: Member) -> npt.NDArray[np.float64]:
    scores = probabilities(given) if member.task == "classification" else given
    if scores.shape[1] != member.n_outputs:
        message = f"expected {member.n_outputs} columns, one an output of the member, got {given.shape[1]}"
        raise sheet.problem("members", name, key, message=message)
    return np.asarray(scores, np.float64)


def _compare(sheet: Sheet, name: str, member: Member, own: Array, expected: Array) -> None:
    """Refuse a member that answers otherwise than its trained model is said to."""
    tolerance = _TOLERANCE
    if member.task == "regression":
        tolerance *= max(1.0, float(np.abs(expected).max()))
    differences = np.where(np.isfinite(own), np.abs(own - expected), 0.0)
    row, output = np.unravel_index(int(np.argmax(differences)), differences.shape)
    if differences[row, output] > tolerance:
        raise sheet.problem(
            "members",
            name,
            "expected",
            message=f"row {row}, output {output}: the member answers {own[row, output]:.9g}, expected is "
            f"{expected[row, output]:.9g}, and they may differ by {tolerance:.3g}. Is it the same model, and are the "
            f"rows in the same order?",
        )


def _build(
    sheet: Sheet,
    data: Dataset,
    members: Mapping[str, Member],
    scores: Mapping[str, npt.NDArray[np.float64]],
    keep: npt.NDArray[np.int64],
    *,
    path: Path,
    on_learner: Callable[[str], None],
) -> Built:
    wish = sheet.spec.ensemble
    drawn = keep[spread(len(keep), max(wish.golden_rows, CALIBRATION_ROWS))] if len(keep) else keep
    try:
        return build(
            path,
            name=sheet.spec.name,
            members=members,
            scores={name: answers[keep] for name, answers in scores.items()},
            target=data.target[keep],
            rows=tensors(data, members, drawn),
            reference=tensors(data, members, keep[spread(len(keep), _reference_rows(data))]),
            classes=sheet.spec.classes or data.classes or None,
            learners=_learners(sheet, members),
            seed=wish.seed,
            n_folds=wish.folds,
            golden_rows=wish.golden_rows,
            int8=_int8(sheet, data, members, keep),
            fused=wish.fused,
            pixel_scale=_pixel_scales(data, members),
            on_learner=on_learner,
        )
    except ConversionError as error:
        raise sheet.problem("members", message=_hinted(str(error), sheet, members)) from error
    except (InvalidInput, ValueError) as error:
        # A ValueError of weight learning is about the target, the scores or the number of rows.
        raise sheet.problem("data", message=_hinted(str(error), sheet, members)) from error


def _pixel_scales(data: Dataset, members: Mapping[str, Member]) -> dict[str, float]:
    """Return input -> what its pixels are divided by, of the inputs that members take and that hold pixels."""
    taken = {spec.name for member in members.values() for spec in member.inputs}
    stacks = {name: source for name, source in data.inputs.items() if isinstance(source, Stack) and name in taken}
    return {name: scale for name, source in stacks.items() if (scale := source.pixel_scale) is not None}


def _reference_rows(data: Dataset) -> int:
    return max(CALIBRATION_ROWS, min(MAX_ROWS, _MOST_BYTES // row_bytes(data.inputs.values())))


def _int8(sheet: Sheet, data: Dataset, members: Mapping[str, Member], keep: npt.NDArray[np.int64]) -> Int8 | None:
    """Return which members are to be served in int8, judged on the held-out rows, as many as fit into memory."""
    names = [name for name, member in sheet.spec.members.items() if member.int8]
    if not names:
        return None
    index = keep[spread(len(keep), max(CALIBRATION_ROWS, _MOST_BYTES // row_bytes(data.inputs.values())))]
    return Int8(names, tensors(data, members, index), data.target[index], sheet.spec.ensemble.int8_bound)


def _learners(sheet: Sheet, members: Mapping[str, Member]) -> tuple[AnyLearner, ...] | None:
    """Return the learners wished for, None for all."""
    if not (wished := sheet.spec.ensemble.learners):
        return None
    member = next(iter(members.values()))
    known = {learner.name: learner for learner in learners_for(member.task, len(members), member.n_outputs)}
    if missing := [name for name in wished if name not in known]:
        message = f"{missing[0]!r} is not for a {member.task} with {member.n_outputs} outputs"
        raise sheet.problem("ensemble", "learners", message=message)
    return tuple(learner for name, learner in known.items() if name in wished)


def _in_toml(message: str, sheet: Sheet, given: Sequence[Source]) -> str:
    """Return a converter's message, with the way out that an export file has where categories are the trouble."""
    said = message.partition("\nStack trace:")[0].rstrip()  # XGBoost's own
    tables = [source.name for source in given if isinstance(source, Table)]
    if "categor" in said and any(not sheet.spec.inputs.get(name, BARE).categories for name in tables):
        said += f". In an export file: categories.COLUMN = [...] in [inputs.{tables[0]}], in the order of training"
    return said


def _hinted(message: str, sheet: Sheet, members: Mapping[str, Member]) -> str:
    """Return a message with the way out where labels are missing that some models do not know."""
    only_numbers = any(member.classes == tuple(range(member.n_outputs)) for member in members.values())
    if ("holds the label" in message or message.startswith("classes:")) and not sheet.spec.classes and only_numbers:
        return f"{message}. If models only know numbers from 0, say classes = [...] in their order"
    return message
