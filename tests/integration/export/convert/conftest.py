"""Small real data and the way a member is scored in serving."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from widedeep.export.libraries import import_keras
from widedeep.export.member import Member
from widedeep.serving.contract.tensors import Array, check_rows
from widedeep.serving.engine import member as engine

Data = tuple[Array, Array]
Score = Callable[[Member, Mapping[str, Array]], Array]


@pytest.fixture(scope="session")
def iris() -> Data:
    """Three classes, 150 rows, 4 columns."""
    rows, labels = load_iris(return_X_y=True)
    return np.asarray(rows), np.asarray(labels)


@pytest.fixture(scope="session")
def cancer() -> Data:
    """Two classes, 569 rows, 30 columns."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return np.asarray(rows), np.asarray(labels)


@pytest.fixture(scope="session")
def diabetes() -> Data:
    """A target between 25 and 346, 442 rows, 10 columns."""
    rows, target = load_diabetes(return_X_y=True)
    return np.asarray(rows), np.asarray(target)


@pytest.fixture(scope="session")
def images() -> Data:
    """Digits as uint8 images `(600, 8, 8, 1)`."""
    data = load_digits()
    return data.images[:600, ..., np.newaxis].astype(np.uint8), data.target[:600]


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras on TensorFlow, seeded; it takes seconds to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorFlow about its own dependencies
        library = import_keras()
    library.utils.set_random_seed(0)
    return library


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """Save a member, open it as the server does, check the rows against its inputs and return its scores."""

    def scored(member: Member, rows: Mapping[str, Array]) -> Array:
        check_rows(member.inputs, rows)
        spec = member.spec("member")
        member.save(tmp_path / spec.file)
        return engine.Member(tmp_path, spec, member.inputs, member.n_outputs).run(rows)

    return scored
