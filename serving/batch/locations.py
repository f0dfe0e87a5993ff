"""From what a user names, a path or a URL, to a file system of pyarrow and a path in it."""

from pathlib import Path
from typing import Any

from ..contract.errors import ConfigurationError
from ..remote.storage import find_files


def absolute(url: str) -> str:
    """Return a URL as it is, and a local path made absolute."""
    return url if "://" in url else str(Path(url).absolute())


def resolve(url: str) -> tuple[Any, str]:
    """Return `pyarrow.fs.FileSystem` and the path in it that a local path or URL names.

    pyarrow's own file systems come first (local, S3, GCS, HDFS, Azure), then those of fsspec.

    Raises:
        ConfigurationError: neither knows the URL's scheme, or its options do not fit.
    """
    import pyarrow as pa
    from pyarrow import fs

    if "://" not in url:
        return fs.LocalFileSystem(), str(Path(url).absolute())
    try:
        return fs.FileSystem.from_uri(url)  # type: ignore[no-any-return]  # pyarrow has no types
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as by_pyarrow:
        try:
            files, path = find_files(url)
        except ConfigurationError as by_fsspec:
            raise ConfigurationError(f"{by_fsspec}; and pyarrow says {by_pyarrow}") from by_fsspec
        return fs.PyFileSystem(fs.FSSpecHandler(files)), path


def is_local(files: Any) -> bool:
    """Return whether a file system is this machine's own."""
    return bool(files.type_name == "local")
