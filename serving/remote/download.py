"""Pull: a bundle's files come into a staging folder, are checked against its `bundle.json`, and appear with one rename.

    <target's folder>/.<target>.pull-<digest>/   kept when a pull is cut off; the next one goes on there
      lock                                       one process at a time
      bundle/                                    files, the last of them perhaps not whole yet

Blocks are fetched side by side, but taken in order, so that memory stays bounded, digests are computed as bytes come,
and what a cut-off leaves behind is a prefix.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..contract.bundle import BUNDLE_FILE, check_place, listed_files, read_bundle, read_description, replace_folder
from ..contract.errors import BundleError, NotFound
from .progress import Progress
from .storage import PART_BYTES, Store

BLOCKS_AT_ONCE = 8
"""So many blocks are on their way or wait to be written: 64 MiB."""
_ATTEMPTS = 2
"""What changed while it was read is read once more."""
_MAX_DESCRIPTION_BYTES = 64 << 20
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Transfer:
    """What a push or pull came to.

    Attributes:
        digest: of the bundle.
        size: of all its files together, in bytes.
        moved: bytes that went over the wire; 0 where all of it was there.
    """

    digest: str
    size: int
    moved: int


@dataclass(slots=True)
class _Wanted:
    """A file that is not whole yet."""

    name: str
    size: int
    sha256: str
    have: int
    digest: Any

    def spans(self) -> Iterator[tuple[int, int]]:
        """Return where the blocks begin and end that are still to be fetched."""
        for start in range(self.have, self.size, PART_BYTES):
            yield start, min(start + PART_BYTES, self.size)


class _Changed(BundleError):
    """What came is not what `bundle.json` lists: it was replaced meanwhile, or is damaged."""


def pull_bundle(
    storage: Store,
    target: Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    staging_in: Path | None = None,
) -> Transfer:
    """Bring a bundle to a folder on disk: all of it appears there, with every digest checked, or nothing does.

    Args:
        storage: the folder that is the bundle.
        target: the folder that it becomes.
        force: replace another bundle that is there.
        progress: told of bytes that came.
        staging_in: folder on the same file system for the staging folder; by default the one that `target` lies in.

    Raises:
        NotFound: there is no bundle.
        BundleError: the bundle is damaged, or something else is at `target`; names the file.
        StorageError: the store cannot be reached, or refuses.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _pull(storage, target, force, progress or Progress(), staging_in or target.absolute().parent)
        except _Changed as error:
            if attempt == _ATTEMPTS:
                raise BundleError(f"{storage.url}: {error}") from error
    raise AssertionError


def _pull(storage: Store, target: Path, force: bool, progress: Progress, staging_in: Path) -> Transfer:
    there = storage.list()
    if BUNDLE_FILE not in there:
        raise NotFound(f"{storage.url} is not a bundle: it has no {BUNDLE_FILE}")
    if there[BUNDLE_FILE].size > _MAX_DESCRIPTION_BYTES:
        raise BundleError(f"{storage.url}/{BUNDLE_FILE} has {there[BUNDLE_FILE].size} bytes; that is no description")
    try:
        text = storage.read(BUNDLE_FILE)
    except FileNotFoundError as error:
        raise _Changed(f"{BUNDLE_FILE} went away meanwhile") from error
    digest = hashlib.sha256(text).hexdigest()
    if _holds(target, digest, force):
        return Transfer(digest, sum(file.size for file in there.values()), 0)
    staging_in.mkdir(parents=True, exist_ok=True)
    staging = staging_in / f".{target.name}.pull-{digest[:16]}"
    with _locked(staging):
        folder = staging / "bundle"
        folder.mkdir(exist_ok=True)
        (folder / BUNDLE_FILE).write_bytes(text)
        digests = _listed(folder, storage.url)
        sizes = {}
        for name in digests:
            if name not in there:
                raise _Changed(f"{name} is missing")
            sizes[name] = there[name].size
        wanted = [file for name in digests if (file := _lacking(folder / name, name, sizes[name], digests[name]))]
        lacking = sum(file.size - file.have for file in wanted)
        if lacking > (free := shutil.disk_usage(folder).free):
            raise OSError(errno.ENOSPC, f"{storage.url} needs {lacking} more bytes, {free} are free", str(folder))
        progress.begin(storage.url, lacking)
        try:
            _fetch(storage, folder, wanted, progress)
        finally:
            moved = progress.end()
        _remove_others(folder, {BUNDLE_FILE, *digests})
        read_bundle(folder)
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        _holds(target, digest, force)  # it may have come meanwhile
        replace_folder(folder, target)
        shutil.rmtree(staging)
    return Transfer(digest, len(text) + sum(sizes.values()), moved + len(text))


