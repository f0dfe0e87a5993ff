"""Triton's classification extension: the best classes of each row as text instead of all scores.

Source: "Classification Extension" in the protocol documentation of Triton Inference Server.
"""

from collections.abc import Sequence

import numpy as np

from ..contract.tensors import Array


def top_classes(scores: Array, count: int, names: Sequence[str] = ()) -> Array:
    """Return the `count` best classes of each row as "score:index", or "score:index:name" where classes have names.

    Args:
        scores: `(n_rows, ...)`; axes after the first are read as one.
        count: classes a row; more than there are means all.
        names: class names in score order, or none.

    Returns:
        `str` objects of shape `(n_rows, min(count, n_classes))`, the best first, of equal ones the lower index.
    """
    flat = scores.reshape(len(scores), -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    text = np.empty(best.shape, object)
    for row, indices in enumerate(best.tolist()):
        for rank, index in enumerate(indices):
            name = f":{names[index]}" if names else ""
            text[row, rank] = f"{flat[row, index]:f}:{index}{name}"
    return text
