"""The HTTP server of metrics and health on its own, over real connections, good ones and bad."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from http_calls import ask
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.online.metrics import listener as module
from widedeep.serving.online.metrics.listener import Listener, Request, Response


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that says what it was asked, or fails, or takes its time."""

    def respond(request: Request) -> Response:
        if request.path == "/fails":
            raise ValueError("a secret")
        if request.path == "/slow":
            time.sleep(0.3)
        body = b"x" * 3_000_000 if request.path == "/large" else f"{request.method} {request.path}".encode()
        return Response(HTTPStatus.OK, body, headers={"X-Seen": request.headers.get("accept", "")})

    started = Listener(respond)
    started.start("127.0.0.1", 0)
    yield started
    started.stop()


def raw(port: int, data: bytes) -> bytes:
    """Send bytes as they are and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(data)
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts)


def test_a_request_gets_its_answer_and_the_connection_ends(listener: Listener) -> None:
    answer = ask(listener.port, "/a?b=c", Accept="x/y")
    assert (answer.status, answer.body) == (200, b"GET /a")
    assert answer.headers["x-seen"] == "x/y"
    assert answer.headers["connection"] == "close"


def test_head_gets_the_headers_alone(listener: Listener) -> None:
    answer = ask(listener.port, "/a", "HEAD")
    assert (answer.body, answer.headers["content-length"]) == (b"", str(len("HEAD /a")))


def test_a_large_answer_arrives_whole(listener: Listener) -> None:
    assert len(ask(listener.port, "/large").body) == 3_000_000


def test_a_failure_is_told_without_its_reason(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    answer = ask(listener.port, "/fails")
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error\n")
    assert "a secret" in caplog.text


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nname : value\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\xff: \x00\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5_000 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused_in_the_words_of_http(listener: Listener, data: bytes, status: int) -> None:
    assert raw(listener.port, data).startswith(f"HTTP/1.1 {status} ".encode())


def test_an_answer_outlives_the_body_that_came_with_its_request(listener: Listener) -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    assert raw(listener.port, head + b"x" * 100_000).startswith(b"HTTP/1.1 200 ")


def test_clients_that_dawdle_hold_nobody_up_and_are_cut_off(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_S", 1.0)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", listener.port))) for _ in range(200)]
        for connection in slow:
            connection.sendall(b"GET / HTTP/1.1\r\nA: ")
        begun = time.monotonic()
        assert ask(listener.port, "/").status == 200
        assert time.monotonic() - begun < 0.9
        for connection in slow:
            connection.settimeout(20)
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_of_more_clients_than_may_be_open_the_slowest_goes_first(listener: Listener) -> None:
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
            for _ in range(module._MAX_OPEN + 20)
        ]
        assert ask(listener.port, "/").status == 200
        slow[0].settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert slow[0].recv(1) == b""
        slow[-1].sendall(b"GET / HTTP/1.1\r\n\r\n")
        slow[-1].settimeout(20)
        assert slow[-1].recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_read_its_answer_is_cut_off(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_S", 0.2)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", listener.port))
        deaf.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        time.sleep(0.6)
        deaf.settimeout(20)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while part := deaf.recv(1 << 16):
                received += len(part)
        assert received < 3_000_000


def test_what_is_too_much_at_once_is_refused_and_the_rest_answered(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WAITING", 4)
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(ask(listener.port, "/slow").status)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    assert ask(listener.port, "/").status == 200


def test_a_port_that_is_taken_is_refused_with_the_name_of_the_setting(listener: Listener) -> None:
    other = Listener(lambda _: Response(HTTPStatus.OK, b""))
    with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{listener.port}.*metrics_port"):
        other.start("127.0.0.1", listener.port)
    other.stop()


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_a_wildcard_is_for_both_families_and_an_address_of_one_for_that() -> None:
    both = "127.0.0.1", "::1"
    for host, reached in {"0.0.0.0": both, "::": both, "::1": ("::1",)}.items():  # noqa: S104 - in a test
        started = Listener(lambda _: Response(HTTPStatus.OK, b"here"))
        started.start(host, 0)
        assert [ask(started.port, "/", host=each).body for each in reached] == [b"here"] * len(reached)
        started.stop()


def test_the_port_is_free_again_and_connections_are_closed_once_it_has_stopped(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.port)) as idle:
        listener.stop()
        idle.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            assert idle.recv(1) == b""
    listener.stop()
    with socket.create_server(("127.0.0.1", listener.port)):
        pass
