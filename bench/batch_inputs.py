"""Files of rows for the batch benchmarks, written as a stream."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from widedeep.serving.contract.bundle import read_samples
from widedeep.serving.contract.tensors import Array, TensorSpec

GROUP_BYTES = 32 << 20


def write_rows(bundle: Path, inputs: tuple[TensorSpec, ...], path: Path, n_rows: int, seed: int = 0) -> None:
    """Write a Parquet file of a bundle's golden rows with noise, so that no two rows are equal, and an `id`."""
    samples = read_samples(bundle).inputs
    row_bytes = sum(samples[spec.name][0].nbytes for spec in inputs)
    group_rows = max(64, min(n_rows, GROUP_BYTES // row_bytes))
    rng = np.random.default_rng(seed)
    writer: pq.ParquetWriter | None = None
    for start in range(0, n_rows, group_rows):
        n = min(group_rows, n_rows - start)
        columns = {"id": pa.array(np.arange(start, start + n))}
        for spec in inputs:
            columns |= _columns(spec, samples[spec.name], n, rng)
        table = pa.table(columns)
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="zstd", compression_level=1)
        writer.write_table(table, row_group_size=n)
    if writer is not None:
        writer.close()


def _columns(spec: TensorSpec, samples: Array, n: int, rng: np.random.Generator) -> dict[str, pa.Array]:
    values = samples[rng.integers(0, len(samples), n)]
    if values.dtype.kind == "f":
        values = values + rng.standard_normal(values.shape, np.float32).astype(values.dtype) * 0.1
    if spec.feature_names:
        return {name: pa.array(values[:, i]) for i, name in enumerate(spec.feature_names)}
    flat = np.ascontiguousarray(values).reshape(n, -1)
    return {spec.name: pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])}