def _holds(target: Path, digest: str, force: bool) -> bool:
    """Return whether the target is the bundle already, unharmed.

    Raises:
        BundleError: something else is there.
    """
    check_place(target)
    if not (target / BUNDLE_FILE).is_file():
        return False
    try:
        if read_bundle(target).digest == digest:
            return True
        problem = "holds another bundle"
    except BundleError as error:
        if read_digest(target) == digest:
            return False  # the same one, damaged: it is brought anew
        problem = f"holds another bundle, a damaged one ({error})"
    if not force:
        raise BundleError(f"{target} {problem}; give another folder, or replace it with --force")
    return False


def read_digest(folder: Path) -> str:
    """Return the digest of the bundle in a folder, "" without one."""
    try:
        return hashlib.sha256((folder / BUNDLE_FILE).read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


@contextmanager
def _locked(staging: Path) -> Iterator[None]:
    """Keep other processes out of a staging folder, which is made if need be."""
    staging.mkdir(exist_ok=True)
    with (staging / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BundleError(f"another pull works in {staging}; wait for its end") from error
        yield


def _listed(folder: Path, url: str) -> dict[str, str]:
    """Return the files that the description in a staging folder lists, with their digests.

    Raises:
        BundleError: it is no description, or lists a name that means something else on some system.
    """
    try:
        digests = listed_files(read_description(folder))
    except BundleError as error:
        raise BundleError(f"{url}: {error}") from error
    for name in digests:
        if "\\" in name or not name.isprintable():
            raise BundleError(f"{url}: {BUNDLE_FILE} lists {name!r}: expected a plain file name")
    return digests


def _lacking(path: Path, name: str, size: int, sha256: str) -> _Wanted | None:
    """Return what is to be fetched of a file: nothing, what a cut-off pull has left out, or all of it."""
    digest = hashlib.sha256()
    have = 0
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                digest.update(block)
                have += len(block)
        if have == size and digest.hexdigest() == sha256:
            return None
        if have >= size:
            path.unlink()
            have, digest = 0, hashlib.sha256()
    return _Wanted(name, size, sha256, have, digest)


def _fetch(storage: Store, folder: Path, wanted: list[_Wanted], progress: Progress) -> None:
    """Bring files whole.

    Raises:
        _Changed: one of them is not what the description lists; it is removed again.
        StorageError: the store cannot be reached, or refuses.
    """
    calls = (partial(storage.read, file.name, *span) for file in wanted for span in file.spans())
    with ThreadPoolExecutor(BLOCKS_AT_ONCE, thread_name_prefix="widedeep-pull") as pool:
        blocks = _ahead(pool, calls)
        try:
            for file in wanted:
                _write(folder / file.name, file, blocks, progress)
        except FileNotFoundError as error:
            raise _Changed(f"a file went away meanwhile: {error}") from error
        finally:
            blocks.close()


def _write(path: Path, file: _Wanted, blocks: Iterator[bytes], progress: Progress) -> None:
    with path.open("ab") as sink:
        for start, end in file.spans():
            block = next(blocks)
            if len(block) != end - start:
                raise _Changed(f"{file.name} is shorter than it was")
            sink.write(block)
            file.digest.update(block)
            progress.add(len(block))
        sink.flush()
        os.fsync(sink.fileno())
    if (actual := file.digest.hexdigest()) != file.sha256:
        path.unlink()
        raise _Changed(f"{file.name} is damaged: expected SHA-256 {file.sha256}, got {actual}")


def _ahead(pool: ThreadPoolExecutor, calls: Iterator[Callable[[], bytes]]) -> Generator[bytes]:
    """Return the results of calls in their order, while the next ones are under way."""
    under_way: deque[Future[bytes]] = deque(pool.submit(call) for call in islice(calls, BLOCKS_AT_ONCE))
    try:
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(pool.submit(call) for call in islice(calls, 1))
            yield result
    finally:
        for future in under_way:
            future.cancel()


def _remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove from a staging folder what is no part of the bundle."""
    for path in [path for path in folder.rglob("*") if not path.is_dir()]:
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()
