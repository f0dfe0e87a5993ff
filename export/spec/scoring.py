"""Rows for the converters, and what converted members answer for all of them.

Rows are bound to a member's tensors as a batch job binds them, by column, so that a bundle is learned from the very
values that it will be served.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.columns import bind_columns
from ...serving.contract.errors import InvalidInput
from ...serving.contract.tensors import Array, check_rows
from ...serving.engine import member as engine
from ...serving.engine.pool import available_cores
from ..batches import spread
from ..member import Member
from .data import Dataset
from .inputs import Source, Table, wider

_MOST_ROWS = 20_000
_MOST_BYTES = 256 << 20
"""Rows given to a converter, which compares at most 2,000 of them, evenly drawn."""

_LEAST_ROWS = 64
_CHUNK_ROWS = 256


def row_bytes(given: Iterable[Source]) -> int:
    """Return the size of a row of all inputs, at least 1."""
    return max(1, sum(source.row_bytes for source in given))


def rows_to_convert(given: Sequence[Source]) -> tuple[Any, dict[str, tuple[str, ...]]]:
    """Return rows of some inputs as `convert` takes them, with the names of arrays' columns.

    One table alone stays a DataFrame; anything else is input name -> array.
    """
    index = spread(len(given[0]), max(_LEAST_ROWS, min(_MOST_ROWS, _MOST_BYTES // row_bytes(given))))
    if len(given) == 1 and isinstance(given[0], Table):
        return given[0].take(index), {}
    rows: dict[str, Array] = {}
    features: dict[str, tuple[str, ...]] = {}
    for source in given:
        arrays, names = source.arrays(index)
        rows |= arrays
        features |= names
    return rows, features


def servable(data: Dataset, member: Member) -> npt.NDArray[np.bool_]:
    """Return which rows hold no missing value where the member takes none."""
    sources = _sources(data, member)
    return np.concatenate([_complete(member, _bound(sources, member, index)) for index in _chunks(len(data))])


def own_scores(data: Dataset, name: str, member: Member, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return a member's answers `(n_rows, n_outputs)` under the serving options; NaN for rows that are not `among`.

    Chunks run on all cores, each on one thread, so that the answers are the same on any number of cores.

    Raises:
        InvalidInput: a row holds what the member does not take.
        Problem: an image file cannot be read.
    """
    sources = _sources(data, member)
    out = np.full((len(data), member.n_outputs), np.nan)
    with tempfile.TemporaryDirectory() as folder:
        spec = member.spec(name)
        member.save(Path(folder) / spec.file)
        opened = engine.Member(Path(folder), spec, member.inputs, member.n_outputs)

        def score(index: npt.NDArray[np.int64]) -> None:
            if len(rows := index[among[index]]):
                arrays = _bound(sources, member, rows)
                try:
                    check_rows(member.inputs, arrays)
                except InvalidInput as error:
                    raise InvalidInput(f"among the rows from {rows[0]}: {error}") from error
                out[rows] = opened.run(arrays)

        with ThreadPoolExecutor(available_cores()) as pool:
            for _ in pool.map(score, _chunks(len(data))):
                pass
    return out


def tensors(data: Dataset, members: Mapping[str, Member], index: Array) -> dict[str, Array]:
    """Return some rows of every tensor that a member takes."""
    return {
        name: array
        for member in members.values()
        for name, array in _bound(_sources(data, member), member, index).items()
    }


def _sources(data: Dataset, member: Member) -> list[Source]:
    """Return the inputs that hold what a member's tensors are bound from."""
    wanted = {name for spec in member.inputs for name in (spec.name, *spec.feature_names)}
    return [
        source
        for source in data.inputs.values()
        if source.name in wanted or (isinstance(source, Table) and wanted.intersection(map(str, source.frame.columns)))
    ]


def _bound(sources: Sequence[Source], member: Member, index: Array) -> dict[str, Array]:
    columns: dict[str, Array] = {}
    for source in sources:
        for name, values in source.columns(index).items():
            columns[name] = wider(columns[name], values) if name in columns else values
    return bind_columns(member.inputs, columns)


def _complete(member: Member, arrays: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
    whole = np.ones(len(next(iter(arrays.values()))), np.bool_)
    for spec in member.inputs:
        if spec.datatype.is_float and not spec.allow_nan:
            whole &= ~np.isnan(arrays[spec.name]).reshape(len(whole), -1).any(axis=1)
    return whole


def _chunks(n_rows: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(start, min(start + _CHUNK_ROWS, n_rows)) for start in range(0, n_rows, _CHUNK_ROWS)]
