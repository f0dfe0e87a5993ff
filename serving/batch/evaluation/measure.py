"""What the evaluator asks of each task's metrics."""

from collections.abc import Sequence
from typing import Any, Protocol

from ...contract.tensors import Array
from .moments import Floats, Moments
from .tally import Tally
from .truth import Labels


class Measure(Protocol):
    """Metrics of one task. Immutable; any number of threads may use it at once."""

    @property
    def task(self) -> str:
        """Name of the task."""
        ...

    @property
    def predictors(self) -> tuple[str, ...]:
        """Whose predictions are judged: names of the ensemble, then of the members."""
        ...

    def check_type(self, label: str, kind: Any) -> None:
        """Refuse a label column of a `pyarrow.DataType` whose values never fit.

        Raises:
            ConfigurationError: it names the column.
        """
        ...

    def labels(self, column: Any) -> Labels:
        """Return the truth in a label column, a `pyarrow.Array`."""
        ...

    def count(self, found: Tally, truth: Any, answers: Sequence[Array]) -> Floats:
        """Count rows that have a truth.

        Args:
            found: takes what is counted of all rows alone.
            truth: as `labels` gives it.
            answers: of each predictor, `(n_rows, n_outputs)`.

        Returns:
            What is counted of slices, too: columns `(n_columns, n_rows)`, each metric of each predictor, then the
            ensemble's less each member's.
        """
        ...

    def summary(self, moments: Moments, group: int = 0) -> dict[str, dict[str, Any]]:
        """Return predictor -> metric -> value and interval, of one group of rows.

        Args:
            moments: of the columns that `count` gave.
            group: which.

        Returns:
            Each metric as `Estimate.to_json`; members have the ensemble's less theirs under `difference`.
        """
        ...

    def details(self, tally: Tally) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return predictor -> further metrics of all rows, and further sections of the report."""
        ...
