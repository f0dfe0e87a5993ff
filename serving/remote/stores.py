"""What a URL names, for `push`, `pull` and `serve`: a folder that fsspec reaches, or what an OCI registry holds."""

from pathlib import Path

from .artifact import Artifact, push_artifact
from .download import Transfer
from .progress import Progress
from .reference import SCHEME, Reference
from .storage import Storage
from .upload import push_bundle


def open_store(url: str) -> Storage | Artifact:
    """Return what a URL or a local path names; whether it exists is not asked.

    Raises:
        ConfigurationError: the URL is malformed or holds a password, or the library for its scheme is missing.
    """
    return Artifact(Reference.parse(url)) if url.startswith(SCHEME) else Storage.open(url)


def push(path: Path, store: Storage | Artifact, *, force: bool = False, progress: Progress | None = None) -> Transfer:
    """Store a bundle; arguments and errors are those of `push_bundle`."""
    if isinstance(store, Artifact):
        return push_artifact(path, store, force=force, progress=progress or Progress())
    return push_bundle(path, store, force=force, progress=progress)
