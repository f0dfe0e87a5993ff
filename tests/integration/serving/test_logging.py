"""What a real `widedeep serve` logs: one JSON object a line, of every call with the id that its answer had."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from small_bundle import make_bundle, rows
from triton_calls import INFER, request_message, triton_inputs
from tritonclient.grpc import InferenceServerClient
from widedeep.serving.online.server import Server
from widedeep.serving.online.tokens import new_token
from widedeep.serving.protocol.service import METHODS

Starter = Callable[..., Server]
FRONT_ENDS = ["grpcio", "native"]
TOKEN, LINE = new_token("reporting")


class Process:
    """A real `widedeep serve`, and what it has written so far."""

    def __init__(self, path: Path, *flags: str, **environment: str) -> None:
        command = [sys.executable, "-m", "widedeep.serving.cli", "serve", str(path), "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--drain-wait-s", "0", "--log-format", "json", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def address(self) -> str:
        assert self._listening.wait(30), self.lines
        (found,) = [match[1] for line in self.lines if (match := re.search(r"listening on (\S+)", line))]
        return found

    def end(self) -> tuple[list[dict[str, Any]], str]:
        """Stop it; return what its lines hold and what stood on standard output."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self._reader.join(10)
        assert self.process.stdout is not None
        return [json.loads(line) for line in self.lines], self.process.stdout.read()

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "listening on" in line:
                self._listening.set()
        self._listening.set()  # there will be no more


@contextmanager
def serving(path: Path, *flags: str, **environment: str) -> Iterator[Process]:
    process = Process(path, *flags, **environment)
    try:
        yield process
    finally:
        process.close()


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_every_line_is_an_object_and_calls_have_the_fields_that_tell_them_apart(
    repository_path: Path, tmp_path: Path, front_end: str
) -> None:
    if front_end == "native":
        pytest.importorskip("pygrpc_native")
    tokens = tmp_path / "tokens"
    tokens.write_text(LINE)
    flags = ["--front-end", front_end, "--log-calls", "--log-level", "debug", "--tokens", str(tokens)]
    with serving(repository_path, *flags) as server:
        with InferenceServerClient(server.address) as client:
            headers = {"authorization": f"Bearer {TOKEN}"}
            client.infer("animals", triton_inputs(rows(3)), request_id="mine", headers=headers)
        with grpc.insecure_channel(server.address) as channel:
            refused = channel.unary_unary(INFER).future(b"", timeout=20, metadata=[("x-request-id", "stranger")])
            assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
            message = request_message(2)
            message.model_name = "nosuch"
            metadata = [("x-request-id", "lost"), ("authorization", f"Bearer {TOKEN}")]
            lost = channel.unary_unary(INFER).future(message.SerializeToString(), timeout=20, metadata=metadata)
            assert lost.code() is grpc.StatusCode.NOT_FOUND
        text = "".join(server.lines)
        lines, output = server.end()
        text += "".join(server.lines)
    assert output == ""
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in {"debug", "info", "warning", "error", "critical"}
        assert line["logger"]
        assert "message" in line
    messages = [line["message"] for line in lines]
    assert "serving animals version 1: deep (CPU), wide (CPU)" in messages
    assert messages[-1] == "stopped"
    by_id = {line["request_id"]: line for line in lines if "request_id" in line}
    mine = by_id["mine"]
    assert 0 < mine.pop("duration_ms") < 10_000
    del mine["time"], mine["logger"]
    assert mine == {
        "level": "info",
        "message": "call answered",
        "request_id": "mine",
        "method": "ModelInfer",
        "model": "animals",
        "version": "1",
        "caller": "reporting",
        "code": "OK",
        "rows": 3,
    }
    assert by_id["stranger"]["code"] == "UNAUTHENTICATED"
    assert "caller" not in by_id["stranger"]
    assert (by_id["lost"]["code"], by_id["lost"]["model"]) == ("NOT_FOUND", "nosuch")
    assert TOKEN not in text


def test_lines_of_several_workers_say_which_wrote_them(repository_path: Path) -> None:
    with serving(repository_path, "--workers", "2", "--log-calls") as server:
        for _ in range(16):
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(server.address, options) as channel:
                channel.unary_unary(INFER)(request_message(2).SerializeToString(), timeout=20)
        lines, output = server.end()
    assert output == ""
    calls = [line for line in lines if line["message"] == "call answered"]
    assert len(calls) == 16
    assert {line["worker"] for line in calls} == {0, 1}
    assert any(line["message"] == "2 workers" and "worker" not in line for line in lines)


def test_what_cannot_be_served_is_a_line_too(tmp_path: Path) -> None:
    with serving(tmp_path / "none") as server:
        assert server.process.wait(30) == 1
        server._reader.join(10)
        (line,) = [json.loads(line) for line in server.lines]
    assert line["level"] == "critical"
    assert str(tmp_path / "none") in line["message"]


