"""Image files as arrays `(n_rows, height, width, channels)`, decoded when they are needed.

Decoding, greyscale and resizing (bilinear) are Pillow's, by the steps that batch jobs take too. Other libraries round
and filter otherwise: files that have the size and channels that the model takes lose nothing on the way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...serving.contract.errors import ConfigurationError, InvalidInput
from ...serving.contract.pixels import channels_of, decoded, open_image
from ...serving.contract.tensors import Array
from .problems import Problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Images:
    """Image files, one a row.

    Attributes:
        files: the files, in row order.
        row_shape: height, width and channels of each.
    """

    def __init__(self, files: Sequence[Path], size: Sequence[int] = (), channels: int | None = None) -> None:
        """Take size and channels, where they are not given, from the first file.

        Raises:
            Problem: there are no files, or the first is no image.
        """
        if not files:
            raise Problem("there are no images")
        self.files = tuple(files)
        self._resize = bool(size)
        height, width, found = _facts(self.files[0])
        self.row_shape = (*(tuple(size) or (height, width)), channels or found)
        self._is_free = channels is not None

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.files)

    def __getitem__(self, index: Array) -> Array:
        """Return some images as uint8 `(n, height, width, channels)`.

        Raises:
            Problem: one is no image, or of another size or number of channels than expected.
        """
        out = np.empty((len(index), *self.row_shape), np.uint8)
        for place, row in enumerate(index):
            out[place] = self._decode(self.files[int(row)])
        return out

    def _decode(self, path: Path) -> Array:
        height, width, channels = self.row_shape
        with _opened(path) as image:
            if not self._is_free and (found := channels_of(image)) != channels:
                raise Problem(
                    f"{path} has {found} channels, {self.files[0].name} has {channels}; say channels = 1, 3 or 4 to "
                    f"convert all"
                )
            if image.size != (width, height) and not self._resize:
                raise Problem(
                    f"{path} is of size {[image.height, image.width]}, {self.files[0].name} of {[height, width]}; say "
                    f"size = [height, width] to resize all"
                )
            return decoded(image, height, width, channels)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the subfolders that hold images, sorted: the classes."""
    return tuple(sorted(sub.name for sub in folder.iterdir() if sub.is_dir() and _images(sub)))


def files_by_class(folder: Path, classes: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the image files of each class in turn, sorted by name, and the class of each."""
    files = {name: _images(folder / name) for name in classes}
    return [path for paths in files.values() for path in paths], [name for name in files for _ in files[name]]


def files_by_name(folder: Path, names: Sequence[object]) -> list[Path]:
    """Return the files of a column of relative names.

    Raises:
        Problem: one is missing, not inside the folder, or no text.
    """
    paths = []
    for row, name in enumerate(names):
        if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise Problem(f"row {row} names the file {name!r}; expected a path inside {folder}")
        if not (folder / name).is_file():
            raise Problem(f"row {row}: {folder / name} does not exist")
        paths.append(folder / name)
    return paths


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())


def _facts(path: Path) -> tuple[int, int, int]:
    with _opened(path) as image:
        return image.height, image.width, channels_of(image)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an image file, and say of what goes wrong with it which file it was."""
    try:
        with open_image(path) as image:
            yield image
    except InvalidInput as error:
        raise Problem(f"{path} {error}") from error
    except ConfigurationError as error:
        raise Problem(str(error)) from error
