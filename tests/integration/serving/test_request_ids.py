"""The id that a call goes by: given, sent along or made, it comes back with every answer and every error."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from triton_calls import INFER, request_message
from tritonclient.grpc import service_pb2
from widedeep.serving.online.server import Server
from widedeep.serving.online.tokens import new_token
from widedeep.serving.protocol.service import METHODS

pytestmark = pytest.mark.each_front_end

Starter = Callable[..., Server]
SENT = [("x-request-id", "sent-along")]


def message(given: str = "", model: str = "animals") -> bytes:
    request = request_message(2)
    request.id, request.model_name = given, model
    return request.SerializeToString()


def call(address: str, data: bytes, metadata: list[tuple[str, str]] | None = None, path: str = INFER) -> grpc.Call:
    """Return a call that has ended, well or not."""
    with grpc.insecure_channel(address) as channel:
        made = channel.unary_unary(path).future(data, timeout=20, metadata=metadata)
        made.code()
        return made


def id_of(made: grpc.Call) -> str:
    (found,) = [value for key, value in made.trailing_metadata() if key == "x-request-id"]
    return str(found)


def body_id(made: grpc.Call) -> str:
    return str(service_pb2.ModelInferResponse.FromString(made.result()).id)  # type: ignore[attr-defined]  # a future, too


def test_the_id_of_the_message_comes_first(server: Server) -> None:
    made = call(server.address, message("given"), SENT)
    assert (id_of(made), body_id(made)) == ("given", "given")


def test_an_id_that_is_sent_along_comes_back_beside_the_answer_alone(server: Server) -> None:
    made = call(server.address, message(), SENT)
    assert (id_of(made), body_id(made)) == ("sent-along", "")


def test_without_one_each_call_gets_its_own(server: Server) -> None:
    made = [call(server.address, message()) for _ in range(20)]
    assert all(re.fullmatch(r"[0-9a-f]{16}", id_of(one)) for one in made)
    assert len({id_of(one) for one in made}) == 20
    assert {body_id(one) for one in made} == {""}


@pytest.mark.parametrize("data", [message("given", "nosuch"), b"\xff"], ids=["unknown model", "no message"])
def test_errors_have_one_too(server: Server, data: bytes) -> None:
    made = call(server.address, data, SENT)
    assert made.code() is not grpc.StatusCode.OK
    assert id_of(made) == ("sent-along" if data == b"\xff" else "given")


def test_control_calls_have_one_too(server: Server) -> None:
    for name in ("ServerLive", "ModelMetadata", "RepositoryModelLoad"):
        assert id_of(call(server.address, b"", SENT, METHODS[name].path)) == "sent-along"


def test_refusals_for_want_of_a_token_have_one_too(
    start_server: Starter, repository_path: Path, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text(new_token("someone")[1])
    server = start_server(repository_path, tokens=str(path))
    for method in ("ModelInfer", "ModelMetadata"):
        made = call(server.address, b"", SENT, METHODS[method].path)
        assert (made.code(), id_of(made)) == (grpc.StatusCode.UNAUTHENTICATED, "sent-along")


def test_a_stream_has_the_id_that_was_sent_along(server: Server) -> None:
    path = METHODS["ModelStreamInfer"].path
    with grpc.insecure_channel(server.address) as channel:
        stream = channel.stream_stream(path, response_deserializer=service_pb2.ModelStreamInferResponse.FromString)
        answers = stream(iter([message("first"), message()]), timeout=20, metadata=SENT)
        assert [answer.infer_response.id for answer in answers] == ["first", ""]
        assert id_of(answers) == "sent-along"


def test_a_request_of_a_stream_that_cannot_be_read_is_logged_under_the_id_of_the_stream(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    path = METHODS["ModelStreamInfer"].path
    with caplog.at_level(logging.DEBUG), grpc.insecure_channel(server.address) as channel:
        answers = channel.stream_stream(path)(iter([b"\xff"]), timeout=20)
        assert len(list(answers)) == 1
        assert id_of(answers) in [getattr(record, "request_id", "") for record in caplog.records]


@pytest.mark.parametrize("given", ["Ü grün", "two\nlines", "x" * 100_000, "100%"])
def test_any_id_comes_back_in_a_form_that_may_travel(server: Server, given: str) -> None:
    made = call(server.address, message(given))
    assert body_id(made) == given
    assert re.fullmatch(r"[!-~]{1,128}", id_of(made))