def test_warnings_and_uncaught_errors_are_lines_too() -> None:
    program = (
        "import sys, threading, warnings\n"
        "from widedeep.serving.logs import configure\n"
        "configure('info', 'json')\n"
        "warnings.warn('old\\nhat')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "class Bad:\n    def __del__(self): raise KeyError('gone')\n"
        "Bad()\n"
        "raise ValueError('the end')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    warned, in_thread, unraisable, uncaught = map(json.loads, done.stderr.splitlines())
    assert (warned["level"], warned["logger"]) == ("warning", "py.warnings")
    assert "old\nhat" in warned["message"]
    assert in_thread["message"] == "uncaught ZeroDivisionError"
    assert in_thread["exception"].startswith("Traceback")
    assert "KeyError" in unraisable["exception"]
    assert uncaught["exception"].endswith("ValueError: the end")


def test_handshakes_that_fail_leave_no_line_that_is_no_object(repository_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("trustme")
    from tls_files import Authority

    pair = Authority(tmp_path).issue()
    with serving(repository_path, "--tls-cert", str(pair.cert), "--tls-key", str(pair.key)) as server:
        port = server.address.rpartition(":")[2]
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            call = channel.unary_unary(METHODS["ServerLive"].path).future(b"", timeout=5)
            assert call.code() is grpc.StatusCode.UNAVAILABLE
        server.end()


@pytest.mark.each_front_end
@pytest.mark.parametrize("streamed", [False, True])
def test_an_unexpected_error_is_logged_once_in_full_with_the_id_that_the_caller_got(
    start_server: Starter,
    repository_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
) -> None:
    server = start_server(repository_path)
    servable = server.repository.get("animals")

    def fail(*_: object) -> None:
        raise RuntimeError("the reader is broken")

    monkeypatch.setattr(servable.reader, "inputs", fail)
    message = request_message(2)
    message.id = "unlucky"
    data = message.SerializeToString()
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.ERROR):
        if streamed:
            (answer,) = channel.stream_stream(METHODS["ModelStreamInfer"].path)(iter([data]), timeout=20)
            assert b"internal error" in answer
        else:
            call = channel.unary_unary(INFER).future(data, timeout=20)
            assert call.code() is grpc.StatusCode.INTERNAL
            assert "broken" not in call.details()
    (line,) = caplog.records
    assert line.__dict__["request_id"] == "unlucky"
    assert line.__dict__["code"] == "INTERNAL"
    assert line.exc_info is not None
    assert "the reader is broken" in str(line.exc_info[1])


@pytest.mark.each_front_end
def test_calls_are_not_logged_unless_that_is_asked_for(
    start_server: Starter, repository_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(repository_path)
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.INFO):
        channel.unary_unary(INFER)(request_message(2).SerializeToString(), timeout=20)
        assert channel.unary_unary(INFER).future(b"\xff", timeout=20).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [record for record in caplog.records if "request_id" in record.__dict__] == []


@pytest.mark.each_front_end
def test_every_request_of_a_stream_has_a_line(
    start_server: Starter, repository_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(repository_path, log_calls=True)
    requests = [request_message(2), request_message(1)]
    requests[0].id, requests[1].id = "one", "two"
    path = METHODS["ModelStreamInfer"].path
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.INFO):
        stream = channel.stream_stream(path)
        assert len(list(stream(iter([each.SerializeToString() for each in requests]), timeout=20))) == 2
    found = [(r.__dict__["request_id"], r.__dict__["rows"]) for r in caplog.records if "request_id" in r.__dict__]
    assert found == [("one", 2), ("two", 1)]


@pytest.mark.each_front_end
def test_a_member_that_fails_is_logged_with_the_id_of_the_request(
    start_server: Starter, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "animals" / "1")
    server = start_server(tmp_path)
    ensemble = server.repository.get("animals").ensemble

    def start(
        _inputs: object, _n: int, _outputs: object, finish: Callable[[Exception], None], *_: Any, **__: Any
    ) -> None:
        from widedeep.serving.contract.errors import ExecutionError

        finish(ExecutionError("member deep: no room"))

    monkeypatch.setattr(ensemble, "start", start)
    message = request_message(2)
    message.id = "unlucky"
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.ERROR):
        call = channel.unary_unary(INFER).future(message.SerializeToString(), timeout=20)
        assert call.code() is grpc.StatusCode.INTERNAL
    assert len(caplog.records) == 2
    assert {record.__dict__["request_id"] for record in caplog.records} == {"unlucky"}


def test_rows_never_reach_the_log(
    start_server: Starter, repository_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(repository_path, log_calls=True)
    telling = np.full((2, 3), 1234.5678, np.float32)
    with grpc.insecure_channel(server.address) as channel, caplog.at_level(logging.DEBUG, "widedeep"):
        channel.unary_unary(INFER)(request_message(2, tabular=telling).SerializeToString(), timeout=20)
        broken = request_message(2, tabular=telling[:1])
        channel.unary_unary(INFER).future(broken.SerializeToString(), timeout=20).code()
    assert len(caplog.records) >= 2
    assert "1234" not in " ".join(str(record.__dict__) for record in caplog.records)
