"""What callers may count on below the protocol, whatever speaks HTTP/2: addresses, compression and large messages."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from small_bundle import make_bundle
from triton_calls import INFER, infer_bytes, request_message
from tritonclient.grpc import service_pb2
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.server import Server

pytestmark = pytest.mark.each_front_end

Starter = Callable[..., Server]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def is_answered(address: str, **options: Any) -> bool:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
        return len(call(request_message(2).SerializeToString(), timeout=20, **options).outputs) == 2


def test_a_host_name_is_an_address(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, host="localhost")
    assert server.address == f"localhost:{server.port}"
    assert is_answered(server.address)


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
def test_an_ipv6_host_is_an_address(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, host="::1")
    assert server.address == f"[::1]:{server.port}"
    assert is_answered(server.address)


@pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what is tested
def test_any_address_is_of_both_families(start_server: Starter, repository_path: Path, host: str) -> None:
    server = start_server(repository_path, host=host)
    assert is_answered(f"127.0.0.1:{server.port}")
    assert is_answered(f"[::1]:{server.port}")


@pytest.mark.parametrize("host", ["nosuchhost.invalid", "192.0.2.1"])
def test_an_address_that_is_not_to_be_had_is_refused(start_server: Starter, repository_path: Path, host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}:0"):
        start_server(repository_path, host=host)


def test_compressed_requests_are_answered(server: Server) -> None:
    assert is_answered(server.address, compression=grpc.Compression.Gzip)


def test_a_message_that_is_too_large_once_unpacked_is_refused(start_server: Starter, repository_path: Path) -> None:
    server = start_server(repository_path, max_message_bytes=100_000)
    zeros = {"image": np.zeros((5000, 2, 4), np.float32), "tabular": np.zeros((5000, 3), np.float32)}
    data = request_message(5000, **zeros).SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(INFER).future(data, timeout=20, compression=grpc.Compression.Gzip)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in call.details()


def test_an_answer_that_is_too_large_is_refused(start_server: Starter, tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals" / "1", classes=("c" * 300, "d" * 300, "e" * 300))
    server = start_server(tmp_path, max_message_bytes=20_000)
    data = request_message(100).SerializeToString()
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(INFER).future(data, timeout=20)
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in call.details()
    assert len(infer_bytes(server.address, request_message(10).SerializeToString()).outputs) == 2


def test_a_large_message_is_answered_row_by_row_as_small_ones_are(server: Server) -> None:
    n_rows = 300_000
    message = request_message(n_rows)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(server.address, options=options) as channel:
        call = channel.unary_unary(INFER, response_deserializer=service_pb2.ModelInferResponse.FromString)
        large = call(message.SerializeToString(), timeout=60)
    probabilities = np.frombuffer(large.raw_output_contents[0], np.float32).reshape(n_rows, 3)
    start = 123_456
    part = request_message(
        image=np.frombuffer(message.raw_input_contents[0], np.float32).reshape(-1, 2, 4)[start : start + 7],
        tabular=np.frombuffer(message.raw_input_contents[1], np.float32).reshape(-1, 3)[start : start + 7],
    )
    small = infer_bytes(server.address, part.SerializeToString())
    np.testing.assert_allclose(
        probabilities[start : start + 7].ravel(), np.frombuffer(small.raw_output_contents[0], np.float32), atol=1e-6
    )


def test_a_service_that_is_not_there_is_unimplemented(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/some.Service/Call").future(b"", timeout=20)
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED
