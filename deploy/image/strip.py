"""Delete from a virtual environment what the server never reads, about 65 MB of it.

    python3 strip.py /opt/widedeep

Packages stay listed with all their metadata. What goes beside tests, type stubs and sources of native code is named
in `UNUSED`; who wants it installs the package anew in an image of their own.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = {".a", ".c", ".cpp", ".h", ".hpp", ".pxd", ".pyi", ".pyx"}
UNUSED = (
    # The C library a second time: Python's module has all of it within itself.
    "onnxruntime/capi/libonnxruntime.so.*",
    # Tools that make graphs, which export does elsewhere.
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # Scripts of the environment itself, and of packages; `widedeep` and Python stay.
    "../../../bin/[!pw]*",
)
SERVICES = {"s3", "signin", "sso", "sso-oidc", "sts"}
"""Of the services that botocore describes, the store and those that sign in to it."""


def unused(packages: Path) -> Iterator[Path]:
    """Yield the files and folders to delete, given the folder of the installed packages; some may lie in others."""
    for pattern in UNUSED:
        yield from packages.glob(pattern)
    for path in (packages / "botocore" / "data").glob("*/"):
        if path.name not in SERVICES:
            yield path
    for path in packages.rglob("*"):
        if path.suffix in SUFFIXES or (path.name == "tests" and path.is_dir()):
            yield path


def delete(path: Path) -> int:
    """Delete a file or folder and return how many bytes it had."""
    if not path.exists():
        return 0
    if path.is_dir():
        n_bytes = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path)
        return n_bytes
    n_bytes = path.lstat().st_size
    path.unlink()
    return n_bytes


def main(environment: Path) -> None:
    """Strip a virtual environment."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    n_bytes = sum(delete(path) for path in list(unused(packages)))
    print(f"stripped {n_bytes / 1e6:.1f} MB")  # noqa: T201 - for the build's log


if __name__ == "__main__":
    main(Path(sys.argv[1]))
