"""What one machine has learned about bundles, kept between starts: measured plans and graphs optimised for its CPU.

    <folder>/            0700 and this user's, else it is not used: graphs that lie here are run
      plans-<name>/      one entry: what a key names, under a name made from that key
        entry.json       the key, and the SHA-256 of every other file
        document.json    or other files
      lock, .new-*/      one process at a time makes what several need; entries that are being made

A cache never fails its user: where the folder cannot be used there is none, and what is damaged, foreign or half
written counts as absent and is made again. Entries appear and go by renaming and are never changed in place, so a
file that is mapped into memory stays whole. Digests guard against damage; against other users the folder's
permissions do, since who can change a file could change its digest too.

What is kept and when it holds is the caller's: everything that it depends on belongs into the key.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

_LOG = logging.getLogger(__name__)

_FORMAT = 1
_ENTRY = "entry.json"
_DOCUMENT = "document.json"
_LOCK = "lock"
_NEW = ".new-"
_LEFT_BEHIND_S = 3600
"""Unfinished entries older than this were left by a process that died."""
_LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.02
_ATTEMPTS = 10
"""Far more processes than that would have to replace one entry in the same microseconds."""

MAX_BYTES = 4 << 30
"""Size of all entries together, above which the least recently used go."""


@dataclass(frozen=True, slots=True)
class Key:
    """What an entry is about. It holds for as long as all of these stay the same.

    Attributes:
        kind: what is kept, a short word: `plans`, `graph`.
        digest: SHA-256 of what it was made from: a bundle's or a member's.
        machine: `runtime.machine_key`.
        options: everything else, as one text.
    """

    kind: str
    digest: str
    machine: str
    options: str = ""

    @property
    def name(self) -> str:
        """The entry's folder."""
        text = json.dumps([_FORMAT, self.kind, self.digest, self.machine, self.options])
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


class Cache:
    """A folder of entries, or none. Any number of threads and processes may use one folder at once.

    Owner: the process; nothing is to be closed.
    """

    def __init__(self, folder: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        """Take a folder that may be used, or None to keep nothing; `open` checks one."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._has_warned = False

    @classmethod
    def open(cls, folder: str | Path, *, max_bytes: int = MAX_BYTES) -> Self:
        """Return the cache in `folder`, created if need be; without one, and a log line, where it cannot be used.

        Args:
            folder: its path; empty to keep nothing.
            max_bytes: size of all entries together, above which the least recently used go.
        """
        if not str(folder):
            return cls(None)
        path = Path(folder).absolute()
        try:
            _prepare(path)
        except OSError as error:
            _LOG.warning("nothing is kept between starts, the cache folder cannot be used: %s", error)
            return cls(None)
        return cls(path, max_bytes=max_bytes)

    def read(self, key: Key) -> dict[str, Any] | None:
        """Return the document kept under the key, None without a sound one."""
        entry = self.find(key)
        if entry is None:
            return None
        try:
            document = json.loads((entry / _DOCUMENT).read_bytes())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def write(self, key: Key, document: Mapping[str, Any]) -> None:
        """Keep a JSON document under the key, in place of an earlier one."""
        data = json.dumps(document).encode()
        self._make(key, lambda entry: (entry / _DOCUMENT).write_bytes(data))

    def find(self, key: Key) -> Path | None:
        """Return the folder of the key's entry with every file's digest checked, None without a sound one.

        Another process may remove it at any time; files that are open by then stay whole.
        """
        if self.folder is None:
            return None
        entry = self.folder / key.name
        try:
            described = json.loads((entry / _ENTRY).read_bytes())
            if described["key"] != asdict(key):
                return None
            for name, digest in described["files"].items():
                if sha256(entry / name) != digest:
                    return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        with suppress(OSError):
            os.utime(entry)  # used now
        return entry

    def obtain(self, key: Key, make: Callable[[Path], object]) -> Path | None:
        """Return the folder of the key's entry, which `make` fills if there is no sound one; None if it cannot be.

        Of several processes that ask at once one makes it, and the others wait for that one.

        Args:
            key: what the entry is about.
            make: writes the entry's files into the folder it is given; OSError means that it cannot.
        """
        if self.folder is None:
            return None
        if (entry := self.find(key)) is not None:
            return entry
        with _locked(self.folder / _LOCK):
            return self.find(key) or self._make(key, make)

    def _make(self, key: Key, make: Callable[[Path], object]) -> Path | None:
        """Fill a new entry, put it in place of an earlier one and return its folder; None, and a log line, if not."""
        if self.folder is None:
            return None
        entry = self.folder / key.name
        try:
            with tempfile.TemporaryDirectory(prefix=_NEW, dir=self.folder, ignore_cleanup_errors=True) as temporary:
                new = Path(temporary, "new")
                new.mkdir()
                make(new)
                files = {file.name: sha256(file) for file in sorted(new.iterdir())}
                (new / _ENTRY).write_text(json.dumps({"key": asdict(key), "files": files}))
                if _size(new) > self._max_bytes:
                    return None
                _replace(entry, new, Path(temporary))
        except OSError as error:
            if not self._has_warned:
                _LOG.warning("what is learned now is not kept between starts: %s: %s", key.name, error)
                self._has_warned = True
            return None
        self._evict(entry)
        return entry

    def _evict(self, newest: Path) -> None:
        """Remove the least recently used entries until the rest fits, and what dead processes left behind."""
        entries: list[tuple[float, int, Path]] = []
        for path in _folders(newest.parent):
            with suppress(OSError):  # gone meanwhile
                used = path.stat().st_mtime
                if path.name.startswith(_NEW):
                    if used < time.time() - _LEFT_BEHIND_S:
                        shutil.rmtree(path, ignore_errors=True)
                elif path != newest and (path / _ENTRY).is_file():  # other folders are none of the cache's
                    entries.append((used, _size(path), path))
        total = _size(newest) + sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._max_bytes:
                break
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def _prepare(folder: Path) -> None:
    """Create the folder, or see that it is this user's alone.

    Raises:
        OSError: it cannot be created or written, or others could have put graphs there.
    """
    folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to user {status.st_uid}, not to {os.geteuid()} who runs this process")
    if mode := stat.S_IMODE(status.st_mode) & ~stat.S_IRWXU:
        raise PermissionError(f"{folder} is open to other users (mode {stat.S_IRWXU | mode:o}, expected 700)")
    with tempfile.TemporaryDirectory(prefix=_NEW, dir=folder):
        pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; go without it where that is impossible, or takes so long that its holder must be stuck."""
    try:
        lock = path.open("ab")
    except OSError:
        yield
        return
    with lock:
        until = time.monotonic() + _LOCK_WAIT_S
        while time.monotonic() < until:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_LOCK_POLL_S)
            except OSError:
                break
        yield


def _replace(entry: Path, new: Path, aside: Path) -> None:
    """Put a folder in place of the entry, which moves aside if there is one.

    Another process may do the same between the two steps; then it is tried again.
    """
    for attempt in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            entry.rename(aside / f"old-{attempt}")
        try:
            new.rename(entry)
        except OSError:
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _folders(path: Path) -> list[Path]:
    try:
        return [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _size(folder: Path) -> int:
    total = 0
    with suppress(OSError):  # it may go at any time
        total = sum(file.lstat().st_size for file in folder.iterdir())
    return total


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
