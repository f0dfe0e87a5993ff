"""The repository's calls: what there is, and loading and unloading it while it serves."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from small_bundle import make_bundle, rows
from triton_calls import predict, triton_inputs
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException
from widedeep.serving.online.server import Server

Starter = Callable[..., Server]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of one model that a test may change."""
    make_bundle(tmp_path / "animals" / "1")
    return tmp_path


@pytest.fixture
def server(start_server: Starter, repository: Path) -> Server:
    return start_server(repository, allow_model_control=True)


def index(client: InferenceServerClient) -> dict[tuple[str, str], tuple[str, str]]:
    return {(m.name, m.version): (m.state, m.reason) for m in client.get_model_repository_index().models}


def test_the_index_is_open_but_control_is_off_by_default(start_server: Starter, repository_path: Path) -> None:
    with InferenceServerClient(start_server(repository_path).address) as client:
        assert index(client) == {("animals", "1"): ("READY", "")}
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="is switched off on this server") as caught:
                call("animals")
            assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
        assert client.is_model_ready("animals")


def test_an_unloaded_model_is_unavailable_until_it_is_loaded_again(client: InferenceServerClient) -> None:
    client.unload_model("animals")
    assert index(client) == {("animals", "1"): ("UNAVAILABLE", "unloaded")}
    assert not client.is_model_ready("animals")
    with pytest.raises(InferenceServerException, match="model 'animals' version 1 is UNAVAILABLE: unloaded") as caught:
        predict(client, rows(1))
    assert caught.value.status() == "StatusCode.UNAVAILABLE"
    client.load_model("animals")
    assert predict(client, rows(1))["probabilities"].shape == (1, 3)


@pytest.mark.parametrize("call", ["load_model", "unload_model"])
def test_a_model_that_is_not_there_is_not_found(client: InferenceServerClient, call: str) -> None:
    with pytest.raises(InferenceServerException, match="model 'plants'") as caught:
        getattr(client, call)("plants")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_new_model_on_disk_is_served_once_loaded(client: InferenceServerClient, repository: Path) -> None:
    make_bundle(repository / "plants" / "1", name="plants", classes=("fern", "moss"))
    assert not client.is_model_ready("plants")
    client.load_model("plants")
    result = client.infer("plants", triton_inputs(rows(2)))
    assert result.as_numpy("probabilities").shape == (2, 2)
    assert set(index(client)) == {("animals", "1"), ("plants", "1")}


def test_overrides_of_a_model_are_refused(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="load parameter 'config'") as caught:
        client.load_model("animals", config="{}")
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_damaged_version_leaves_the_served_one_as_it_is(client: InferenceServerClient, repository: Path) -> None:
    make_bundle(repository / "animals" / "2", seed=7)
    with (repository / "animals" / "2" / "members" / "deep.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InferenceServerException, match=r"'animals' version 2 .*deep.onnx has changed") as caught:
        client.load_model("animals")
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
    state, reason = index(client)[("animals", "2")]
    assert (state, "has changed" in reason) == ("UNAVAILABLE", True)
    assert client.infer("animals", triton_inputs(rows(1))).get_response().model_version == "1"


def test_several_versions_are_served_when_that_is_set(start_server: Starter, repository: Path) -> None:
    make_bundle(repository / "animals" / "2", seed=7)
    with InferenceServerClient(start_server(repository, versions=2).address) as client:
        assert list(client.get_model_metadata("animals").versions) == ["1", "2"]
        versions = {
            given: client.infer("animals", triton_inputs(rows(1)), model_version=given).get_response().model_version
            for given in ("", "1", "2")
        }
    assert versions == {"": "2", "1": "1", "2": "2"}


def test_statistics_are_of_all_versions_unless_one_is_named(start_server: Starter, repository: Path) -> None:
    make_bundle(repository / "animals" / "2", seed=7)
    with InferenceServerClient(start_server(repository, versions=2).address) as client:
        seen = {
            (name, version): [
                (each.name, each.version)
                for each in client.get_inference_statistics(name, version).model_stats
                if "/" not in each.name or "/" in name
            ]
            for name in ("animals", "animals/deep")
            for version in ("", "1")
        }
    assert seen == {
        ("animals", ""): [("animals", "1"), ("animals", "2")],
        ("animals", "1"): [("animals", "1")],
        ("animals/deep", ""): [("animals/deep", "1"), ("animals/deep", "2")],
        ("animals/deep", "1"): [("animals/deep", "1")],
    }


def test_a_swap_under_load_loses_no_call(server: Server, repository: Path) -> None:
    stop = threading.Event()
    answers: list[str] = []
    failures: list[Exception] = []

    def load() -> None:
        with InferenceServerClient(server.address) as client:
            while not stop.is_set():
                try:
                    answers.append(client.infer("animals", triton_inputs(rows(2))).get_response().model_version)
                except InferenceServerException as error:
                    failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    with InferenceServerClient(server.address) as client:
        for version in range(2, 6):
            make_bundle(repository / "animals" / str(version), seed=version)
            client.load_model("animals")
            before = len(answers)
            while len(answers) < before + 20 and not failures:
                stop.wait(0.001)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert answers[-1] == "5"
    assert set(answers) == {"1", "2", "3", "4", "5"}
