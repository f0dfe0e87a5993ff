"""Every call of the stock tritonclient against a real server."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio
from small_bundle import make_bundle, rows
from triton_calls import predict, triton_inputs
from tritonclient.grpc import InferenceServerClient, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end


@pytest.fixture(scope="module")
def ensemble(repository_path: Path) -> Ensemble:
    return Ensemble.load(repository_path / "animals" / "1")


def check_against(ensemble: Ensemble, result: InferResult, n_rows: int, seed: int = 0) -> None:
    expected = ensemble.predict(rows(n_rows, seed))
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-6)
    assert result.as_numpy("label").tolist() == [[label.encode()] for label in expected["label"][:, 0]]


def test_infer_answers_the_default_outputs(client: InferenceServerClient, ensemble: Ensemble) -> None:
    result = client.infer("animals", triton_inputs(rows(3)))
    check_against(ensemble, result, 3)
    assert [output.name for output in result.get_response().outputs] == ["probabilities", "label"]


def test_a_response_says_who_answered_and_to_what(client: InferenceServerClient) -> None:
    response = client.infer("animals", triton_inputs(rows(1)), request_id="row 7").get_response()
    assert (response.model_name, response.model_version, response.id) == ("animals", "1", "row 7")


def test_a_version_may_be_named(client: InferenceServerClient, ensemble: Ensemble) -> None:
    check_against(ensemble, client.infer("animals", triton_inputs(rows(2)), model_version="1"), 2)


def test_member_scores_are_answered_when_asked_for_and_add_up(client: InferenceServerClient) -> None:
    answered = predict(client, rows(4), ["scores/wide", "probabilities", "scores/deep"])
    combined = 0.6 * answered["scores/deep"] + 0.4 * answered["scores/wide"]
    np.testing.assert_allclose(combined, answered["probabilities"], atol=1e-6)


def test_outputs_come_in_the_order_asked_for(client: InferenceServerClient) -> None:
    names = ["scores/wide", "label", "scores/deep"]
    requested = [InferRequestedOutput(name) for name in names]
    response = client.infer("animals", triton_inputs(rows(1)), outputs=requested).get_response()
    assert [output.name for output in response.outputs] == names


def test_classes_come_as_text_with_their_names(client: InferenceServerClient, ensemble: Ensemble) -> None:
    requested = [InferRequestedOutput("probabilities", class_count=2), InferRequestedOutput("scores/deep")]
    result = client.infer("animals", triton_inputs(rows(3)), outputs=requested)
    expected = ensemble.predict(rows(3))
    for text, scores, label in zip(
        result.as_numpy("probabilities"), expected["probabilities"], expected["label"][:, 0], strict=True
    ):
        best = np.argsort(-scores)
        assert text[0] == f"{scores[best[0]]:f}:{best[0]}:{label}".encode()
        assert text[1].decode().split(":")[1] == str(best[1])
    assert result.as_numpy("scores/deep").shape == (3, 3)


def test_classes_that_are_numbers_are_labels_of_int64_and_spelled_out_as_text(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    make_bundle(tmp_path / "animals", classes=(30, 10, 20))
    with InferenceServerClient(start_server(tmp_path / "animals").address) as client:
        label = client.infer("animals", triton_inputs(rows(4))).as_numpy("label")
        asked = [InferRequestedOutput("probabilities", class_count=1)]
        best = client.infer("animals", triton_inputs(rows(4)), outputs=asked).as_numpy("probabilities")
    assert label.dtype == np.int64
    found = [tuple(map(int, text.split(b":")[1:])) for text in best[:, 0]]
    assert found == [((30, 10, 20).index(number), number) for number in label[:, 0]]


def test_async_infer_calls_back(client: InferenceServerClient, ensemble: Ensemble) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.async_infer("animals", triton_inputs(rows(2)), callback=lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=20)
    assert error is None
    check_against(ensemble, result, 2)


def test_a_stream_answers_in_order_and_outlives_a_refused_request(
    client: InferenceServerClient, ensemble: Ensemble
) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for i in range(1, 8):
        name = "animals" if i != 4 else "plants"
        client.async_stream_infer(name, triton_inputs(rows(i, seed=i)), request_id=str(i))
    for i in range(1, 8):
        result, error = answers.get(timeout=20)
        if i == 4:
            assert "unknown model 'plants'; this server has 'animals'" in str(error)
        else:
            assert error is None
            assert result.get_response().id == str(i)
            check_against(ensemble, result, i, seed=i)
    client.stop_stream()


def test_metadata_describes_every_input_and_output(client: InferenceServerClient) -> None:
    metadata = client.get_model_metadata("animals")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("animals", ["1"], "ensemble")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("image", "FP32", [-1, 2, 4]),
        ("tabular", "FP32", [-1, 3]),
    ]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("probabilities", "FP32", [-1, 3]),
        ("label", "BYTES", [-1, 1]),
        ("scores/deep", "FP32", [-1, 3]),
        ("scores/wide", "FP32", [-1, 3]),
    ]


def test_the_server_says_that_it_lives_is_ready_and_what_it_can(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "widedeep"
    assert set(metadata.extensions) == {"classification", "model_configuration", "model_repository", "statistics"}


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("animals", "", True), ("animals", "1", True), ("animals", "2", False), ("plants", "", False)],
)
def test_readiness_of_what_does_not_exist_is_no_error(
    client: InferenceServerClient, name: str, version: str, ready: bool
) -> None:
    assert client.is_model_ready(name, version) is ready


def test_the_config_shows_the_ensemble_of_members(client: InferenceServerClient, repository_path: Path) -> None:
    config = client.get_model_config("animals").config
    assert (config.name, config.platform, config.max_batch_size > 0) == ("animals", "ensemble", True)
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [("image", 11, [2, 4]), ("tabular", 11, [3])]
    assert [(t.name, t.data_type) for t in config.output][:2] == [("probabilities", 11), ("label", 13)]
    assert [step.model_name for step in config.ensemble_scheduling.step] == ["animals/deep", "animals/wide"]
    digest = read_bundle(repository_path / "animals" / "1").digest
    assert config.parameters["widedeep.digest"].string_value == digest


def test_a_member_has_a_config_of_its_own(client: InferenceServerClient) -> None:
    config = client.get_model_config("animals/wide").config
    assert (config.name, config.platform) == ("animals/wide", "onnxruntime_onnx")
    assert [t.name for t in config.input] == ["tabular"]
    assert [t.name for t in config.output] == ["scores/wide"]


@pytest.mark.parametrize("call", ["get_model_metadata", "infer"])
def test_a_member_takes_no_calls_of_its_own(client: InferenceServerClient, call: str) -> None:
    arguments = () if call == "get_model_metadata" else (triton_inputs(rows(1)),)
    with pytest.raises(InferenceServerException, match=r"NOT_FOUND.*'animals/wide' is a member"):
        getattr(client, call)("animals/wide", *arguments)


def test_counts_rise_for_the_model_and_for_each_member(client: InferenceServerClient) -> None:
    def counts() -> dict[str, tuple[int, int, int]]:
        entries = client.get_inference_statistics("animals").model_stats
        return {s.name: (s.inference_count, s.execution_count, s.inference_stats.success.count) for s in entries}

    before = counts()
    assert list(before) == ["animals", "animals/deep", "animals/wide"]
    client.infer("animals", triton_inputs(rows(3)))
    client.infer("animals", triton_inputs(rows(2)), outputs=[InferRequestedOutput("scores/deep")])
    after = counts()
    rise = {name: tuple(np.subtract(after[name], before[name]).tolist()) for name in after}
    assert rise == {"animals": (5, 2, 2), "animals/deep": (5, 2, 2), "animals/wide": (3, 1, 1)}


def test_a_refused_request_is_counted_as_a_failure(client: InferenceServerClient) -> None:
    def fails() -> int:
        stats = client.get_inference_statistics("animals", "1").model_stats[0]
        return int(stats.inference_stats.fail.count)

    before = fails()
    with pytest.raises(InferenceServerException):
        client.infer("animals", triton_inputs({"image": rows(1)["image"]}))
    assert fails() == before + 1


def test_statistics_of_one_member_and_of_all_models(client: InferenceServerClient) -> None:
    only = client.get_inference_statistics("animals/wide").model_stats
    assert [entry.name for entry in only] == ["animals/wide"]
    every = client.get_inference_statistics().model_stats
    assert [entry.name for entry in every] == ["animals", "animals/deep", "animals/wide"]


@pytest.mark.parametrize("call", ["get_model_metadata", "get_model_config", "get_inference_statistics"])
@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("plants", "", "unknown model 'plants'; this server has 'animals'"),
        ("animals", "7", "model 'animals' has no version '7'; it has 1"),
        ("animals/", "", "unknown model 'animals/'"),
        ("animals/tall", "", "model 'animals' has no member 'tall'; it has 'deep', 'wide'"),
    ],
)
def test_what_does_not_exist_is_not_found(
    client: InferenceServerClient, call: str, name: str, version: str, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        getattr(client, call)(name, version)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


async def test_the_asynchronous_client_infers_and_asks(server: Server, ensemble: Ensemble) -> None:
    async with triton_aio.InferenceServerClient(server.address) as client:
        assert await client.is_model_ready("animals")
        check_against(ensemble, await client.infer("animals", triton_inputs(rows(2))), 2)
        assert (await client.get_model_metadata("animals")).name == "animals"
        with pytest.raises(InferenceServerException, match="unknown model"):
            await client.infer("plants", triton_inputs(rows(1)))


async def test_the_asynchronous_client_streams(server: Server, ensemble: Ensemble) -> None:
    async def requests() -> Any:
        for i in range(1, 5):
            yield {"model_name": "animals", "inputs": triton_inputs(rows(i, seed=i)), "request_id": str(i)}

    async with triton_aio.InferenceServerClient(server.address) as client:
        i = 0
        async for result, error in client.stream_infer(requests()):
            i += 1
            assert error is None
            assert result.get_response().id == str(i)
            check_against(ensemble, result, i, seed=i)
    assert i == 4


def test_an_abandoned_stream_leaves_no_thread_behind(server: Server) -> None:
    with InferenceServerClient(server.address) as client:
        answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer("animals", triton_inputs(rows(1)))
        answers.get(timeout=20)
        client.stop_stream(cancel_requests=True)
    for reader in [thread for thread in threading.enumerate() if thread.name == "widedeep-stream-reader"]:
        reader.join(20)
        assert not reader.is_alive()
