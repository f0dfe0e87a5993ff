"""Files that are read again when they change, without a restart: certificates and tokens.

A change is seen by time of modification, size and inode, behind all symbolic links, since orchestrators replace mounted
secrets by moving a link. Where a file has just been modified, times tell too little, and its bytes are compared. What
turns out to be unusable, perhaps because it is only half written, is logged once and changes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from ..contract.errors import ConfigurationError

_LOG = logging.getLogger(__name__)
_UNSETTLED_NS = 2_000_000_000
"""A file that was modified so recently may be modified again within one tick of its file system's clock."""

T = TypeVar("T")
Contents = tuple[bytes, ...]


class Watched(Generic[T]):
    """What some files say, as they are now. `current` may be called from any thread, and never fails.

    Owner: whoever needs the files' meaning.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[Contents], T],
        *,
        every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read the files for the first time.

        Args:
            paths: of the files.
            read: makes sense of their bytes, or raises a ConfigurationError that names the file.
            every_s: seconds between two looks at them.
            clock: seconds, monotonic.

        Raises:
            ConfigurationError: a file cannot be read, or makes no sense.
        """
        self._paths = tuple(paths)
        self._read = read
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._signature = self._sign()
        self._contents = self._load()
        self._value = read(self._contents)
        self._next_s = clock() + every_s
        self._complaint = ""

    def current(self) -> T:
        """Return what the files say, or said when they last made sense."""
        # One thread looks; the others go on with what there is.
        if self._clock() >= self._next_s and self._lock.acquire(blocking=False):
            try:
                self._next_s = self._clock() + self._every_s
                self._look()
            finally:
                self._lock.release()
        return self._value

    def _look(self) -> None:
        """Read the files again if they have changed; what fails is tried again, since the reason may go by itself."""
        is_new = False
        try:
            signature = self._sign()
            if signature != self._signature or self._is_unsettled(signature):
                contents = self._load()
                if is_new := contents != self._contents:
                    self._value = self._read(contents)
                    self._contents = contents
                self._signature = signature
        except (ConfigurationError, OSError) as error:
            self._signature = []
            if str(error) != self._complaint:
                self._complaint = str(error)
                _LOG.error("%s; what was read before stays in force", error)
            return
        if is_new or self._complaint:
            self._complaint = ""
            _LOG.info("read %s anew", ", ".join(map(str, self._paths)))

    def _is_unsettled(self, signature: Sequence[tuple[int, ...]]) -> bool:
        return max(one[0] for one in signature) > time.time_ns() - _UNSETTLED_NS

    def _sign(self) -> list[tuple[int, ...]]:
        """Return what tells one state of the files from another."""
        signature: list[tuple[int, ...]] = []
        for path in self._paths:
            try:
                found = path.stat()
            except OSError as error:
                raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
            signature.append((found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev))
        return signature

    def _load(self) -> Contents:
        contents = []
        for path in self._paths:
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
        return tuple(contents)
