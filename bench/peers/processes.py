"""Servers as processes: started, waited for, weighed and ended with all that they started.

A server's processes are found by a mark in their environment, so that daemons that left its tree count too.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

MARK = "WIDEDEEP_BENCH_SERVER"
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_STOP_S = 15.0


class StartError(Exception):
    """A server did not start; says why."""


class ServerProcess:
    """A server and its processes, until `stop`. Owned by one thread."""

    def __init__(self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        with log.open("wb") as output:
            self._root = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**os.environ, **env, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_listening(self, port: int, timeout_s: float) -> None:
        """Wait until something listens on the port.

        Raises:
            StartError: it ended or took too long; quotes the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._root.poll() is not None:
                raise StartError(f"ended with status {self._root.returncode}: {self.log_end()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.02)
        raise StartError(f"did not listen within {timeout_s:g} s: {self.log_end()}")

    def log_end(self, n_chars: int = 300) -> str:
        """Return the end of what it printed, on one line."""
        return " ".join(self._log.read_text(errors="replace").split())[-n_chars:]

    def pids(self) -> list[int]:
        """Return its processes."""
        mark = f"{MARK}={self._mark}".encode()
        found = []
        for folder in _PROC.iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (folder / "environ").read_bytes():
                        found.append(int(folder.name))
        return found

    def cpu_s(self) -> float:
        """Return the processor time that its processes took so far, ended children included, in seconds."""
        return sum(cpu_of(pid) for pid in self.pids())

    def pss_mb(self) -> float:
        """Return the memory of its processes in MB, pages shared between processes counted once."""
        return sum(_pss_kb(pid) for pid in self.pids()) / 1024

    def stop(self) -> None:
        """End it and all its processes."""
        if self._root.poll() is None:
            self._root.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._root.wait(_STOP_S)
        deadline = time.monotonic() + _STOP_S
        while (left := self.pids()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._root.poll()
            time.sleep(0.05)
        self._root.wait()


def cpu_of(pid: int) -> float:
    """Return the processor time of a process and its ended children, in seconds; 0 if it is gone."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _pss_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
