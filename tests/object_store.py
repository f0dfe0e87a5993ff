"""A real S3 server on this machine, over a folder: rclone's; and a gate that keeps those who ask it waiting."""

import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peers.processes import free_port
from waiting import wait_listening

KEY = "test-access-key-1"
SECRET = "test-secret-key-of-enough-letters"  # noqa: S105 - of a server that lives as long as a test
BUCKET = "bucket"


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """An S3 server. Objects are the files below `folder`; a bucket is a folder there."""

    folder: Path
    port: int

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, path: str) -> str:
        """Return the URL of what lies below `path` in the bucket."""
        return f"s3://{BUCKET}/{path}"

    def place(self, path: str) -> Path:
        """Return the file or folder behind a path in the bucket."""
        return self.folder / BUCKET / path

    def remove(self, path: str) -> None:
        """Remove an object, as a client does."""
        self._client().rm_file(f"{BUCKET}/{path}")

    def put(self, folder: Path, path: str) -> None:
        """Store all files of a folder, whatever they hold, as a client does."""
        for file in filter(Path.is_file, sorted(folder.rglob("*"))):
            self._client().put_file(str(file), f"{BUCKET}/{path}/{file.relative_to(folder).as_posix()}")

    @property
    def variables(self) -> dict[str, str]:
        """What a client must have in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def _client(self) -> Any:
        from s3fs import S3FileSystem

        return S3FileSystem(key=KEY, secret=SECRET, endpoint_url=self.endpoint)


class Gate(socketserver.ThreadingTCPServer):
    """Stands before a server on this machine: it takes connections, and passes them on once `is_open` is set.

    `is_asked` is set with the first of them.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.behind = port
        self.is_open = threading.Event()
        self.is_asked = threading.Event()


class _Passage(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Gate)
        self.server.is_asked.set()
        self.server.is_open.wait()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.behind)) as far:
            there = threading.Thread(target=_pour, args=(self.request, far), daemon=True)
            there.start()
            _pour(far, self.request)
            there.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def gated(store: ObjectStore) -> Iterator[tuple[ObjectStore, Gate]]:
    """Give a store as it is from without a gate, which is shut."""
    with Gate(store.port) as gate:
        thread = threading.Thread(target=gate.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield replace(store, port=gate.server_address[1]), gate
        finally:
            gate.is_open.set()
            gate.shutdown()
            thread.join()


def find_rclone() -> str | None:
    """Return rclone's path, None where it is not installed."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.is_file() else shutil.which("rclone")


@contextmanager
def object_store(folder: Path, port: int = 0, *, rate: str = "") -> Iterator[ObjectStore]:
    """Run a server over a folder, on a free port if none is given.

    Args:
        folder: for its objects.
        port: to listen on.
        rate: bytes a second that it moves at most, as rclone spells it: `10M`.
    """
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    command = [str(find_rclone()), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{port}"]
    command += ["--config", os.devnull, *(("--bwlimit", rate) if rate else ()), str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_listening(process, port)
        yield ObjectStore(folder, port)
    finally:
        process.kill()
        process.wait()
