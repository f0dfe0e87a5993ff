"""A running server as a scorer: real servers on free ports, restarted, overloaded and swapped under a job's hands."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from peers.processes import free_port
from small_bundle import make_bundle, rows
from widedeep.serving.batch.local import LocalScorer
from widedeep.serving.batch.remote import RemoteScorer
from widedeep.serving.batch.scoring import BatchScorer
from widedeep.serving.client import Client
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import (
    BundleError,
    Cancelled,
    ExecutionError,
    InvalidInput,
    NotFound,
    NotReady,
    WidedeepError,
)
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.online.server import Server
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.service import METHODS, SERVICE

StartServer = Callable[..., Server]

N_RESTARTED = 500
OUTPUTS = ["probabilities", "label", "scores/deep", "scores/wide"]


def address(server: Server) -> str:
    return f"127.0.0.1:{server.port}"


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    return free_port()


@pytest.fixture
def scorer(server: Server) -> Iterator[RemoteScorer]:
    with RemoteScorer.connect(address(server), "animals") as scorer:
        yield scorer


@pytest.fixture(scope="module")
def ensemble(repository_path: Path) -> Ensemble:
    return Ensemble.load(repository_path / "animals" / "1")


def check_same(answers: dict[str, Any], expected: Any) -> None:
    assert list(answers) == list(expected)
    for name, values in answers.items():
        assert values.shape == expected[name].shape
        if name == "label":
            assert values.tolist() == expected[name].tolist()
        else:
            np.testing.assert_allclose(values, expected[name], atol=1e-6)


def test_a_server_answers_as_the_ensemble_in_this_process(scorer: RemoteScorer, ensemble: Ensemble) -> None:
    data = rows(2500)  # three calls
    check_same(scorer.score(data, OUTPUTS), ensemble.predict(data, OUTPUTS))


def test_a_server_tells_all_that_the_bundle_does(scorer: RemoteScorer, repository_path: Path) -> None:
    local = LocalScorer.load(repository_path / "animals" / "1")
    for what in ("identity", "inputs", "outputs", "defaults", "classes"):
        assert getattr(scorer, what) == getattr(local, what)


def test_a_table_is_scored_as_without_a_server(scorer: RemoteScorer, repository_path: Path) -> None:
    data = rows(20)
    table = pa.RecordBatch.from_pydict(
        {
            "image": data["image"].reshape(20, 8).tolist(),
            **{name: data["tabular"][:, i] for i, name in enumerate("abc")},
        }
    )
    local = BatchScorer.load(repository_path / "animals" / "1").score(table)
    remote = BatchScorer(scorer).score(table)
    assert remote.schema.equals(local.schema, check_metadata=True)
    assert remote.column("label") == local.column("label")
    flat = [batch.column("probabilities").flatten().to_numpy() for batch in (remote, local)]
    np.testing.assert_allclose(*flat, atol=1e-6)


@pytest.mark.each_front_end
def test_a_restart_in_the_middle_of_a_job_loses_nothing(
    start_server: StartServer, repository_path: Path, ensemble: Ensemble, port: int
) -> None:
    server = start_server(repository_path, port=port)
    with RemoteScorer.connect(f"127.0.0.1:{port}", "animals") as scorer, ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(scorer.score, rows(64, seed=seed), ["probabilities"]) for seed in range(N_RESTARTED)]
        for _ in range(2):
            answers[sum(answer.done() for answer in answers) + 20].result(60)
            server.stop()
            assert not answers[-1].done()
            time.sleep(0.3)
            server = start_server(repository_path, port=port)
        results = [answer.result(60) for answer in answers]
    for seed, result in enumerate(results):
        check_same(result, ensemble.predict(rows(64, seed=seed), ["probabilities"]))


@pytest.mark.each_front_end
def test_a_full_queue_is_waited_out_and_nothing_is_lost(
    start_server: StartServer, repository_path: Path, ensemble: Ensemble
) -> None:
    server = start_server(
        repository_path, max_batch_rows=8, max_queue_rows=8, max_queue_delay_us=2000, max_queue_calls=3
    )
    with (
        Client(address(server), model="animals") as client,
        RemoteScorer.connect(address(server), "animals") as scorer,
        ThreadPoolExecutor(12) as threads,
    ):
        results = list(threads.map(lambda seed: scorer.score(rows(30, seed=seed), OUTPUTS), range(60)))
        refused = client_refusals(server)
        assert client.is_ready()
    assert refused > 0
    for seed, result in enumerate(results):
        check_same(result, ensemble.predict(rows(30, seed=seed), OUTPUTS))


def client_refusals(server: Server) -> int:
    """Return how many calls the server has refused or failed."""
    return server.repository.get("animals").counters()[0].fail.count


def test_rows_that_the_server_takes_in_no_message_are_sent_in_smaller_ones(
    start_server: StartServer, repository_path: Path, ensemble: Ensemble
) -> None:
    server = start_server(repository_path, max_message_bytes=4096)
    with RemoteScorer.connect(address(server), "animals") as scorer:
        check_same(scorer.score(rows(500), OUTPUTS), ensemble.predict(rows(500), OUTPUTS))


@pytest.mark.each_front_end
def test_another_bundle_under_the_same_version_ends_the_job_with_both_digests(
    start_server: StartServer, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    began = read_bundle(tmp_path / "animals" / "1").digest
    server = start_server(tmp_path)
    with RemoteScorer.connect(address(server), "animals") as scorer:
        scorer.score(rows(3), OUTPUTS)
        make_bundle(tmp_path / "animals" / "1", seed=5)
        server.repository.load("animals")
        served = read_bundle(tmp_path / "animals" / "1").digest
        with pytest.raises(BundleError, match=f"expected the bundle of digest '{began}', served is '{served}'"):
            scorer.score(rows(3), OUTPUTS)
    with pytest.raises(BundleError, match=f"expected the bundle of digest '{began}', served is '{served}'"):
        RemoteScorer.connect(address(server), "animals", "1", digest=began)


def test_a_newer_version_in_place_of_the_jobs_own_ends_the_job(start_server: StartServer, tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals" / "1")
    server = start_server(tmp_path)
    with RemoteScorer.connect(address(server), "animals", timeout_s=0.5) as scorer:
        make_bundle(tmp_path / "animals" / "2", seed=5)
        server.repository.load("animals")
        with pytest.raises(BundleError) as caught:
            scorer.score(rows(3), OUTPUTS)
    began, served = (read_bundle(tmp_path / "animals" / version).digest for version in "12")
    assert f"expected version 1, the bundle of digest '{began}'; served is version 2, '{served}'" in str(caught.value)
    with RemoteScorer.connect(address(server), "animals") as scorer:
        assert (scorer.identity.version, scorer.identity.digest) == ("2", served)


def test_a_bad_row_is_the_rows_fault(scorer: RemoteScorer) -> None:
    data = rows(5)
    data["tabular"][3, 1] = np.nan
    with pytest.raises(InvalidInput, match="input 'tabular': NaN in row 3, column 'b'"):
        scorer.score(data, OUTPUTS)


def test_a_model_that_is_not_there_is_an_error_at_once(server: Server) -> None:
    with pytest.raises(NotFound, match="unknown model 'plants'"):
        RemoteScorer.connect(address(server), "plants")


def test_a_server_that_is_gone_for_good_is_given_up(
    start_server: StartServer, repository_path: Path, port: int
) -> None:
    server = start_server(repository_path, port=port)
    began = time.monotonic()
    with RemoteScorer.connect(f"127.0.0.1:{port}", "animals", timeout_s=0.3, patience_s=1.0) as scorer:
        server.stop()
        with pytest.raises(NotReady, match="the server has not answered for"):
            scorer.score(rows(3), OUTPUTS)
    assert time.monotonic() - began < 30
    with pytest.raises(NotReady):
        RemoteScorer.connect(f"127.0.0.1:{port}", "animals", timeout_s=0.3)


def test_closing_ends_those_who_wait(start_server: StartServer, repository_path: Path, port: int) -> None:
    server = start_server(repository_path, port=port)
    with ThreadPoolExecutor(2) as threads:
        scorer = RemoteScorer.connect(f"127.0.0.1:{port}", "animals", timeout_s=0.2)
        server.stop()
        waiting = [threads.submit(scorer.score, rows(3), OUTPUTS) for _ in range(2)]
        time.sleep(0.5)
        assert not any(each.done() for each in waiting)
        scorer.close()
        for each in waiting:
            assert isinstance(each.exception(10), Cancelled)


class Sums:
    """A server of another make: tells plain metadata, and answers `total (n_rows,)` as its `answer` says."""

    def __init__(self, *, most_bytes: int = 1 << 20) -> None:
        self.calls: list[int] = []
        self.answer: Callable[[Any, grpc.ServicerContext], Any] = lambda x, _: x.sum(axis=1)
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                behaviour,
                request_deserializer=METHODS[name].request.FromString,
                response_serializer=METHODS[name].response.SerializeToString,
            )
            for name, behaviour in (("ModelMetadata", self.metadata), ("ModelInfer", self.infer))
        }
        self.server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", most_bytes)])
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, methods)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def metadata(self, *_: object) -> Any:
        tensor = m.ModelMetadataResponse.TensorMetadata
        outputs = [
            tensor(name="total", datatype="FP32", shape=[-1]),
            tensor(name="ragged", datatype="FP32", shape=[-1, -1]),
        ]
        inputs = [tensor(name="x", datatype="FP32", shape=[-1, 2])]
        return m.ModelMetadataResponse(name="sums", versions=["3", "20"], inputs=inputs, outputs=outputs)

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        x = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(-1, 2)
        self.calls.append(len(x))
        total = np.asarray(self.answer(x, context), np.float32)
        response = m.ModelInferResponse(model_name="sums", model_version=request.model_version)
        response.outputs.add(name="total", datatype="FP32", shape=total.shape)
        response.raw_output_contents.append(total.tobytes())
        return response


@pytest.fixture
def sums() -> Iterator[Callable[..., Sums]]:
    servers: list[Sums] = []

    def start(**settings: int) -> Sums:
        servers.append(Sums(**settings))
        return servers[-1]

    yield start
    for each in servers:
        each.server.stop(None).wait()


PAIRS = np.arange(20, dtype=np.float32).reshape(10, 2)


def test_a_server_of_another_make_is_scored_by(sums: Callable[..., Sums]) -> None:
    with RemoteScorer.connect(f"127.0.0.1:{sums().port}", "sums") as scorer:
        assert (scorer.identity.version, scorer.identity.digest, scorer.classes) == ("20", "", ())
        assert [(spec.name, spec.shape) for spec in scorer.outputs] == [("total", (-1, 1))]
        assert scorer.defaults == ("total",)
        np.testing.assert_array_equal(scorer.score({"x": PAIRS}, ["total"])["total"][:, 0], PAIRS.sum(axis=1))


def test_a_call_that_takes_too_long_is_asked_again_with_fewer_rows(sums: Callable[..., Sums]) -> None:
    server = sums()

    def slowly(x: Any, _: object) -> Any:
        time.sleep(0.06 * len(x))
        return x.sum(axis=1)

    server.answer = slowly
    with RemoteScorer.connect(f"127.0.0.1:{server.port}", "sums", timeout_s=0.4) as scorer:
        answer = scorer.score({"x": PAIRS}, ["total"])["total"]
    np.testing.assert_array_equal(answer[:, 0], PAIRS.sum(axis=1))
    assert server.calls[0] == 10
    assert max(server.calls[1:]) <= 5


def test_a_row_that_fits_no_message_is_a_bad_row(sums: Callable[..., Sums]) -> None:
    server = sums(most_bytes=40)
    with (
        RemoteScorer.connect(f"127.0.0.1:{server.port}", "sums") as scorer,
        pytest.raises(InvalidInput, match=r"row 0: the server takes no message that holds it: .*larger than max"),
    ):
        scorer.score({"x": PAIRS}, ["total"])
    assert server.calls == []


def test_a_failure_that_comes_again_is_the_rows_and_one_that_does_not_is_nobodys(sums: Callable[..., Sums]) -> None:
    server = sums()
    failures = [1]

    def fail(x: Any, context: grpc.ServicerContext) -> Any:
        if failures[0]:
            failures[0] -= 1
            context.abort(grpc.StatusCode.INTERNAL, "the connection was lost")
        return x.sum(axis=1)

    server.answer = fail
    with RemoteScorer.connect(f"127.0.0.1:{server.port}", "sums") as scorer:
        assert len(scorer.score({"x": PAIRS}, ["total"])["total"]) == 10
        failures[0] = 2
        with pytest.raises(ExecutionError, match="the connection was lost"):
            scorer.score({"x": PAIRS}, ["total"])
    assert server.calls == [10] * 4


def test_what_concerns_every_row_is_no_rows_fault(sums: Callable[..., Sums]) -> None:
    server = sums()
    server.answer = lambda _, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
    with (
        RemoteScorer.connect(f"127.0.0.1:{server.port}", "sums") as scorer,
        pytest.raises(WidedeepError, match="not for you") as caught,
    ):
        scorer.score({"x": PAIRS}, ["total"])
    assert not isinstance(caught.value, InvalidInput | ExecutionError)
    assert server.calls == [10]
