"""A folder of files in object storage, or wherever else fsspec reaches.

Credentials come from where the file system's own library looks for them (for S3: `AWS_*` variables and profiles), and
never from a URL.
"""

import base64
import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from ..contract.errors import ConfigurationError, StorageError, WidedeepError

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

PART_BYTES = 8 << 20
"""Of an upload in several parts, and of what is read at once."""
PARTS_AT_ONCE = 4
"""Of one file that goes up; so much of it is in memory."""
_MAX_PARTS = 10_000
"""Source: Amazon S3 User Guide, multipart upload limits."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.25
"""Before the second attempt, then twice as long each time; some libraries below try again by themselves, too."""
_PATIENCE_S = 60.0
"""After which there is no other attempt, for what a store that works does in less."""
_FINAL = (IsADirectoryError, NotADirectoryError, PermissionError, NotImplementedError, ValueError, WidedeepError)
"""Trying again does not help."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What a listing tells of one file.

    Attributes:
        size: in bytes.
        checksum: what the store says of the content, if anything: where it is an MD5 in hexadecimal, or that of the
            MD5s of its parts with their number (`...-3`), it proves the content; other forms prove nothing.
        mark: another one once the file has been written again.
    """

    size: int
    checksum: str
    mark: str


class Store(Protocol):
    """What `pull` and `serve` read: `Storage` is one, and what lies in a registry is another."""

    @property
    def url(self) -> str:
        """What a user calls it."""

    @property
    def root(self) -> str:
        """Where it lies; the last part of this path is the name of a model's folder."""

    def at(self, place: str) -> Self:
        """Return what lies below; itself for ""."""

    def list(self) -> dict[str, StoredFile]:
        """Return all files that lie below, by relative path; nothing where there is nothing."""

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` up to `end`."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder in a file system of fsspec. May be used from any thread.

    Attributes:
        files: `fsspec.AbstractFileSystem`.
        root: the folder's path in it, without a slash at its end.
        url: what a user calls it.
    """

    files: Any
    root: str
    url: str

    @classmethod
    def open(cls, url: str) -> Self:
        """Return the folder that a URL or a local path names; whether it exists is not asked.

        Raises:
            ConfigurationError: the URL holds a password, or the library for its scheme is missing.
        """
        files, root = find_files(url)
        return cls(files, root.rstrip("/"), url.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine's own file system."""
        return "file" in _protocols(self.files)

    def at(self, place: str) -> Self:
        """Return a folder below this one; itself for ""."""
        return replace(self, root=f"{self.root}/{place}", url=f"{self.url}/{place}") if place else self

    def list(self) -> dict[str, StoredFile]:
        """Return all that lies below, by relative path; nothing where there is no such folder.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """

        def find() -> Mapping[str, Mapping[str, Any]]:
            self.files.invalidate_cache()
            try:
                return self.files.find(self.root, detail=True)  # type: ignore[no-any-return]  # fsspec has no types
            except FileNotFoundError:
                return {}

        prefix = self.root.lstrip("/") + "/"
        found = {}
        for path, info in self._try("list", find).items():
            name = path.lstrip("/").removeprefix(prefix)
            if info["type"] == "file" and not name.endswith("/") and name != path.lstrip("/"):
                found[name] = _stored(info)
        return found

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes of a file from `start` up to `end`.

        Raises:
            FileNotFoundError: there is no such file.
            StorageError: the store cannot be reached, or refuses.
        """
        return self._try(f"read {name}", lambda: bytes(self.files.cat_file(self._path(name), start=start, end=end)))

    def put(self, name: str, path: Path, sent: Callable[[int], None]) -> None:
        """Store a local file, in parts where it is large.

        Args:
            name: relative path that it gets.
            path: the local file.
            sent: told of bytes that have gone up; what it raises ends the upload.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        from fsspec.callbacks import Callback

        class Sent(Callback):  # type: ignore[misc]  # fsspec has no types
            def relative_update(self, inc: int = 1) -> None:
                sent(inc)

        options: dict[str, Any] = {}
        if "s3" in _protocols(self.files):
            options = {"chunksize": part_bytes(path.stat().st_size), "max_concurrency": PARTS_AT_ONCE}
        self._try(
            f"write {name}",
            lambda: self.files.put_file(str(path), self._path(name), callback=Sent(), **options),
            patience_s=math.inf,
        )

    def remove(self, names: Collection[str]) -> None:
        """Remove files.

        Raises:
            StorageError: the store cannot be reached, or refuses.
        """
        for name in names:
            self._try(f"remove {name}", partial(self.files.rm_file, self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _try(self, what: str, action: Callable[[], T], patience_s: float = _PATIENCE_S) -> T:
        return persist(self.url, what, action, patience_s)


class Stopped(Exception):
    """An upload was given up because another one had failed, or the user wished so."""


class Brake:
    """Lets what goes on in other threads end at its next step. May be used from any thread."""

    def __init__(self) -> None:
        self._is_pulled = threading.Event()

    def pull(self) -> None:
        """End it."""
        self._is_pulled.set()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: it was pulled.
        """
        if self._is_pulled.is_set():
            raise Stopped


def persist(url: str, what: str, action: Callable[[], T], patience_s: float = _PATIENCE_S) -> T:
    """Return what an action on a store returns, trying again where that may help.

    Args:
        url: of the store, for messages.
        what: the action does, for messages.
        action: reads or writes.
        patience_s: after so many seconds there is no other attempt.

    Raises:
        FileNotFoundError: as the action raised it.
        StorageError: the store cannot be reached, or refuses.
    """
    until = time.monotonic() + patience_s
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return action()
        except FileNotFoundError:
            raise
        except Stopped:
            raise
        except Exception as error:  # each library has its own
            if attempt == _ATTEMPTS or isinstance(error, _FINAL) or time.monotonic() > until:
                raise StorageError(f"{url}: cannot {what}: {_said(error)}") from error
            _LOG.debug("%s: cannot %s, will try again: %s", url, what, _said(error))
            time.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
    raise AssertionError


def part_bytes(size: int) -> int:
    """Return the size of the parts in which a file of `size` bytes goes up."""
    return max(PART_BYTES, -(-size // _MAX_PARTS))


def check_url(url: str) -> None:
    """Refuse a URL that holds a password, before it is written anywhere.

    Raises:
        ConfigurationError: it does, or is malformed.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"malformed URL: {error}") from error
    if parts.password is not None:
        raise ConfigurationError(f"{parts.scheme}://...: a URL may hold no password; credentials come from elsewhere")


def find_files(url: str) -> tuple[Any, str]:
    """Return `fsspec.AbstractFileSystem` and the path in it that a URL or a local path names.

    Raises:
        ConfigurationError: the URL holds a password, its scheme is unknown, or the library for it is missing.
    """
    check_url(url)
    parts = urlsplit(url)
    try:
        from fsspec.core import url_to_fs
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{url} needs {error.name}: install widedeep[{_extra(parts.scheme)}]") from error
    try:
        files, path = url_to_fs(url, **_options(parts.scheme))
    except ImportError as error:
        hint = f"install widedeep[{_EXTRAS[parts.scheme]}]" if parts.scheme in _EXTRAS else str(error)
        raise ConfigurationError(f"the library for {parts.scheme}:// is missing: {hint}") from error
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{url}: no file system for this URL: {error}") from error
    return files, str(path)


def _extra(scheme: str) -> str:
    return _EXTRAS.get(scheme, "remote")


def _options(scheme: str) -> dict[str, Any]:
    """Return options of the file system that a scheme needs."""
    if scheme not in {"s3", "s3a"}:
        return {}
    from fsspec.config import conf

    # Some stores answer a part of a file with the checksum of the whole, over which botocore stumbles; all that is
    # read here is checked against its SHA-256 anyway.
    options: dict[str, Any] = {"response_checksum_validation": "when_required"}
    # botocore's own attempts would multiply with those of s3fs and those here: minutes for a store that is not there.
    options["retries"] = {"total_max_attempts": 1}
    return {"config_kwargs": {**options, **conf.get("s3", {}).get("config_kwargs", {})}}


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _stored(info: Mapping[str, Any]) -> StoredFile:
    checksum = str(info.get("ETag") or "").strip('"')  # of S3
    if "md5Hash" in info:  # of Google Cloud Storage
        checksum = base64.b64decode(info["md5Hash"]).hex()
    marks = (info.get(key) for key in ("ETag", "etag", "LastModified", "last_modified", "mtime", "created"))
    return StoredFile(int(info["size"]), checksum, str(next((mark for mark in marks if mark), "")))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
