"""Runs of a converted graph under the serving options, before there is a bundle: structure checked, any batch size."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from ..serving.contract.errors import BundleError
from ..serving.contract.tensors import TensorSpec
from ..serving.engine.runtime import open_session, ort, resolve_providers
from .batches import Arrays
from .member import ConversionError

_SMALL = ((8, 1), (64, 8))
"""The first eight rows run one by one, the next up to row 64 in eights, the rest in large batches."""

_LARGE_BYTES = 8 << 20
_LARGE_ROWS = (256, 4096)


def open_graph(path: Path, inputs: Sequence[TensorSpec], provider: str) -> ort.InferenceSession:
    """Open a graph under the serving session options.

    Raises:
        ConversionError: it is not valid ONNX, onnxruntime cannot load it, its inputs are not the declared ones, or it
            has another than one FP32 output.
        ConfigurationError: the provider cannot be had here.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # its own classes, and protobuf's where the bytes are no model at all
        raise ConversionError(f"the converted graph is not valid ONNX: {error}") from error
    try:
        session = open_session(path, providers=resolve_providers([provider]))
    except BundleError as error:
        raise ConversionError(f"the converted graph does not load: {error}") from error
    taken, declared = [node.name for node in session.get_inputs()], [spec.name for spec in inputs]
    if sorted(taken) != sorted(declared):
        raise ConversionError(f"the converted graph takes {taken}, declared are {declared}")
    if [node.type for node in session.get_outputs()] != ["tensor(float)"]:
        outputs = {node.name: node.type for node in session.get_outputs()}
        raise ConversionError(f"the converted graph answers {outputs}; expected one output of FP32")
    return session


def score(
    session: ort.InferenceSession, rows: Arrays, n_outputs: int, *, small_batches: bool = False
) -> npt.NDArray[np.float64]:
    """Return the graph's scores `(n_rows, n_outputs)`.

    Args:
        session: from `open_graph`.
        rows: tensor name -> rows.
        n_outputs: columns that the scores must have.
        small_batches: whether the first rows run one by one and in eights.

    Raises:
        ConversionError: the run fails, or answers in another shape.
    """
    names = [node.name for node in session.get_inputs()]
    parts = []
    for start, stop in _batches(rows, small=small_batches):
        try:
            part = session.run(None, {name: rows[name][start:stop] for name in names})[0]
        except Exception as error:  # onnxruntime raises a different class for each of its own status codes
            raise ConversionError(f"the converted graph fails on rows {start} to {stop - 1}: {error}") from error
        if part.shape != (stop - start, n_outputs):
            raise ConversionError(
                f"the converted graph answers {list(part.shape)} for {stop - start} rows; "
                f"expected {[stop - start, n_outputs]}"
            )
        parts.append(part)
    return np.concatenate(parts).astype(np.float64)


def _batches(rows: Arrays, *, small: bool) -> Iterator[tuple[int, int]]:
    n_rows = len(next(iter(rows.values())))
    row_bytes = sum(array[:1].nbytes for array in rows.values())
    large = int(np.clip(_LARGE_BYTES // max(1, row_bytes), *_LARGE_ROWS))
    start = 0
    while start < n_rows:
        size = next((size for until, size in _SMALL if small and start < until), large)
        yield start, min(start + size, n_rows)
        start += size
