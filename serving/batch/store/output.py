"""The output folder as a place where files appear whole or not at all, on whatever file system it lies.

How a file becomes whole depends on what the file system promises:

    this machine's          written to `_tmp/`, synced, renamed, folder synced
    object stores           written to a local temporary file, then put: an object exists only once its put has ended.
                            Not streamed: pyarrow has no way to abandon a stream, closing it would publish what is there
    others (HDFS, SFTP..)   written to `_tmp/`, then moved
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

from pyarrow import fs

from ..locations import absolute, is_local, resolve

TMP = "_tmp"
SPOOL_BYTES = 8 << 20
"""What an object may take of memory before it goes to a local temporary file."""

COPY_BYTES = 16 << 20
LINE_BYTES = 1 << 20

_OBJECT_STORES = {
    *("s3", "gcs", "abfs"),
    *(f"py::fsspec+{scheme}" for scheme in ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "r2")),
}


class Output:
    """An output folder. Immutable and picklable; may be used from any number of threads and processes at once.

    Names are paths below the folder, with `/` between their parts, as `_rejects/part-000012.parquet`.

    Attributes:
        url: of the folder, a local path or a URL.
        files: `pyarrow.fs.FileSystem`.
        path: the folder's path there.
        local: whether it lies on this machine's file system.
    """

    def __init__(self, url: str) -> None:
        self.url = absolute(url)
        self.files, path = resolve(self.url)
        self.path = path.rstrip("/")
        self.local = is_local(self.files)
        self._objects = self.files.type_name in _OBJECT_STORES

    def __reduce__(self) -> tuple[type["Output"], tuple[str]]:
        return Output, (self.url,)

    def __str__(self) -> str:
        return self.url

    def make(self) -> None:
        """Make the folder if there is none; object stores have no folders.

        Raises:
            OSError: it cannot be made.
        """
        if not self._objects:
            self.files.create_dir(self.path, recursive=True)

    def at(self, name: str) -> str:
        """Return a name's path in the file system."""
        return f"{self.path}/{name}"

    def place(self, name: str) -> str:
        """Return where a name lies, for messages."""
        return f"{self.url.rstrip('/')}/{name}"

    @contextmanager
    def create(self, name: str) -> Iterator[Any]:
        """Give a binary sink whose content is under `name` once the block ends; an error leaves what was there.

        Raises:
            OSError: it cannot be written.
        """
        how = self._put if self._objects else self._rename
        with how(name) as sink:
            yield sink

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole, in place of one of this name.

        Raises:
            OSError: it cannot be written.
        """
        with self.create(name) as sink:
            sink.write(data)

    def open(self, name: str) -> Any:
        """Return a `pyarrow.NativeFile` that reads anywhere in a file.

        Raises:
            FileNotFoundError: there is none.
        """
        return self.files.open_input_file(self.at(name))

    def read(self, name: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: there is none.
        """
        with self.files.open_input_stream(self.at(name)) as stream:
            return bytes(stream.readall())

    def lines(self, name: str) -> Iterator[bytes]:
        """Yield a file's lines without their ends, in memory that does not grow with it.

        Raises:
            FileNotFoundError: there is none.
        """
        with self.files.open_input_stream(self.at(name)) as stream:
            rest = b""
            while data := stream.read(LINE_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                yield from lines
            if rest:
                yield rest

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return bool(self.files.get_file_info(self.at(name)).type == fs.FileType.File)

    def names(self, folder: str = "") -> list[str]:
        """Return what lies in the output folder, or in one below it: files and folders, sorted, not their content."""
        path = self.at(folder) if folder else self.path
        found = self.files.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted({info.base_name for info in found} - {""})

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            self.files.delete_file(self.at(name))

    def empty_tmp(self) -> None:
        """Remove what never became whole; for the holder of the lock, while no worker runs."""
        if TMP in self.names():
            self.files.delete_dir_contents(self.at(TMP), missing_dir_ok=True)

    @contextmanager
    def _rename(self, name: str) -> Iterator[Any]:
        tmp, path = self.at(f"{TMP}/{uuid4().hex}"), self.at(name)
        for folder in dict.fromkeys((tmp.rpartition("/")[0], path.rpartition("/")[0])):
            self.files.create_dir(folder, recursive=True)
        try:
            with self.files.open_output_stream(tmp) as sink:
                yield sink
            if self.local:
                _sync(tmp)
                os.replace(tmp, path)  # noqa: PTH105  # paths of the file system are text
                _sync(path.rpartition("/")[0])
            else:
                self._move(tmp, name)
        except BaseException:
            with suppress(OSError):
                self.files.delete_file(tmp)
            raise

    def _move(self, tmp: str, name: str) -> None:
        try:
            self.files.move(tmp, self.at(name))
        except OSError:  # some file systems do not move onto a file that is there
            self.remove(name)
            self.files.move(tmp, self.at(name))

    @contextmanager
    def _put(self, name: str) -> Iterator[Any]:
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spool:
            yield spool
            spool.seek(0)
            try:
                with self.files.open_output_stream(self.at(name)) as sink:
                    shutil.copyfileobj(spool, sink, COPY_BYTES)
            except BaseException:  # an interrupted copy was closed, and so published
                with suppress(OSError):
                    self.files.delete_file(self.at(name))
                raise


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
