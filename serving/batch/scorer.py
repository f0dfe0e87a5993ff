"""What batch scoring asks of whatever scores: a bundle in this process, or a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..contract.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True)
class Identity:
    """Which bundle scored a row."""

    name: str
    version: str
    digest: str


class Scorer(Protocol):
    """Scores checked tensors: the bundle in this process, or a server. Any number of threads may call it at once."""

    @property
    def identity(self) -> Identity:
        """Which bundle."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What it takes."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Every output that it can answer, shapes `(-1, ...)`."""
        ...

    @property
    def defaults(self) -> tuple[str, ...]:
        """Names of the outputs that are answered where none are named."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in score order; empty for values, or where they are not known."""
        ...

    def score(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return output name -> `(n_rows, ...)`.

        Raises:
            InvalidInput, ExecutionError: rows are at fault, or may be: fewer of them may pass.
            WidedeepError: any other failure concerns every row.
        """
        ...

    def close(self) -> None:
        """Give back what it holds; calls under way may fail."""
        ...
