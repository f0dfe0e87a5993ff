"""What each row counts: its own weight, its class's, or both."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from ...serving.contract.tensors import Array
from ..zoo.kind import Float64Array
from .columns import to_floats
from .data_error import DataError
from .target import Target


def read_weights(
    name: str | None,
    columns: Mapping[str, Any],
    kept: Array,
    target: Target,
    class_weight: Literal["balanced"] | None = None,
) -> Float64Array | None:
    """Return the weights of the kept rows `(n_kept,)`, mean 1, or None where all count the same.

    Balanced, each class weighs the same in all: the weights of a row of class c are multiplied by `n / (k n_c)` for k
    classes, where n_c is the weight of the class's rows and n that of all.

    Args:
        name: the column that holds them.
        columns: name -> `pyarrow.ChunkedArray`.
        kept: rows to take `(n_kept,)`.
        target: of these rows.
        class_weight: whether to balance the classes.

    Raises:
        DataError: a weight is missing, negative or infinite; all are zero, or those of a class; or a regression is
            to be balanced.
    """
    if class_weight is not None and target.task == "regression":
        raise DataError("class weights are for classes; the target is one of values")
    weights = None if name is None else _own(name, columns[name], kept)
    if class_weight is not None:
        own = np.ones(len(kept)) if weights is None else weights
        of_class = np.bincount(target.values, own, len(target.classes))
        if (of_class == 0).any():
            raise DataError(
                f"class {target.classes[int(np.argmin(of_class))]!r} cannot be balanced: its rows weigh nothing"
            )
        weights = own * (own.sum() / (len(target.classes) * of_class))[target.values]
    return None if weights is None else with_mean_one(weights)


def with_mean_one(weights: Float64Array) -> Float64Array:
    """Return weights in proportion, with the mean 1; ones if all are zero."""
    mean = weights.mean()
    return weights / mean if mean > 0 else np.ones_like(weights)


def _own(name: str, cells: Any, kept: Array) -> Float64Array:
    import pyarrow as pa

    try:
        weights = to_floats(cells)[kept]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"weight column {name!r} holds {cells.type}; expected numbers") from error
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"weight column {name!r} holds {weights[row]:g} in row {int(kept[row])}; expected finite weights from 0"
        )
    if not weights.any():
        raise DataError(f"weight column {name!r} is zero in every row; expected weights above 0")
    return weights
