"""What the driver of a search and its workers say to each other.

driver -> worker    Order, or a bool in answer
worker -> driver    Told or Question, each answered by a bool: go on, or not; then Ended or Failed
"""

from dataclasses import dataclass

from ..search.space import Params


@dataclass(frozen=True, slots=True)
class Order:
    """What to try.

    Attributes:
        kind: of the zoo.
        number: of the trial, among those of its kind.
        params: hyperparameters.
        stop_at: when trainings that learn step by step should have stopped, as `time.monotonic()` counts, whose origin
            all processes of a machine share.
    """

    kind: str
    number: int
    params: Params
    stop_at: float


@dataclass(frozen=True, slots=True)
class Export:
    """What to train on all rows and export.

    Attributes:
        kind: of the zoo.
        name: of the candidate.
        stop_at: as of an `Order`.
    """

    kind: str
    name: str
    stop_at: float


@dataclass(frozen=True, slots=True)
class Told:
    """An intermediate loss; may the trial go on?"""

    step: int
    loss: float


@dataclass(frozen=True, slots=True)
class Question:
    """The out-of-fold loss; is the candidate to be exported at once?"""

    loss: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a trial or an export: the candidate's loss and name."""

    loss: float
    candidate: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a trial or an export without a result; `pruned` where the driver ended it."""

    reason: str
    pruned: bool = False
