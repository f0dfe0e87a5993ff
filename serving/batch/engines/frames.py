"""Record batches of a user's own data set, on Ray or Spark, to predictions: every row stays in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from ...contract.errors import InvalidInput
from ..scoring import BatchScorer

OnRowError = Literal["fail", "null"]

ERROR = "error"


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """What is answered.

    Attributes:
        outputs: of the bundle's; None for its own choice.
        keep: columns of the data set.
        prefix: begins the name of every column of the bundle's.
        bundle_columns: whether every row carries the bundle's name, version and digest.
        image_scale: what pixels of images are divided by; None as the bundle says.
        on_error: what a row that cannot be scored does: fail the whole, or get nulls and a reason in a column `error`.
    """

    outputs: Sequence[str] | None = None
    keep: Sequence[str] = ()
    prefix: str = ""
    bundle_columns: bool = False
    image_scale: float | None = None
    on_error: OnRowError = "fail"


class FrameScorer:
    """Scores record batches of any size. Immutable; may be called from any number of threads at once."""

    def __init__(self, batches: BatchScorer, options: FrameOptions) -> None:
        """Wrap the core; see `load`."""
        self.batches = batches
        self._options = options

    @classmethod
    def load(cls, bundle: str, options: FrameOptions) -> Self:
        """Load the bundle of this folder.

        Raises:
            BundleError: it is not there, or damaged.
            InvalidInput: it has no such output.
        """
        return cls(
            BatchScorer.load(
                bundle,
                outputs=options.outputs,
                keep=options.keep,
                prefix=options.prefix,
                bundle_columns=options.bundle_columns,
                image_scale=options.image_scale,
            ),
            options,
        )

    def schema(self, input_schema: Any) -> Any:
        """Return the `pyarrow.Schema` of what `score` returns for batches of this one.

        Raises:
            InvalidInput: a column is missing, or two of the answer would have one name.
        """
        schema = self.batches.schema(input_schema)
        if self._options.on_error == "fail":
            return schema
        if (name := self._options.prefix + ERROR) in schema.names:
            raise InvalidInput(f"the answer would have two columns {name!r}; give a prefix to those that are added")
        return schema.append(pa.field(name, pa.string()))

    def score(self, batch: Any) -> Any:
        """Return predictions for a `pyarrow.RecordBatch`, row by row.

        Raises:
            InvalidInput: a column is missing; or a row does not fit, and is not to be null.
            ExecutionError: a member failed on a row that is not to be null.
        """
        if self._options.on_error == "fail":
            return self.batches.score(batch)
        schema = self.schema(batch.schema)
        scored = self.batches.score_rows(batch)
        reasons = {row.index: row.reason for row in scored.rejected}
        is_scored = np.ones(batch.num_rows, bool)
        is_scored[list(reasons)] = False
        places = pa.array(np.cumsum(is_scored) - 1, mask=~is_scored)
        n_kept = len(self.batches.keep)
        columns = [batch.column(name) for name in self.batches.keep]
        columns += [column.take(places) for column in scored.predictions.columns[n_kept:]]
        columns.append(pa.array(map(reasons.get, range(batch.num_rows)), pa.string()))
        return pa.RecordBatch.from_arrays(columns, schema=schema)
