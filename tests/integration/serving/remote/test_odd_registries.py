"""Registries that do what the specification lets them do, and Docker's does not."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from widedeep.serving.contract.errors import StorageError
from widedeep.serving.remote.reference import Reference
from widedeep.serving.remote.registry import Registry

pytest.importorskip("oras")

DATA = bytes(range(256)) * 20_000
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


class Odd(BaseHTTPRequestHandler):
    """Knows no ranges, fails at first, wants a password, and has blobs sent to another place, without one."""

    data = DATA
    n_failures = 0
    place = ""
    seen: list[tuple[str, str | None, int]]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if type(self).n_failures:
            type(self).n_failures -= 1
            self.answer(503)
        else:
            self.answer(200, self.data)

    def do_POST(self) -> None:
        if "Authorization" in self.headers:
            self.answer(202, Location=f"{self.place}/upload?_state=a")
        else:
            self.answer(401, **{"WWW-Authenticate": 'Basic realm="odd"'})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, self.headers.get("Authorization"), len(body)))
        self.answer(201)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:  # enough has been read
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening(handler: type[Odd]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def odd() -> type[Odd]:
    return type("OddOfThisTest", (Odd,), {"seen": []})


@pytest.mark.parametrize(("start", "end"), [(0, 10), (3_000_000, 4_100_000), (len(DATA) - 7, len(DATA))])
def test_a_part_of_a_blob_is_taken_from_the_whole(odd: type[Odd], start: int, end: int) -> None:
    with listening(odd) as address:
        registry = Registry(Reference.parse(f"oci://{address}/models"))
        assert registry.read(DIGEST, start, end) == DATA[start:end]


def test_a_blob_that_is_shorter_than_thought_is_not_waited_for(odd: type[Odd]) -> None:
    with listening(odd) as address:
        registry = Registry(Reference.parse(f"oci://{address}/models"))
        assert registry.read(DIGEST, len(DATA) - 7, len(DATA) + 7) == DATA[-7:]


def test_what_is_unavailable_for_a_moment_is_asked_again(odd: type[Odd]) -> None:
    odd.n_failures = 2
    with listening(odd) as address:
        registry = Registry(Reference.parse(f"oci://{address}/models"))
        assert registry.read(DIGEST, 0, 10) == DATA[:10]


@pytest.mark.parametrize(("data", "said"), [(DATA, "has more than 4194304 bytes"), (b"{}", "what came for sha256:")])
def test_a_manifest_that_is_huge_or_another_one_is_refused(odd: type[Odd], data: bytes, said: str) -> None:
    odd.data = data
    with listening(odd) as address:
        registry = Registry(Reference.parse(f"oci://{address}/models"))
        with pytest.raises(StorageError, match=said):
            registry.read_manifest(f"sha256:{'0' * 64}")


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_a_password_stays_with_its_registry(
    odd: type[Odd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    told: list[int] = []
    with listening(odd) as address, listening(odd) as elsewhere:
        odd.place = f"http://{elsewhere}"
        (tmp_path / "config.json").write_text(f'{{"auths": {{"{address}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}')
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        Registry(Reference.parse(f"oci://{address}/models")).put("sha256:0", file, told.append)
    assert odd.seen == [("/upload?_state=a&digest=sha256%3A0", None, size)]
    assert sum(told) == size
