"""Where an export writes to: looked at before the long part of the work, and nothing but a bundle is ever replaced."""

import os
from pathlib import Path

from ...serving.contract.bundle import check_place
from ...serving.contract.errors import BundleError
from .problems import Problem, SpecError
from .schema import Sheet


def bundle_place(sheet: Sheet, wished: Path | None) -> Path:
    """Return the bundle's folder: the one wished for on the command line, else that of the export file.

    Raises:
        SpecError: it cannot be written, or something else than a bundle stands there.
    """
    if wished is None:
        with sheet.blame("output"):
            _check_folder(sheet.output)
        return sheet.output
    try:
        _check_folder(wished)
    except Problem as error:
        raise SpecError(f"--output: {error}") from error
    return wished


def check_file(path: Path) -> None:
    """Refuse a file for the fused graph that cannot be written.

    Raises:
        SpecError: it is a folder, or no folder that it could be in can be written.
    """
    if path.is_dir():
        raise SpecError(f"--fused: {path} is a folder; expected the ONNX file to write")
    try:
        _check_parent(path)
    except Problem as error:
        raise SpecError(f"--fused: {error}") from error


def _check_folder(path: Path) -> None:
    try:
        check_place(path)
    except BundleError as error:
        raise Problem(str(error)) from error
    _check_parent(path)


def _check_parent(path: Path) -> None:
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise Problem(f"{path} cannot be written: {parent} is {'read-only' if parent.is_dir() else 'a file'}")
