"""Rows of small ensembles as tables, and what a batch job should make of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from small_ensembles import rows
from widedeep.serving.contract.tensors import Array, TensorSpec


def columns_of(inputs: tuple[TensorSpec, ...], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return tensors as columns: features by their names, other tensors as lists of fixed length."""
    columns: dict[str, Any] = {}
    for spec in inputs:
        values = arrays[spec.name]
        if spec.feature_names:
            columns |= {name: pa.array(values[:, i]) for i, name in enumerate(spec.feature_names)}
        elif values[0].size == 1:
            columns[spec.name] = pa.array(values[:, 0])
        else:
            columns[spec.name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
    return columns


def table_of(inputs: tuple[TensorSpec, ...], n_rows: int, seed: int = 0) -> pa.Table:
    """Return random rows with an `id`."""
    ids = pa.array([f"row{i}" for i in range(n_rows)])
    return pa.table({"id": ids} | columns_of(inputs, rows(inputs, n_rows, seed)))


def parts_of(output: Path) -> dict[str, bytes]:
    """Return the bytes of every part of an output, by name."""
    return {path.name: path.read_bytes() for path in sorted(output.glob("part-*"))}


def scored(output: Path) -> pa.Table:
    """Return an output as any reader of data sets takes it, rows in the order of the parts."""
    return ds.dataset(output, format="parquet").to_table()


def column(table: pa.Table, name: str) -> Array:
    """Return a column as an array, lists as further axes."""
    return np.array(table.column(name).to_pylist())
