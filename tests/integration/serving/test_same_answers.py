"""Whatever stands between a caller and an ensemble, the answers are those of the ensemble."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_bundle import make_bundle, rows
from widedeep.serving.client import Client
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.pool import Pool

OUTPUTS = ("probabilities", "label", "scores/deep", "scores/wide")


@pytest.fixture(scope="module")
def fused_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("same") / "bundle"
    make_bundle(path, fused=True)
    return path


@pytest.fixture(scope="module")
def ensemble(fused_path: Path) -> Ensemble:
    return Ensemble.load(fused_path, pool=Pool(1))


@pytest.fixture(
    scope="module",
    params=[
        ("--front-end", "grpcio"),
        ("--front-end", "grpcio", "--max-batch-rows", "7"),
        ("--front-end", "native", "--cores", "1"),
        ("--front-end", "native", "--workers", "2"),
        ("--front-end", "grpcio", "--workers", "2"),
    ],
    ids=" ".join,
)
def client(fused_path: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a server of one variant, a process of its own."""
    command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(fused_path), "--name", "animals"]
    options = ["--host", "127.0.0.1", "--port", "0", "--drain-wait-s", "0", *request.param]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout or ())
        address = next(match[1] for line in lines if (match := re.match(r"listening on (\S+)", line)))
        with Client(address, model="animals") as client:
            yield client
        process.terminate()
        process.communicate(timeout=30)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.lists(st.sampled_from(OUTPUTS), min_size=1, unique=True))
def test_answers_are_the_ensembles(
    ensemble: Ensemble, client: Client, n_rows: int, seed: int, outputs: list[str]
) -> None:
    batch = rows(n_rows, seed)
    expected = ensemble.predict(batch, outputs)
    answer = client.predict(batch, outputs=outputs).outputs
    for name in outputs:
        if name == "label":
            np.testing.assert_array_equal(answer[name], expected[name])
        else:
            np.testing.assert_allclose(answer[name], expected[name], atol=1e-6)
