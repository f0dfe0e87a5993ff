"""Waiting for what another thread or process does: for a while, never for good."""

import socket
import subprocess
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], what: str = "", *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def wait_listening(
    process: subprocess.Popen[bytes], port: int, *, host: str = "127.0.0.1", said: Callable[[], str] = lambda: ""
) -> None:
    """Wait until a server listens; `said` returns what it has logged, should it end."""
    for _ in range(500):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}: {said()}")
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen")
