"""Push: a bundle's files go up first, its `bundle.json` last, so that a version appears whole or not at all.

Nothing but `bundle.json` makes a version, so a push that was cut off leaves only files, which the next one finds and
keeps. A version that is there is never changed unless that is asked for; then it is taken away first, and what reads
it meanwhile finds a digest that does not fit.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from ..contract.bundle import BUNDLE_FILE, EVIDENCE_FOLDER, SAMPLES_FILE, listed_files, read_bundle
from ..contract.errors import BundleError, StorageError
from ..contract.graphs import FUSED_FILE
from .download import Transfer, pull_bundle
from .progress import Progress
from .storage import PART_BYTES, Brake, Storage, StoredFile, part_bytes

FILES_AT_ONCE = 4
Put = Callable[[str, Path, Callable[[int], None]], None]
"""Uploads a file, given its name in the store, its path and what is to be told of bytes that went up."""

_FOLDERS = ("members", EVIDENCE_FOLDER)


def push_bundle(path: Path, storage: Storage, *, force: bool = False, progress: Progress | None = None) -> Transfer:
    """Store a bundle, checked before and after.

    After the upload every file is proven: by the MD5 that the store gives, else by reading it back.

    Args:
        path: the bundle's folder.
        storage: the folder it is to be.
        force: replace another bundle that is there.
        progress: told of bytes that went up.

    Raises:
        BundleError: it is no sound bundle, or another one or something else is there.
        StorageError: the store cannot be reached, refuses, or holds something else than was sent.
    """
    bundle = read_bundle(path)
    if storage.is_local:
        return pull_bundle(Storage.open(str(path.absolute())), Path(storage.root), force=force, progress=progress)
    progress = progress or Progress()
    digests = listed_files(bundle)
    there = storage.list()
    is_other = BUNDLE_FILE in there and _sha256_of(storage, BUNDLE_FILE) != bundle.digest
    if is_other and not force:
        raise BundleError(
            f"{storage.url} holds another bundle; a version stays as it was pushed: push to the folder of a new "
            "version, or replace it with --force"
        )
    stale = sorted(there.keys() - digests.keys() - {BUNDLE_FILE})
    if foreign := next((name for name in stale if not _is_of_bundle(name)), None):
        raise BundleError(
            f"{storage.url} holds other things than a bundle, such as {foreign}; push to a folder of its own"
        )
    missing = [name for name in digests if not (name in there and _is_proven(path / name, there[name]))]
    size = sum((path / name).stat().st_size for name in (*digests, BUNDLE_FILE))
    if BUNDLE_FILE in there and not is_other and not missing and not stale:
        return Transfer(bundle.digest, size, 0)
    if BUNDLE_FILE in there:
        storage.remove([BUNDLE_FILE])
    progress.begin(storage.url, sum((path / name).stat().st_size for name in missing))
    try:
        send_files(path, missing, storage.put, progress)
        storage.remove(stale)
        _prove(path, storage, {name: digests[name] for name in missing})
        storage.put(BUNDLE_FILE, path / BUNDLE_FILE, progress.add)
    finally:
        moved = progress.end()
    if _sha256_of(storage, BUNDLE_FILE) != bundle.digest:
        raise StorageError(f"{storage.url}/{BUNDLE_FILE} is not what was sent: does another push go on?")
    return Transfer(bundle.digest, size, moved)


def send_files(path: Path, names: Collection[str], put: Put, progress: Progress) -> None:
    """Upload files, the largest first, some at a time; the first failure ends them all.

    Args:
        path: the folder that they lie in.
        names: of the files, relative to it.
        put: uploads one.
        progress: told of bytes that went up.
    """
    brake = Brake()

    def sent(n_bytes: int) -> None:
        brake.check()
        progress.add(n_bytes)

    def send(name: str) -> None:
        brake.check()
        put(name, path / name, sent)

    by_size = sorted(names, key=lambda name: -(path / name).stat().st_size)
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="widedeep-push") as pool:
        futures = [pool.submit(send, name) for name in by_size]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            brake.pull()
            raise


def _prove(path: Path, storage: Storage, digests: Mapping[str, str]) -> None:
    """Check what has arrived.

    Raises:
        StorageError: it is not what was sent.
        BundleError: another push was faster.
    """
    there = storage.list()
    if BUNDLE_FILE in there:
        raise BundleError(f"{storage.url}: another push has written {BUNDLE_FILE} meanwhile")
    for name, digest in digests.items():
        if name not in there or there[name].size != (path / name).stat().st_size:
            raise StorageError(f"{storage.url}/{name} has not arrived whole")
        if not _is_proven(path / name, there[name]) and _sha256_of(storage, name, there[name].size) != digest:
            raise StorageError(f"{storage.url}/{name} is not what was sent")


def _is_proven(path: Path, stored: StoredFile) -> bool:
    """Return whether the store's own checksum shows that a file there is the local one."""
    return stored.size == path.stat().st_size and stored.checksum in _checksums(path)


def _checksums(path: Path) -> tuple[str, str]:
    """Return the MD5 of a file, and as S3 gives it for one that came in parts: of their MD5s, with their number."""
    size = part_bytes(path.stat().st_size)
    whole = hashlib.md5(usedforsecurity=False)
    parts = []
    with path.open("rb") as file:
        while part := file.read(size):
            whole.update(part)
            parts.append(hashlib.md5(part, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False)
    return whole.hexdigest(), f"{joined.hexdigest()}-{len(parts)}"


def _sha256_of(storage: Storage, name: str, size: int = 0) -> str:
    """Return the digest of a stored file, read in blocks; one of unknown size is small."""
    if not size:
        return hashlib.sha256(storage.read(name)).hexdigest()
    digest = hashlib.sha256()
    for start in range(0, size, PART_BYTES):
        digest.update(storage.read(name, start, min(start + PART_BYTES, size)))
    return digest.hexdigest()


def _is_of_bundle(name: str) -> bool:
    """Return whether a bundle may hold such a file; a model may be called `members`, and that one lies deeper."""
    folder, slash, file = name.partition("/")
    return name in {SAMPLES_FILE, FUSED_FILE} or (bool(slash) and folder in _FOLDERS and "/" not in file)
