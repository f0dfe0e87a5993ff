"""The bundle on machines that do not see the driver's files: sent once to a machine, kept there by its digest.

    <temporary folder>/widedeep-<user>/bundles/     of this user alone
      <digest>/<version>/                           a bundle; appears by renaming, once it is whole
      <digest>.new/                                 one that is being filled
      <digest>.lock                                 held by every process that uses it, alone by one that fills it

How the files travel is the engine's. A bundle stays for the next job; one that nobody uses goes when another comes.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ...contract.bundle import read_bundle, read_description
from ...contract.errors import BundleError, WidedeepError
from ..local import version_of

Fetch = Callable[[Path], None]
"""Writes a bundle's files into a new folder."""

BLOCK_BYTES = 32 << 20
"""Files travel in blocks of this size."""


class BundleMissing(BundleError):
    """The job's bundle is not at its path on this machine, and was not sent."""


@dataclass(frozen=True, slots=True)
class BundleAddress:
    """Where a bundle lies on the driver's machine, and how it is known from others.

    Attributes:
        path: its folder.
        version: the version that it is served as.
        digest: its digest.
    """

    path: str
    version: str
    digest: str

    @classmethod
    def of(cls, path: str) -> Self:
        """Return the address of a bundle on this machine.

        Raises:
            BundleError: there is none.
        """
        folder = Path(path).absolute()
        return cls(str(folder), version_of(folder), read_description(folder).digest)

    def is_here(self) -> bool:
        """Return whether this machine sees the bundle at its path."""
        try:
            return read_description(Path(self.path)).digest == self.digest
        except (WidedeepError, OSError):
            return False

    def files(self) -> Iterator[tuple[str, Path]]:
        """Yield the bundle's files: path below its folder, and where it lies."""
        folder = Path(self.path)
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file.resolve()


def bundle_here(address: BundleAddress, fetch: Fetch | None) -> str:
    """Return where the bundle lies on this machine, after fetching it if need be.

    Raises:
        BundleMissing: it lies nowhere, and there is no way to fetch it.
        BundleError: the folder for bundles cannot be used.
    """
    if address.is_here():
        return address.path
    if fetch is None:
        raise BundleMissing(f"{address.path}: expected the bundle with digest {address.digest} on this machine")
    try:
        return str(_Shelf.own().kept(address, fetch))
    except OSError as error:
        raise BundleError(f"the bundle {address.path} cannot be kept on this machine: {error}") from error


class _Shelf:
    """The folder that holds the bundles which were sent to this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def own(cls) -> Self:
        """Return this user's.

        Raises:
            PermissionError: others could write there.
        """
        base = Path(tempfile.gettempdir()) / f"widedeep-{os.geteuid()}"
        folder = base / "bundles"
        for path in (base, folder):
            path.mkdir(mode=stat.S_IRWXU, exist_ok=True)
            status = path.lstat()
            is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if not is_own or stat.S_IMODE(status.st_mode) & ~stat.S_IRWXU:
                raise PermissionError(f"{path}: expected a folder of this user's alone, mode 700")
        return cls(folder)

    def kept(self, address: BundleAddress, fetch: Fetch) -> Path:
        """Return a bundle's place, filled if it is not there; it stays for as long as this process lives.

        Raises:
            BundleError: what was fetched is not the bundle.
        """
        place = self._folder / address.digest / address.version
        path = self._lock(address.digest)
        if path in _IN_USE:
            return place
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            while not place.is_dir():
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not place.is_dir():
                    self._remove_unused()
                    self._fill(address, fetch)
                fcntl.flock(lock, fcntl.LOCK_SH)
        except BaseException:
            os.close(lock)
            raise
        _IN_USE[path] = lock
        return place

    def _fill(self, address: BundleAddress, fetch: Fetch) -> None:
        new = self._folder / f"{address.digest}{_UNFINISHED}"
        shutil.rmtree(new, ignore_errors=True)
        whole = new / address.version
        whole.mkdir(parents=True)
        fetch(whole)
        if (digest := read_bundle(whole).digest) != address.digest:
            raise BundleError(f"{address.path}: expected the bundle with digest {address.digest}, was sent {digest}")
        new.rename(self._folder / address.digest)

    def _remove_unused(self) -> None:
        """Remove bundles that no process uses, and what was left half sent."""
        for path in self._folder.iterdir():
            digest = path.name.removesuffix(_UNFINISHED)
            lock = self._lock(digest)
            if path.suffix == _LOCK or lock in _IN_USE:
                continue
            with _unused(lock) as is_unused:
                if is_unused:
                    unfinished = path.with_name(f"{digest}{_UNFINISHED}")
                    shutil.rmtree(unfinished, ignore_errors=True)
                    with suppress(FileNotFoundError):
                        path.rename(unfinished)
                    shutil.rmtree(unfinished, ignore_errors=True)

    def _lock(self, digest: str) -> Path:
        """Return the lock file of a bundle, which is never removed: somebody may be about to take it."""
        return self._folder / f"{digest}{_LOCK}"


_LOCK, _UNFINISHED = ".lock", ".new"
_IN_USE: dict[Path, int] = {}
"""Lock files that this process holds to its end."""


@contextmanager
def _unused(lock: Path) -> Iterator[bool]:
    """Hold the lock of a bundle that nobody uses or fills."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
