"""Trials: points of a space that were tried, and what came of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .space import Params

State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished trial gives.

    Attributes:
        loss: on rows that its models had not seen: mean log loss, or the root mean squared error of a regression.
        latency_us: microseconds a row that the exported model takes in onnxruntime; None where it is not searched for.
        notes: anything else to keep with the trial, such as the name of a file with its scores.
    """

    loss: float
    latency_us: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial on record.

    Attributes:
        number: from 0, unique in its study.
        params: what was tried.
        state: how it stands; a trial whose process died is `failed`, and its parameters are tried again.
        measured: what it gave; None unless complete.
        steps: step -> intermediate loss, as reported while it ran.
        started_s: when it began, in seconds since the epoch.
        seconds: how long it took; 0 while it runs.
        reason: why it failed or was pruned; else empty.
    """

    number: int
    params: Params
    state: State
    measured: Measured | None = None
    steps: Mapping[int, float] = field(default_factory=dict)
    started_s: float = 0.0
    seconds: float = 0.0
    reason: str = ""
