"""One job at a time on an output folder.

A local folder is locked by the kernel (`flock`), which gives the lock back whatever ends its holder. Elsewhere there is
only a lease: a file that its holder rewrites every few seconds, and that another job may take over once it is old. Two
that take it over at once see it after a moment's wait: the later one has it. A holder that was held up for so long
that another took its lease finds that out before it records anything.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4
from weakref import WeakSet

from ...contract.errors import ConfigurationError
from .output import TMP, Output

LOCK = "_lock"


class Lock(Protocol):
    """The right to change an output folder; held by the driver."""

    def check(self) -> None:
        """Make sure that it is still held; before anything is recorded.

        Raises:
            ConfigurationError: it is not.
        """
        ...

    def release(self) -> None:
        """Give it back."""
        ...


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How a lease goes, in seconds.

    Attributes:
        renew_s: its holder rewrites it this often.
        stale_s: another job may take it over when it is this old.
        settle_s: how long a new holder waits before it looks whether another came at the same moment.
    """

    renew_s: float = 5.0
    stale_s: float = 30.0
    settle_s: float = 1.0


DEFAULT_TIMES = LeaseTimes()


def take_lock(output: Output, times: LeaseTimes = DEFAULT_TIMES, clock: Callable[[], float] = time.time) -> Lock:
    """Take the lock of an output folder.

    Args:
        output: the folder; a local one must exist.
        times: of a lease.
        clock: seconds since 1970, as it is on the holders' machines.

    Raises:
        ConfigurationError: another job holds it; the message says which.
        OSError: the lock file cannot be written.
    """
    return FileLock(output) if output.local else Lease(output, times, clock)


def _holder() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _refused(output: Output, text: bytes, more: str = "") -> ConfigurationError:
    try:
        held = json.loads(text)
        who = f"process {held['pid']} on {held['host']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return ConfigurationError(f"{output}: {who} is running a job on this output{more}; one job at a time")


class FileLock:
    """A lock of the kernel's on a local file; used from one thread. Processes that its holder starts do not have it."""

    def __init__(self, output: Output) -> None:
        """Take it; see `take_lock`."""
        self._output = output
        self._path = output.at(LOCK)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text = os.pread(self._descriptor, 4096, 0)
            self.release()
            raise _refused(output, text) from error
        except OSError as error:
            self.release()
            raise ConfigurationError(f"{self._path}: this file system cannot lock files: {error}") from error
        _HELD.add(self)
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(_holder()).encode(), 0)

    def check(self) -> None:
        """Make sure that the folder is still the one that was locked.

        Raises:
            ConfigurationError: somebody removed or replaced it.
        """
        try:
            now = os.stat(self._path)  # noqa: PTH116  # paths of the file system are text
        except FileNotFoundError:
            now = None
        if now is None or not os.path.samestat(now, os.fstat(self._descriptor)):
            raise ConfigurationError(f"{self._output}: the folder was removed or replaced while a job ran on it")

    def release(self) -> None:
        """Give it back; more than once does nothing. The file stays: removing it would let two in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


_HELD: WeakSet[FileLock] = WeakSet()


def _leave_to_parent() -> None:
    for lock in list(_HELD):
        lock.release()


# A forked child shares its parent's lock until it closes it; O_CLOEXEC covers only those that execute something.
os.register_at_fork(after_in_child=_leave_to_parent)


class Lease:
    """A lock file that is rewritten by a thread of its own; `check` and `release` are called from one thread."""

    def __init__(self, output: Output, times: LeaseTimes, clock: Callable[[], float]) -> None:
        """Take it; see `take_lock`."""
        self._output, self._times, self._clock = output, times, clock
        self._token = uuid4().hex
        self._ended = threading.Event()
        before = self._read()
        age = self._age(before) if before else times.stale_s
        if age < times.stale_s:
            more = f" (seen {max(0.0, age):.0f} s ago; if it is dead, wait {times.stale_s - age:.0f} s and try again)"
            raise _refused(output, before, more)
        self._write()
        self._ended.wait(times.settle_s)
        self.check()
        self._thread = threading.Thread(target=self._renew, name="widedeep-lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Make sure that no other job took the lease over.

        Raises:
            ConfigurationError: one did, or the file is gone.
        """
        text = self._read()
        if not self._is_mine(text):
            raise _refused(self._output, text, " and has taken its lock over")

    def release(self) -> None:
        """Remove the file, if it is still this holder's; more than once does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        if self._is_mine(self._read()):
            self._output.remove(LOCK)

    def _renew(self) -> None:
        while not self._ended.wait(self._times.renew_s):
            with suppress(OSError):  # tried again; `check` finds out if it was for too long
                if not self._is_mine(self._read()):
                    return
                self._write()

    def _is_mine(self, text: bytes) -> bool:
        return self._token.encode() in text

    def _read(self) -> bytes:
        try:
            return self._output.read(LOCK)
        except FileNotFoundError:
            return b""

    def _write(self) -> None:
        self._output.write(LOCK, json.dumps({"token": self._token, "time": self._clock(), **_holder()}).encode())

    def _age(self, text: bytes) -> float:
        """Return its age in seconds, by the file system's clock where it tells times, else by the holders'."""
        written = self._mtime(LOCK)
        if written is None:
            try:
                return self._clock() - float(json.loads(text)["time"])
            except (ValueError, KeyError, TypeError):
                return self._times.stale_s
        probe = f"{TMP}/{uuid4().hex}"
        self._output.write(probe, b"")
        now = self._mtime(probe)
        self._output.remove(probe)
        return self._clock() - written if now is None else now - written

    def _mtime(self, name: str) -> float | None:
        told: int | None = self._output.files.get_file_info(self._output.at(name)).mtime_ns
        return told / 1e9 if told else None
