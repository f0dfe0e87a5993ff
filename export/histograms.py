"""Histograms of the inputs, which the bundle carries as evidence: what later rows are compared with."""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..serving.contract.histograms import (
    MAX_TEXT,
    MAX_VALUES,
    N_BINS,
    N_CELLS,
    Histograms,
    NumericHistograms,
    TextHistogram,
    cells_dtype,
    column_names,
    numeric_cells,
)
from ..serving.contract.tensors import Array, DataType, TensorSpec
from .batches import Arrays, only_rows, spread

MAX_ROWS = 100_000
"""Rows that are looked at, evenly spread; bins of 5,000 rows are known to 3 %."""


def histograms_of(specs: Sequence[TensorSpec], rows: Arrays) -> Histograms:
    """Return the histograms of rows of the inputs, of `MAX_ROWS` of them at most."""
    n_rows = len(next(iter(rows.values())))
    if n_rows > MAX_ROWS:
        rows = only_rows(rows, spread(n_rows, MAX_ROWS))
    with_some = [spec for spec in specs if column_names(spec)]
    is_text = {spec.name: spec.datatype is DataType.BYTES for spec in with_some}
    return Histograms(
        min(n_rows, MAX_ROWS),
        {spec.name: _numeric(spec, rows[spec.name]) for spec in with_some if not is_text[spec.name]},
        {spec.name: _text(spec, rows[spec.name]) for spec in with_some if is_text[spec.name]},
    )


def to_bytes(histograms: Histograms) -> bytes:
    """Return the content of the bundle's file."""
    return json.dumps(histograms.to_json(), separators=(",", ":"), allow_nan=False).encode()


def _numeric(spec: TensorSpec, array: Array) -> NumericHistograms:
    cells = numeric_cells(spec, array)
    names = column_names(spec)
    bounds = np.array([_bounds(column) for column in cells.T], cells_dtype(spec))
    blank = NumericHistograms(
        names, bounds[:, 0], bounds[:, 1:-1], bounds[:, -1], np.zeros((len(names), N_CELLS), np.int64)
    )
    return NumericHistograms(names, blank.least, blank.edges, blank.most, blank.count(cells))


def _bounds(column: Array) -> Array:
    """Return the least value, `N_BINS - 1` edges and the largest value of a column."""
    present = np.sort(column[~np.isnan(column)] if column.dtype.kind == "f" else column)
    if not len(present):
        return np.full(N_BINS + 1, np.inf)
    values = present[np.append(True, present[1:] != present[:-1])]
    if len(values) > N_BINS:
        ranks = np.ceil(np.arange(1, N_BINS) / N_BINS * len(present)).astype(np.int64) - 1
        values = np.append(np.unique(present[ranks]), present[-1])
    edges = values[:-1][: N_BINS - 1]
    most = present[-1]
    return np.concatenate([present[:1], edges, np.full(N_BINS - len(edges), most)])


def _text(spec: TensorSpec, array: Array) -> tuple[TextHistogram, ...]:
    return tuple(
        _text_column(name, column.tolist(), spec.missing)
        for name, column in zip(column_names(spec), array.T, strict=True)
    )


def _text_column(name: str, cells: list[str | None], missing: str | None) -> TextHistogram:
    present = [cell[:MAX_TEXT] for cell in cells if cell is not None and cell != missing]
    ordered = sorted(Counter(present).items(), key=lambda item: (-item[1], item[0]))
    values = dict(ordered[:MAX_VALUES])
    return TextHistogram(name, values, len(present) - sum(values.values()), len(cells) - len(present))
