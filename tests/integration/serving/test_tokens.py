"""Bearer tokens of a real server, whatever speaks HTTP/2: stock clients with and without, and a file that changes."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from small_bundle import rows
from tls_files import Authority
from triton_calls import INFER, predict, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient, service_pb2
from tritonclient.utils import InferenceServerException
from widedeep.serving.client import AsyncClient, Client, tls_credentials
from widedeep.serving.contract.errors import ConfigurationError, InvalidInput, PermissionDenied, Unauthenticated
from widedeep.serving.online.server import Server
from widedeep.serving.online.tokens import new_token
from widedeep.serving.protocol.service import METHODS
from widedeep.serving.settings import ServeSettings

pytestmark = pytest.mark.each_front_end

Starter = Callable[..., Server]
TOKEN, LINE = new_token("reporting")
ADMIN, ADMIN_LINE = new_token("operator", is_admin=True)
HEADER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\n{LINE}\n{ADMIN_LINE}\n")
    return path


def status(address: str, token: str = "", method: str = INFER, header: str = "authorization") -> grpc.StatusCode:
    metadata = [(header, f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(method).future(request_message(2).SerializeToString(), timeout=20, metadata=metadata)
        return call.code()


def becomes(code: grpc.StatusCode, address: str, token: str) -> bool:
    """Wait until calls with a token end like that: a change of the file is seen within a second."""
    deadline = time.monotonic() + 10
    while (is_so := status(address, token) is code) is False and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_so


def test_tritonclient_with_a_token_is_answered_and_without_is_not(
    start_server: Starter, repository_path: Path, tokens: Path
) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    with InferenceServerClient(server.address) as client:
        answer = client.infer("animals", triton_inputs(rows(3)), headers=HEADER)
        assert answer.as_numpy("probabilities").shape == (3, 3)
        assert client.get_model_metadata("animals", headers=HEADER).name == "animals"
        with pytest.raises(InferenceServerException, match=r"UNAUTHENTICATED.*authorization: Bearer"):
            predict(client, rows(3))
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            client.get_model_metadata("animals")


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {LINE.split()[1][7:]}"],
)
def test_whatever_is_wrong_the_refusal_is_the_same(
    start_server: Starter, repository_path: Path, tokens: Path, value: str
) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(INFER).future(
            request_message(2).SerializeToString(), timeout=20, metadata=[("authorization", value)] if value else []
        )
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert call.details() == "expected metadata `authorization: Bearer <token>` with a token that is valid here"


def test_two_headers_are_none(start_server: Starter, repository_path: Path, tokens: Path) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    with grpc.insecure_channel(server.address) as channel:
        metadata = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
        call = channel.unary_unary(INFER).future(request_message(2).SerializeToString(), timeout=20, metadata=metadata)
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED


def test_only_questions_after_health_need_no_token(start_server: Starter, repository_path: Path, tokens: Path) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    with grpc.insecure_channel(server.address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as refused:
            next(reflection(iter([asked]), timeout=20))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]  # a call, too
        listed = next(reflection(iter([asked]), timeout=20, metadata=tuple(HEADER.items())))
        assert len(listed.list_services_response.service) == 4
    for method in METHODS.values():
        found = status(server.address, method=method.path)
        is_free = method.name in {"ServerLive", "ServerReady"}
        # They take no fields, so that any message is one of theirs.
        assert found is (grpc.StatusCode.OK if is_free else grpc.StatusCode.UNAUTHENTICATED), method.name
    assert status(server.address, method="/some.Service/Call") is grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_is_refused_before_it_sends_anything(
    start_server: Starter, repository_path: Path, tokens: Path
) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    path = METHODS["ModelStreamInfer"].path
    with grpc.insecure_channel(server.address) as channel:
        stream = channel.stream_stream(path, response_deserializer=service_pb2.ModelStreamInferResponse.FromString)

        def silent() -> object:
            time.sleep(20)
            yield b""

        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            next(stream(silent(), timeout=30))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]  # a call, too
        assert time.monotonic() - started < 10
        data = request_message(2).SerializeToString()
        answers = stream(iter([data, data]), timeout=20, metadata=tuple(HEADER.items()))
        assert [len(answer.infer_response.outputs) for answer in answers] == [2, 2]


def test_a_token_that_is_added_is_taken_and_one_that_is_removed_is_not(
    start_server: Starter, repository_path: Path, tokens: Path
) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    added, line = new_token("added")
    assert status(server.address, added) is grpc.StatusCode.UNAUTHENTICATED
    tokens.write_text(f"{line}\n")
    assert becomes(grpc.StatusCode.OK, server.address, added)
    assert status(server.address, TOKEN) is grpc.StatusCode.UNAUTHENTICATED


def test_a_broken_file_leaves_what_is_in_force_and_is_logged_without_what_it_says(
    start_server: Starter, repository_path: Path, tokens: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    tokens.write_text(f"{LINE}\nsecret-word\n")
    time.sleep(1.1)
    with caplog.at_level(logging.ERROR):
        assert status(server.address, ADMIN) is grpc.StatusCode.OK
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{tokens}, line 2: expected `<name> sha256:" in line
    assert "secret-word" not in line


def test_models_are_loaded_and_unloaded_by_admins_alone_where_that_is_allowed(
    start_server: Starter, repository_path: Path, tokens: Path
) -> None:
    allowed = start_server(repository_path, tokens=str(tokens), allow_model_control=True)
    with InferenceServerClient(allowed.address) as client:
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match=r"PERMISSION_DENIED.*token of an admin"):
                call("animals", headers=HEADER)
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                call("animals")
        client.load_model("animals", headers={"authorization": f"Bearer {ADMIN}"})
    forbidden = start_server(repository_path, tokens=str(tokens))
    with (
        InferenceServerClient(forbidden.address) as client,
        pytest.raises(InferenceServerException, match=r"UNIMPLEMENTED.*switched off"),
    ):
        client.load_model("animals", headers={"authorization": f"Bearer {ADMIN}"})


def test_callers_without_a_token_take_no_place_of_those_with_one(
    start_server: Starter, repository_path: Path, tokens: Path
) -> None:
    server = start_server(
        repository_path, tokens=str(tokens), handler_threads=1, max_queue_calls=1, max_batch_rows=8,
        max_queue_delay_us=60_000_000,
    )  # fmt: skip
    data = request_message(2).SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(INFER)
        waiting = infer.future(data, timeout=20, metadata=tuple(HEADER.items()))
        while server.repository.get("animals").waiting_rows < 2:
            time.sleep(0.01)
        codes = {infer.future(data, timeout=20).code() for _ in range(50)}
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}
        waiting.cancel()


def test_both_clients_send_a_token(start_server: Starter, repository_path: Path, tokens: Path) -> None:
    server = start_server(repository_path, tokens=str(tokens))
    with Client(server.address, model="animals", token=TOKEN, plaintext_token=True) as client:
        expected = client.predict(rows(4)).probabilities
    assert expected is not None

    async def ask() -> None:
        async with AsyncClient(server.address, model="animals", token=TOKEN, plaintext_token=True) as client:
            np.testing.assert_array_equal((await client.predict(rows(4))).probabilities, expected)

    asyncio.run(ask())
    with Client(server.address, model="animals") as client, pytest.raises(Unauthenticated, match="Bearer"):
        client.predict(rows(4))
    with pytest.raises(InvalidInput, match="a token without TLS can be read on its way"):
        Client(server.address, model="animals", token=TOKEN)


def test_over_tls_the_token_goes_along_by_itself(
    start_server: Starter, repository_path: Path, tokens: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "tls")
    pair = authority.issue()
    server = start_server(
        repository_path, front_end="auto", tokens=str(tokens), tls_cert=str(pair.cert), tls_key=str(pair.key)
    )
    target, credentials = f"localhost:{server.port}", tls_credentials(ca=authority.path)
    with Client(target, model="animals", credentials=credentials, token=f"{TOKEN}\n") as client:
        expected = client.predict(rows(4)).probabilities
    assert expected is not None

    async def ask() -> None:
        async with AsyncClient(target, model="animals", credentials=credentials, token=TOKEN) as client:
            np.testing.assert_array_equal((await client.predict(rows(4))).probabilities, expected)

    asyncio.run(ask())
    with InferenceServerClient(target, ssl=True, root_certificates=str(authority.path)) as client:
        answer = client.infer("animals", triton_inputs(rows(4)), headers=HEADER)
        np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            predict(client, rows(4))


def test_errors_of_rights_are_raised_as_such(server: Server) -> None:
    del server  # the statuses need none
    from widedeep.serving.protocol.statuses import error_of

    assert type(error_of(grpc.StatusCode.PERMISSION_DENIED, "no")) is PermissionDenied


def test_a_file_that_cannot_be_used_is_refused_at_the_start(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    with pytest.raises(ConfigurationError, match=f"{path} cannot be read"):
        Server(bundle_path, ServeSettings.load({"tokens": str(path)}))
    path.write_text("# nobody yet\n\n")
    with pytest.raises(ConfigurationError, match=f"{path} holds no token; `widedeep token NAME"):
        Server(bundle_path, ServeSettings.load({"tokens": str(path)}))
