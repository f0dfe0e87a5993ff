"""The bundle of most batch jobs in the tests."""

from pathlib import Path

import pytest
from small_ensembles import text_labels


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of three classes with names, not to be changed; modules that need another have their own."""
    path = tmp_path_factory.mktemp("animals") / "1"
    text_labels(path)
    return path
