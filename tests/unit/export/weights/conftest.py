"""Held-out scores whose truth is known: targets drawn from a model that members see with more or less noise."""

from collections.abc import Callable

import numpy as np
import pytest
from widedeep.export.weights.held_out import HeldOut
from widedeep.serving.contract.combiner import softmax

N_ROWS, N_CLASSES = 600, 3


def classification(
    noises: tuple[float, ...] = (0.5, 1.0, 1.5), *, n_rows: int = N_ROWS, n_classes: int = N_CLASSES, seed: int = 0
) -> HeldOut:
    """Return scores of one member a noise level; each sees the true logits plus normal noise of that deviation."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n_rows, n_classes))
    target = (softmax(logits).cumsum(axis=1) < rng.random((n_rows, 1))).sum(axis=1)
    scores = np.stack([softmax(logits + noise * rng.normal(size=logits.shape)) for noise in noises])
    return HeldOut(scores, target, "classification")


def regression(
    noises: tuple[float, ...] = (0.3, 0.6, 1.0), *, n_rows: int = N_ROWS, n_outputs: int = 1, seed: int = 0
) -> HeldOut:
    """Return scores of one member a noise level; each is the target plus normal noise of that deviation."""
    rng = np.random.default_rng(seed)
    target = 3 + rng.normal(size=(n_rows, n_outputs))
    return HeldOut(np.stack([target + noise * rng.normal(size=target.shape) for noise in noises]), target, "regression")


@pytest.fixture(scope="session")
def make_classification() -> Callable[..., HeldOut]:
    return classification


@pytest.fixture(scope="session")
def make_regression() -> Callable[..., HeldOut]:
    return regression
