"""What a case is and how it is judged: right, or refused by name. Anything else is an error of ours."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from widedeep.export import ConversionError, Member, convert
from widedeep.export.member import ParityError
from widedeep.serving.contract.certificate import DEFAULT_TOLERANCES
from widedeep.serving.contract.columns import bind_columns
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine import member as engine
from widedeep.serving.engine.runtime import CPU

TOLERANCE = DEFAULT_TOLERANCES[CPU]
"""As the gate's: absolute for probabilities, relative for values above 1."""


@dataclass(frozen=True, slots=True)
class Made:
    """A trained model with rows for the converter and others to judge it by.

    Attributes:
        model: what `convert` is given.
        rows: real rows for `convert`.
        held_out: rows of the same form that the converter does not see.
        expected: the model's own answer for rows of that form.
        options: further arguments of `convert`.
        tolerance: of the rows held out. Nets of very many layers round to more than the gate's on rows that it has not
            seen: their own answers are off from those in double by as much.
    """

    model: Any
    rows: Any
    held_out: Any
    expected: Callable[[Any], Array]
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        framework: what trains the model.
        what: the model in words.
        make: trains it.
        slow: whether that takes longer than a quick suite bears.
    """

    framework: str
    what: str
    make: Callable[[], Made]
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case: the message of the refusal, None if it was right; then to which tolerance."""

    refusal: str | None = None
    tolerance: float = TOLERANCE


CASES: list[Case] = []


def case(framework: str, what: str, *, slow: bool = False) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Register a function that trains a model as a case."""

    def register(make: Callable[[], Made]) -> Callable[[], Made]:
        CASES.append(Case(framework, what, make, slow))
        return make

    return register


def run(case: Case) -> Outcome:
    """Train, convert and judge.

    Raises:
        AssertionError: the converted graph answers otherwise than the model: silently wrong.
    """
    made = case.make()
    try:
        member = convert(made.model, made.rows, **made.options)
    except ParityError:  # its message holds the numbers of one run
        return Outcome("by the gate, which found that the graph differs from the model")
    except ConversionError as error:
        return Outcome(str(error))
    expected = np.asarray(made.expected(made.held_out), np.float64)
    expected = expected.reshape(len(expected), -1)
    if member.task == "classification" and expected.shape[1] == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    scores = _scores(member, made.held_out)
    assert scores.shape == expected.shape, f"{case.what}: answers {scores.shape}, the model {expected.shape}"
    difference = np.abs(scores - expected) / np.maximum(np.maximum(1, np.abs(expected)), _size(member, expected))
    assert difference.max() <= made.tolerance, f"{case.what}: silently wrong by {difference.max():.3g}"
    return Outcome(tolerance=made.tolerance)


def _scores(member: Member, rows: Any) -> Array:
    """Return the graph's scores as the server computes them for such rows."""
    if type(rows).__name__ == "DataFrame":
        columns = {str(name): rows[name].to_numpy() for name in rows.columns}
    else:
        columns = dict(rows) if isinstance(rows, Mapping) else {member.inputs[0].name: rows}
    with tempfile.TemporaryDirectory() as folder:
        spec = member.spec("member")
        member.save(Path(folder) / spec.file)
        session = engine.Member(Path(folder), spec, member.inputs, member.n_outputs)
        return np.asarray(session.run(bind_columns(member.inputs, columns)), np.float64)


def _size(member: Member, expected: Array) -> Array:
    """Return the size up to which differences count as absolute, by output."""
    if member.task == "classification":
        return np.ones(expected.shape[1])
    return np.asarray(np.median(np.abs(expected), axis=0))
