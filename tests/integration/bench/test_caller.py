"""The client that measures, against real servers."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from peers import caller

METHOD = "/bench.Test/Call"


@pytest.fixture
def serve():
    """Serve a function of bytes over gRPC; returns the address."""
    servers = []

    def start(answer):
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        handlers = {"Call": grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Test", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(0).wait()


def call(tmp_path, address, message=b"x", **load):
    body = tmp_path / "message"
    body.write_bytes(message)
    task = {"address": address, "wire": "grpc", "path": METHOD, "body": str(body), "window_s": 0.3, **load}
    task["start"] = time.monotonic() + 0.3
    script = Path(caller.__file__)
    done = subprocess.run(
        [sys.executable, str(script)], input=json.dumps(task), capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


def test_a_closed_loop_keeps_its_calls_under_way_and_no_more(serve, tmp_path):
    lock, under_way, most = threading.Lock(), 0, 0

    def answer(_request, _context):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)
        with lock:
            under_way -= 1
        return b"answer"

    found = call(tmp_path, serve(answer), concurrency=3)
    assert most == 3
    assert set(found["statuses"]) == {"OK"}
    assert 30 <= found["completed"] <= 95
    assert found["latencies_us"]["p50"] >= 10_000


def test_a_message_larger_than_every_window_arrives_whole(serve, tmp_path):
    message = bytes(range(256)) * 8192  # 2 MiB
    received = []

    def answer(request, _context):
        received.append(request == message)
        return b""

    found = call(tmp_path, serve(answer), message, concurrency=4)
    assert found["completed"] > 0
    assert set(found["statuses"]) == {"OK"}
    assert all(received)


def test_refused_calls_are_told_from_accepted_ones(serve, tmp_path):
    calls = 0

    def answer(_request, context):
        nonlocal calls
        calls += 1
        if calls % 2:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"full, call {calls}")
        return b""

    found = call(tmp_path, serve(answer), concurrency=1)
    accepted, refused = found["statuses"]["OK"], found["statuses"]["RESOURCE_EXHAUSTED"]
    assert abs(accepted - refused) <= 1
    assert found["refused_us"]["p50"] > 0


def test_an_open_loop_calls_at_its_rate_whatever_the_answers_take(serve, tmp_path):
    def answer(_request, _context):
        time.sleep(0.05)
        return b""

    found = call(tmp_path, serve(answer), rate=200.0, window_s=0.5)
    assert 60 <= sum(found["statuses"].values()) <= 150  # 100 are due, give or take five deviations
    assert found["latencies_us"]["p99"] > 100_000  # four threads answer 80 a second


def test_calls_without_an_answer_are_counted(serve, tmp_path):
    stop = threading.Event()

    def answer(_request, _context):
        stop.wait(10)
        return b""

    try:
        found = call(tmp_path, serve(answer), rate=50.0)
    finally:
        stop.set()
    assert found["completed"] == 0
    assert set(found["statuses"]) == {"UNANSWERED"}


def test_http_answers_are_read_whole_with_and_without_a_length(tmp_path):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            if self.server.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")
            else:
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")

        def log_message(self, *_):
            pass

    for chunked in (False, True):
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.chunked = chunked
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
            found = call(tmp_path, f"127.0.0.1:{server.server_port}", wire="http", path="/", concurrency=2)
            server.shutdown()
        assert found["completed"] > 5
        assert set(found["statuses"]) == {"OK"}
