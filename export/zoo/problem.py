"""What is to be learned, as the kinds of the zoo see it: the shape of the data, without the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...serving.contract.bundle import Task


@dataclass(frozen=True, slots=True)
class Problem:
    """A supervised problem.

    Attributes:
        task: classification or regression.
        n_outputs: number of classes (two for a binary one), or 1 for a regression.
        n_rows: rows to train on, all folds together.
        numeric: names of the table's columns of numbers; NaN is a missing one.
        text: names of the table's columns of words; "" is a missing one.
        n_words: column of words -> how many different ones the rows hold.
        arrays: names of the inputs beside the table -> shape of a row: (height, width, channels) for images,
            (steps, channels) for signals; float32.
    """

    task: Task
    n_outputs: int
    n_rows: int
    numeric: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    n_words: Mapping[str, int] = field(default_factory=dict)
    arrays: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def has_table(self) -> bool:
        """Whether there are columns of numbers or words."""
        return bool(self.numeric or self.text)
