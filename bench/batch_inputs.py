"""Files of rows for the batch benchmarks, written as a stream: a bundle's golden rows with noise, no two of them equal.

Beside the bundle's inputs each row has an `id`, counted from 0, and a `truth`: the label of the golden row it comes of.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv
from widedeep.serving.contract.bundle import read_description, read_samples
from widedeep.serving.contract.tensors import Array, TensorSpec

GROUP_BYTES = 32 << 20
"""Rows that are made at once, and of a row group, in memory."""


def tables(bundle: Path, n_rows: int, *, most_rows: int | None = None, seed: int = 0) -> Iterator[pa.Table]:
    """Yield rows in tables of at most `most_rows`, by default as many as take `GROUP_BYTES`."""
    inputs, samples = read_description(bundle).inputs, read_samples(bundle)
    truth = samples.outputs["label"].reshape(-1)
    row_bytes = sum(samples.inputs[spec.name][0].nbytes for spec in inputs)
    at_once = most_rows or max(64, GROUP_BYTES // row_bytes)
    rng = np.random.default_rng(seed)
    for start in range(0, n_rows, at_once):
        n = min(at_once, n_rows - start)
        picked = rng.integers(0, len(truth), n)
        columns = {"id": pa.array(np.arange(start, start + n)), "truth": pa.array(truth[picked])}
        for spec in inputs:
            columns |= _columns(spec, samples.inputs[spec.name][picked], rng)
        yield pa.table(columns)


def write_parquet(made: Iterator[pa.Table], path: Path) -> None:
    """Write a file with a row group for each table."""
    first = next(made)
    with pq.ParquetWriter(path, first.schema, compression="zstd", compression_level=1) as writer:
        for table in _after(first, made):
            writer.write_table(table, row_group_size=table.num_rows)


def write_csv(made: Iterator[pa.Table], path: Path) -> None:
    """Write one CSV file with a header."""
    first = next(made)
    with csv.CSVWriter(path, first.schema) as writer:
        for table in _after(first, made):
            writer.write_table(table)


def write_files(made: Iterator[pa.Table], folder: Path) -> None:
    """Write a folder with a Parquet file for each table."""
    folder.mkdir()
    for i, table in enumerate(made):
        pq.write_table(table, folder / f"{i:06d}.parquet", compression="zstd", compression_level=1)


def _after(first: pa.Table, others: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from others


def _columns(spec: TensorSpec, values: Array, rng: np.random.Generator) -> dict[str, pa.Array]:
    if values.dtype.kind == "f":
        values = values + rng.standard_normal(values.shape, np.float32).astype(values.dtype) * 0.1
    if spec.feature_names:
        return {name: pa.array(values[:, i]) for i, name in enumerate(spec.feature_names)}
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    return {spec.name: pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])}
