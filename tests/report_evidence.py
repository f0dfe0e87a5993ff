"""Evidence of ensembles that exist in memory only: what a report's sections take."""

from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

import numpy as np
from small_bundle import CERTIFICATE
from widedeep.export.report.evidence import Evidence, Examples, Scored
from widedeep.serving.contract.bundle import Bundle, MemberSpec
from widedeep.serving.contract.combiner import Combiner, LinearPool
from widedeep.serving.contract.tensors import DataType, TensorSpec

HOSTILE = "<script>alert('x')</script>&\"\x00"
"""Every character that markup could trip over."""


def parse(text: str) -> ET.Element:
    """Return the root of well-formed XML."""
    return ET.fromstring(text)  # noqa: S314 - our own


def probabilities(n_rows: int, n_outputs: int, seed: int, target: Any = None) -> Any:
    """Return rows of probabilities that lean towards the target."""
    logits = np.random.default_rng(seed).normal(size=(n_rows, n_outputs))
    if target is not None:
        logits[np.arange(n_rows), target] += 1.5
    exp = np.exp(logits)
    return exp / exp.sum(axis=1, keepdims=True)


def evidence_of(
    *,
    classes: Sequence[str] = ("cat", "dog", "ibex"),
    members: Sequence[str] = ("deep_0", "wide_1"),
    columns: tuple[str, ...] = ("a", "b", "c"),
    combiner: Combiner | None = None,
    n_rows: int = 200,
    source: Literal["test", "held_out"] | None = "test",
    training: dict[str, Any] | None = None,
    examples: Examples | None = None,
    n_values: int = 1,
    inputs: tuple[TensorSpec, ...] = (),
) -> Evidence:
    """Return evidence of a classification, or with no classes of a regression of `n_values` outputs."""
    n_outputs = len(classes) or n_values
    inputs = inputs or (TensorSpec("tabular", DataType.FP32, (-1, len(columns)), feature_names=columns),)
    pool = combiner or LinearPool(np.full(len(members), 1 / len(members)), normalize=bool(classes))
    bundle = Bundle(
        "animals",
        "classification" if classes else "regression",
        inputs,
        tuple(classes),
        n_outputs,
        tuple(MemberSpec(name, (inputs[0].name,), {"class": "Net"}, {"": 17}, CERTIFICATE) for name in members),
        pool,
    )
    judged = None
    if source is not None:
        rng = np.random.default_rng(5)
        if classes:
            target = rng.integers(0, n_outputs, n_rows)
            scores = np.stack([probabilities(n_rows, n_outputs, i, target) for i in range(len(members))])
        else:
            target = rng.normal(size=(n_rows, n_outputs))
            scores = target + rng.normal(size=(len(members), n_rows, n_outputs))
        judged = Scored(source, n_rows, target, scores.astype(np.float32), pool(scores))
    return Evidence(bundle, training or {}, judged, examples)


def training_of(
    members: Sequence[str] = ("deep_0", "wide_1"), columns: Sequence[str] = ("a", "b", "c")
) -> dict[str, Any]:
    """Return what `widedeep train` tells of two members."""
    kinds = ("deep", "wide")
    return {
        "format": 1,
        "target": "animal",
        "metric": "log_loss",
        "n_rows": {"train": 600, "test": 200},
        "columns": [{"name": name, "role": "numbers", "note": ""} for name in columns]
        + [{"name": "always_1", "role": "dropped", "note": "constant"}],
        "notes": ["3 duplicate rows were kept"],
        "n_folds": 5,
        "sampler": "tpe",
        "seconds": {"search": 100.0, "export": 5.0},
        "trials": [
            {
                "number": i,
                "kind": kinds[i % 2],
                "params": {"size": i},
                "state": "pruned" if i == 3 else "complete",
                "loss": None if i == 3 else 1.0 / (1 + i),
                "latency_us": None if i == 3 else 2.0 + i,
                "seconds": 1.0,
                "ended_s": 2.0 * (i + 1),
                "steps": {},
            }
            for i in range(6)
        ],
        "members": {
            name: {
                "kind": kinds[i],
                "family": kinds[i],
                "params": {"size": 3 + i},
                "trial": i,
                "loss": 0.5 - 0.1 * i,
                "latency_us": 3.0 + 10 * i,
                "importance": dict.fromkeys(columns, 1 / len(columns)) if i else {},
                "history": {} if i else {"training loss": [0.9, 0.5, 0.4], "validation loss": [1.0, 0.6, 0.55]},
            }
            for i, name in enumerate(members)
        },
        "latency": {"budget_us": 50.0, "ensemble_us": 14.0, "batch_rows": 32},
    }
