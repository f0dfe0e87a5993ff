"""Predictions for the rows of a data frame of Spark's, in a user's own job."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pyspark import SparkContext
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema
from pyspark.sql.types import StructField, StructType

from ...contract.bundle import read_description
from ..local import LocalScorer
from ..scoring import BatchScorer
from .frames import FrameOptions, FrameScorer, OnRowError
from .shipping import BundleAddress, bundle_here
from .spark_context import SentBundle, is_one_machine, kept


def score(
    df: DataFrame,
    bundle: str | Path,
    outputs: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    *,
    prefix: str = "",
    bundle_columns: bool = False,
    image_scale: float | None = None,
    on_error: OnRowError = "fail",
    ship: bool = True,
) -> DataFrame:
    """Return the predictions for the rows of a data frame, computed by `mapInArrow` when they are asked for.

        predictions = score(spark.read.parquet("rows"), "models/mine/1", keep=["id"])

    An input of the bundle is bound to the array column of its name or to the columns that its features name; turn
    vectors of `pyspark.ml` into arrays first, with `pyspark.ml.functions.vector_to_array`.

    Args:
        df: the rows.
        bundle: the bundle's folder, on the driver.
        outputs: of the bundle's to answer; None for its own choice.
        keep: columns of the data frame to answer, too.
        prefix: begins the name of every column of the bundle's.
        bundle_columns: whether every row carries the bundle's name, version and digest.
        image_scale: what pixels of images are divided by; None as the bundle says.
        on_error: "fail", or "null" for nulls, and the reason in a column `error`.
        ship: whether executors are sent the bundle, for those that do not see its folder. Spark Connect cannot: there
            the folder must be one that driver and executors see.

    Raises:
        BundleError: there is no bundle, or it is damaged.
        InvalidInput: a column is missing, or the bundle has no such output.
    """
    options = FrameOptions(outputs, keep, prefix, bundle_columns, image_scale, on_error)
    address = BundleAddress.of(str(bundle))
    answer = _described(address, options)
    rows = df.select(*(f"`{name.replace('`', '``')}`" for name in answer.batches.columns(df.columns)))
    context = SparkContext._active_spark_context if ship else None
    sent = None if context is None or is_one_machine(context) else SentBundle.add(context, address)
    n_kept, schema = len(answer.batches.keep), answer.schema(to_arrow_schema(rows.schema))
    fields = [df.schema[name] for name in schema.names[:n_kept]]
    fields += [StructField(field.name, from_arrow_type(_spark_type(field.type))) for field in list(schema)[n_kept:]]
    return rows.mapInArrow(_ScoreBatches(uuid4().hex, address, options, sent), StructType(fields))


class _ScoreBatches:
    """What `mapInArrow` runs in a Python worker."""

    def __init__(self, key: str, address: BundleAddress, options: FrameOptions, sent: SentBundle | None) -> None:
        self._key, self._address, self._options, self._sent = key, address, options, sent

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        scorer = kept(self._key, self._load)
        for batch in batches:
            yield _in_spark_types(scorer.score(batch))

    def _load(self) -> FrameScorer:
        fetch = None if self._sent is None else self._sent.write
        return FrameScorer.load(bundle_here(self._address, fetch), self._options)


def _described(address: BundleAddress, options: FrameOptions) -> FrameScorer:
    """Return a scorer that knows the bundle's inputs and outputs and cannot score: no graph is loaded."""
    path = Path(address.path)
    scorer = LocalScorer(path, read_description(path), [], {})
    batches = BatchScorer(
        scorer,
        outputs=options.outputs,
        keep=options.keep,
        prefix=options.prefix,
        bundle_columns=options.bundle_columns,
    )
    return FrameScorer(batches, options)


def _in_spark_types(batch: Any) -> Any:
    """Return a record batch in types that Spark reads: plain lists and texts, signed numbers."""
    types = [_spark_type(kind) for kind in batch.schema.types]
    columns = [column.cast(kind) for column, kind in zip(batch.columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


_WIDER = {
    pa.float16(): pa.float32(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
}


def _spark_type(kind: Any) -> Any:
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_spark_type(kind.value_type))
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return _WIDER.get(kind, kind)
