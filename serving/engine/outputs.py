"""From member scores to the outputs a bundle declares: the one place where probabilities become labels."""

from collections.abc import Collection
from functools import lru_cache

import numpy as np

from ..contract.bundle import Bundle
from ..contract.combiner import Float64Array
from ..contract.tensors import Array

SCORES = "scores/"


def outputs_of(
    bundle: Bundle,
    scores: Float64Array,
    names: Collection[str] | None = None,
    combined: Float64Array | None = None,
) -> dict[str, Array]:
    """Combine member scores and return the named outputs, by default all of them.

    Args:
        bundle: whose combiner, classes and output names apply.
        scores: `(n_members, n_rows, n_outputs)`; members that no named output needs may hold anything.
        names: `probabilities`, `label`, `prediction`, `scores/<member>`.
        combined: the combiner's answer `(n_rows, n_outputs)`, where it is known already.

    Returns:
        Output name -> FP32 `(n_rows, n_outputs)`; `label` is `(n_rows, 1)`, `str` objects or INT64.
    """
    wanted = all_outputs(bundle) if names is None else names
    out: dict[str, Array] = {}
    if any(not name.startswith(SCORES) for name in wanted):
        if combined is None:
            combined = bundle.combiner(scores)
        if bundle.task == "regression":
            out["prediction"] = combined.astype(np.float32)
        else:
            out["probabilities"] = combined.astype(np.float32)
            if "label" in wanted:
                out["label"] = _class_array(bundle.classes)[combined.argmax(axis=1)][:, None]
    if any(name.startswith(SCORES) for name in wanted):
        for i, member in enumerate(bundle.members):
            if (name := SCORES + member.name) in wanted:
                out[name] = scores[i].astype(np.float32)
    return {name: out[name] for name in wanted}


def all_outputs(bundle: Bundle) -> tuple[str, ...]:
    """Return every output name, the defaults first."""
    return tuple(spec.name for spec in (*bundle.outputs, *bundle.score_outputs))


def members_for(bundle: Bundle, names: Collection[str]) -> tuple[int, ...]:
    """Return the indices of the members that must run to answer the named outputs."""
    combined = any(not name.startswith(SCORES) for name in names)
    used = set(bundle.combiner.used) if combined else set()
    return tuple(i for i, member in enumerate(bundle.members) if i in used or SCORES + member.name in names)


@lru_cache(maxsize=256)
def _class_array(classes: tuple[str, ...] | tuple[int, ...]) -> Array:
    return np.array(classes, dtype=object if isinstance(classes[0], str) else np.int64)
