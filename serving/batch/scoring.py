"""The one core of batch scoring: a table in, predictions out. Every runner calls it, so all give the same numbers.

    record batch -> binding -> tensors -> Scorer (the bundle here, or a server) -> tensors -> columns -> record batch

What a row's prediction is depends on nothing but the row and the bundle: not on the batch that it comes in.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ..contract.errors import ExecutionError, InvalidInput
from ..contract.tensors import Array, TensorSpec, listed
from .binding import bind_batch, columns_needed, illegal_values
from .columns import constant_columns, empty_batch, output_column, output_field
from .scorer import Scorer

CHUNK_ROWS = 8192
CHUNK_BYTES = 4 << 20
"""Rows that are scored at once: enough that what a chunk costs by itself does not count, few enough for a cache."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of a batch that cannot be scored: its index in the batch, and why."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a batch.

    Attributes:
        predictions: `pyarrow.RecordBatch` of the rows that could be scored, in order.
        rejected: the others.
    """

    predictions: Any
    rejected: tuple[Rejected, ...]


Observer = Callable[[Any, Mapping[str, Array], Mapping[str, Array]], None]
"""Called for each batch that was scored whole: with the batch, the tensors of its rows, and their outputs."""


class BatchScorer:
    """From a record batch to a record batch. Immutable; may be called from any number of threads at once.

    Attributes:
        scorer: what scores.
        outputs: names of the outputs in the answers.
        keep: columns of the input in the answers.
        chunk_rows: rows that are scored at once.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        outputs: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        prefix: str = "",
        bundle_columns: bool = False,
        image_scale: float | None = None,
        chunk_rows: int | None = None,
        observed: Sequence[str] = (),
    ) -> None:
        """Wrap a scorer; see `load` for most arguments. Observers are told of the outputs `observed`, too.

        Raises:
            InvalidInput: the bundle has no such output.
        """
        self.scorer = scorer
        self.outputs = tuple(scorer.defaults if outputs is None else outputs)
        self._computed = tuple(dict.fromkeys([*self.outputs, *observed]))
        known = {spec.name: spec for spec in scorer.outputs}
        if unknown := [name for name in self._computed if name not in known]:
            raise InvalidInput(f"unknown output {unknown[0]!r}; the bundle has {', '.join(map(repr, known))}")
        self.keep = tuple(dict.fromkeys(keep))
        self.chunk_rows = chunk_rows or chunk_rows_of(scorer.inputs)
        self._fields = [output_field(known[name], prefix, scorer.classes) for name in self.outputs]
        identity = scorer.identity
        self._metadata = {
            "widedeep.bundle": identity.name,
            "widedeep.version": identity.version,
            "widedeep.digest": identity.digest,
        }
        named = {f"{prefix}bundle_{what}": value for what, value in asdict(identity).items()}
        self._constants = named if bundle_columns else {}
        self._image_scale = image_scale
        self._last_schemas: tuple[Any, Any] | None = None

    @classmethod
    def load(
        cls,
        bundle: str | Path,
        *,
        outputs: Sequence[str] | None = None,
        keep: Sequence[str] = (),
        prefix: str = "",
        bundle_columns: bool = False,
        image_scale: float | None = None,
        chunk_rows: int | None = None,
        member_rows: Mapping[str, int] | None = None,
    ) -> Self:
        """Load a bundle from its folder.

        Args:
            bundle: the folder.
            outputs: names of the outputs to answer, by default the bundle's own: `probabilities` and `label`, or
                `prediction`.
            keep: columns of the input that the answers carry, before the outputs.
            prefix: begins the name of every column that is not the input's.
            bundle_columns: add the columns `bundle_name`, `bundle_version` and `bundle_digest`.
            image_scale: what the pixels of images are divided by; None as the bundle says.
            chunk_rows: rows that are scored at once; by default as many as take about 4 MiB.
            member_rows: member -> rows of one run of its graph at most, 0 for a whole chunk; measured by default.

        Raises:
            BundleError: the bundle is damaged.
            InvalidInput: it has no such output.
        """
        from .local import LocalScorer

        return cls(
            LocalScorer.load(Path(bundle), member_rows=member_rows),
            outputs=outputs,
            keep=keep,
            prefix=prefix,
            bundle_columns=bundle_columns,
            image_scale=image_scale,
            chunk_rows=chunk_rows,
        )

    def schema(self, input_schema: Any) -> Any:
        """Return the `pyarrow.Schema` of the answers for batches of `input_schema`; metadata names the bundle.

        Raises:
            InvalidInput: a column that an input or `keep` needs is not there, or two columns of the answer would have
                the same name.
        """
        if self._last_schemas is not None and self._last_schemas[0].equals(input_schema):
            return self._last_schemas[1]
        self.columns(input_schema.names)
        fields = [input_schema.field(name) for name in self.keep] + self._fields
        fields += [pa.field(name, pa.dictionary(pa.int8(), pa.string())) for name in self._constants]
        names = [field.name for field in fields]
        if twice := [name for name in names if names.count(name) > 1]:
            raise InvalidInput(
                f"the answer would have two columns {twice[0]!r}, of the input and of the bundle; give a prefix to the "
                f"bundle's"
            )
        answer = pa.schema(fields, self._metadata)
        self._last_schemas = input_schema, answer
        return answer

    def columns(self, names: Sequence[str]) -> list[str]:
        """Return which of these column names are read: those that inputs are bound from, then `keep`.

        Raises:
            InvalidInput: one is not there.
        """
        if missing := [name for name in self.keep if name not in names]:
            raise InvalidInput(f"there is no column {missing[0]!r} to keep; there are {listed(names)}")
        return list(dict.fromkeys([*columns_needed(self.scorer.inputs, names), *self.keep]))

    def score(self, batch: Any, observe: Observer | None = None) -> Any:
        """Return predictions for a `pyarrow.RecordBatch` of any number of rows, in their order, as `schema` says.

        Raises:
            InvalidInput: a row does not fit; it is counted from the start of its chunk.
            ExecutionError: a member failed.
        """
        starts = range(0, batch.num_rows, self.chunk_rows)
        chunks = [self._score(batch.slice(start, self.chunk_rows), observe) for start in starts]
        return self._joined(chunks, batch.schema)

    def score_rows(self, batch: Any, observe: Observer | None = None) -> Scored:
        """Score all rows that can be.

        Where a chunk fails, rows with values that the bundle does not allow are taken out; where it fails all the same,
        it is halved until the rows at fault stand alone.
        """
        parts: list[Any] = []
        rejected: list[Rejected] = []

        def score(rows: Any, index: Array) -> None:
            try:
                parts.append(self._score(rows, observe))
                return
            except (InvalidInput, ExecutionError) as error:
                reason = str(error)
            if rows.num_rows == 1:
                rejected.append(Rejected(int(index[0]), without_row(reason)))
            elif illegal := illegal_values(self.scorer.inputs, rows, self._image_scale):
                rejected.extend(Rejected(int(index[row]), without_row(why)) for row, why in illegal.items())
                left = np.delete(np.arange(rows.num_rows), list(illegal))
                if len(left):
                    score(rows.take(pa.array(left)), index[left])
            else:
                half = rows.num_rows // 2
                score(rows.slice(0, half), index[:half])
                score(rows.slice(half), index[half:])

        for start in range(0, batch.num_rows, self.chunk_rows):
            chunk = batch.slice(start, self.chunk_rows)
            score(chunk, np.arange(start, start + chunk.num_rows))
        return Scored(self._joined(parts, batch.schema), tuple(sorted(rejected, key=lambda row: row.index)))

    def _score(self, batch: Any, observe: Observer | None) -> Any:
        arrays = bind_batch(self.scorer.inputs, batch, self._image_scale)
        answers = self.scorer.score(arrays, self._computed)
        if observe is not None:
            observe(batch, arrays, answers)
        columns = [batch.column(name) for name in self.keep]
        columns += [output_column(field, answers[name]) for field, name in zip(self._fields, self.outputs, strict=True)]
        columns += constant_columns(self._constants, batch.num_rows)
        return pa.RecordBatch.from_arrays(columns, schema=self.schema(batch.schema))

    def _joined(self, parts: Sequence[Any], input_schema: Any) -> Any:
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return empty_batch(self.schema(input_schema))
        return pa.concat_batches(parts)


def chunk_rows_of(inputs: Sequence[TensorSpec]) -> int:
    """Return how many rows of these inputs are scored at once."""
    row_bytes = sum(spec.datatype.dtype.itemsize * math.prod(spec.row_shape) for spec in inputs)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // max(1, row_bytes)))


_ROW = re.compile(r"\brow 0, (?=column)|^row 0: |,? (?:in|of) row 0\b(?!, column)")


def without_row(reason: str) -> str:
    """Return why a row that stood alone failed, without its number, which counts from its batch."""
    return _ROW.sub("", reason)
