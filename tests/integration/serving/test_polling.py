"""A server that watches its repository: what is put on disk is served, and callers notice nothing but the version."""

import gc
import hashlib
import os
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from small_bundle import make_bundle, rows
from triton_calls import triton_inputs
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException
from waiting import wait_for as wait
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.online.server import Server

wait_for = partial(wait, timeout_s=20)

Starter = Callable[..., Server]

pytestmark = pytest.mark.each_front_end

POLL_S = 0.05
ROWS = rows(3)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one model that a test may change."""
    make_bundle(tmp_path / "models" / "animals" / "1", seed=1)
    return tmp_path / "models"


@pytest.fixture
def server(start_server: Starter, repository: Path) -> Server:
    return start_server(repository, poll_interval_s=POLL_S)


def expected(path: Path) -> Array:
    """Return what a bundle answers for `ROWS`."""
    return Ensemble.load(path).predict(ROWS)["probabilities"]


def answered(client: InferenceServerClient, name: str = "animals") -> tuple[str, Array]:
    result = client.infer(name, triton_inputs(ROWS))
    return result.get_response().model_version, result.as_numpy("probabilities")


def index(client: InferenceServerClient) -> dict[str, tuple[str, str]]:
    models = client.get_model_repository_index().models
    return {f"{model.name}/{model.version}": (model.state, model.reason) for model in models}


@contextmanager
def called(address: str) -> Iterator[tuple[list[tuple[str, Array]], list[Exception]]]:
    """Call a server from six threads all the time; yields the answers and the failures."""
    stop = threading.Event()
    answers: list[tuple[str, Array]] = []
    failures: list[Exception] = []

    def call() -> None:
        with InferenceServerClient(address) as client:
            while not stop.is_set():
                try:
                    answers.append(answered(client))
                except InferenceServerException as error:
                    failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield answers, failures
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)


def test_versions_are_swapped_under_load_and_every_answer_is_one_versions_own(server: Server, repository: Path) -> None:
    answers_of = {"1": expected(repository / "animals" / "1")}
    with called(server.address) as (answers, failures):
        for version in range(2, 5):
            path = repository / "animals" / str(version)
            make_bundle(path, seed=version)
            answers_of[str(version)] = expected(path)
            wait_for(lambda: bool(failures) or (bool(answers) and answers[-1][0] == str(version)))  # noqa: B023
    assert failures == []
    assert {version for version, _ in answers} == {"1", "2", "3", "4"}
    for version, answer in answers:
        np.testing.assert_allclose(answer, answers_of[version], atol=1e-6)


def test_a_version_replaced_in_place_under_load_loses_no_call(server: Server, repository: Path) -> None:
    path = repository / "animals" / "1"
    digest = server.repository.get("animals").digest
    with called(server.address) as (answers, failures):
        make_bundle(path, seed=9)
        wait_for(lambda: server.repository.get("animals").digest != digest)
        n_answers = len(answers)
        wait_for(lambda: len(answers) > n_answers + 20 or bool(failures))
    assert failures == []
    np.testing.assert_allclose(answers[-1][1], expected(path), atol=1e-6)


def test_a_broken_version_displaces_nothing_and_the_index_says_why(
    client: InferenceServerClient, server: Server, repository: Path, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "2", seed=2)
    with (tmp_path / "2" / "members" / "deep.onnx").open("ab") as file:
        file.write(b"x")
    shutil.move(tmp_path / "2", repository / "animals" / "2")
    wait_for(lambda: "has changed" in index(client).get("animals/2", ("", ""))[1])
    assert index(client)["animals/2"][0] == "UNAVAILABLE"
    assert answered(client)[0] == "1"
    assert server.repository.load_failures() == {"animals": 1}


def test_a_version_whose_golden_rows_differ_displaces_nothing(
    client: InferenceServerClient, repository: Path, tmp_path: Path
) -> None:
    """Every digest is right; only the answers are not."""
    make_bundle(tmp_path / "2", seed=2)
    make_bundle(tmp_path / "3", seed=3)
    description = (tmp_path / "2" / "bundle.json").read_text()
    for file in ("members/deep.onnx",):
        old, new = (digest_of(tmp_path / version / file) for version in "23")
        description = description.replace(old, new)
        shutil.copyfile(tmp_path / "3" / file, tmp_path / "2" / file)
    (tmp_path / "2" / "bundle.json").write_text(description)
    shutil.move(tmp_path / "2", repository / "animals" / "2")
    wait_for(lambda: "golden output" in index(client).get("animals/2", ("", ""))[1])
    assert answered(client)[0] == "1"


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_new_model_is_served_and_one_that_is_removed_is_not(client: InferenceServerClient, repository: Path) -> None:
    make_bundle(repository / "plants" / "1", name="plants")
    wait_for(lambda: client.is_model_ready("plants"))
    assert answered(client, "plants")[0] == "1"
    shutil.rmtree(repository / "plants")
    wait_for(lambda: set(index(client)) == {"animals/1"})
    with pytest.raises(InferenceServerException, match="unknown model 'plants'") as caught:
        answered(client, "plants")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_repository_that_is_lost_is_served_on_and_followed_again_once_it_is_back(
    client: InferenceServerClient, repository: Path
) -> None:
    lost = repository.with_name("lost")
    repository.rename(lost)
    time.sleep(5 * POLL_S)
    repository.mkdir()
    time.sleep(5 * POLL_S)
    assert answered(client)[0] == "1"
    make_bundle(lost / "animals" / "2", seed=2)
    os.replace(lost, repository)  # noqa: PTH105 - onto an empty folder, at once
    wait_for(lambda: answered(client)[0] == "2")


def test_a_version_that_is_replaced_leaves_the_memory_at_once(
    client: InferenceServerClient, server: Server, repository: Path
) -> None:
    """A run of the garbage collector would hold up all calls."""
    answered(client)
    before = weakref.ref(server.repository.get("animals").ensemble)
    gc.collect()
    gc.disable()
    try:
        make_bundle(repository / "animals" / "2", seed=2)
        wait_for(lambda: answered(client)[0] == "2" and before() is None)
    finally:
        gc.enable()


def test_without_an_interval_nothing_is_looked_at(start_server: Starter, repository: Path) -> None:
    server = start_server(repository)
    make_bundle(repository / "animals" / "2", seed=2)
    time.sleep(0.2)
    assert [entry.version for entry in server.repository.index()] == [1]


def test_a_server_stops_while_it_loads(start_server: Starter, repository: Path) -> None:
    server = start_server(repository, poll_interval_s=POLL_S)
    for version in range(2, 8):
        make_bundle(repository / "animals" / str(version), seed=version)
    time.sleep(2 * POLL_S)
    server.stop()
    assert all(entry.state != "READY" for entry in server.repository.index())
