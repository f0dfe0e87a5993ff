"""What can be said of an export file before a model is loaded: whether all is there and fits together."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from ...serving.contract.bundle import Task
from ..build import class_indices
from ..weights import learners_for
from . import models
from .data import Dataset, read_data
from .inputs import Source, Table
from .places import bundle_place
from .problems import Problem, nearest
from .schema import Sheet

_NETS = ("keras", "savedmodel", "onnx")
"""Formats whose models know their inputs by name."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What can be said of an export file without loading a model.

    Attributes:
        n_rows: rows of the data.
        inputs: input name -> what it holds, in words.
        formats: member -> format of its file.
    """

    n_rows: int
    inputs: Mapping[str, str]
    formats: Mapping[str, str]


def check(sheet: Sheet, *, trust: bool = False, output: Path | None = None) -> Checked:
    """Check an export file, its data and that its models can be loaded here, without loading them.

    Args:
        sheet: the export file.
        trust: whether code in model files may run.
        output: the bundle's folder, instead of the one in the file.

    Raises:
        SpecError: something is missing or does not fit; names the place.
    """
    bundle_place(sheet, output)
    formats = formats_of(sheet, trust=trust)
    data = read_data(sheet)
    check_fit(sheet, data, formats)
    described = {}
    for name, source in data.inputs.items():
        with sheet.blame("inputs", name):
            described[name] = source.described()
    return Checked(len(data), described, formats)


def formats_of(sheet: Sheet, *, trust: bool) -> dict[str, str]:
    """Return member -> format of its file, after all checks that need no loading.

    Raises:
        SpecError: a file is not there or not what it should be, must be trusted first, or its library is not installed.
    """
    formats = {}
    for name, member in sheet.spec.members.items():
        if not sheet.spec.data.held_out and member.int8:
            message = "is judged on rows that no member was trained on; give such as held_out in [data]"
            raise sheet.problem("members", name, "int8", message=message)
        if not sheet.spec.data.held_out and member.scores is None:
            raise sheet.problem(
                "members",
                name,
                message="scores are missing: [data] rows says that members may have been trained on these rows, so "
                "weights must be learned from out-of-fold scores; or give rows that no member was trained on as "
                "held_out",
            )
        with sheet.blame("members", name, "file"):
            path = sheet.resolve(member.file)
            found = models.format_of(path, member.format)
            if missing := [library for library in models.LIBRARIES[found] if find_spec(library) is None]:
                raise Problem(f"{path.name} needs {missing[0]}, which is not installed: {models.INSTALL[found]}")
            formats[name] = models.check(path, member, trust=trust)
    return formats


def check_fit(sheet: Sheet, data: Dataset, formats: Mapping[str, str]) -> None:
    """Refuse what does not fit together before the long part of the work.

    Raises:
        SpecError: a member takes an input that is not there, there are too few rows, a label is none of the classes, or
            there is no such learner.
    """
    for name, found in formats.items():
        inputs_of(sheet, data, name, found)
    if len(data) < (least := 2 * sheet.spec.ensemble.folds):
        message = f"expected at least {least} rows, two a fold, got {len(data)}"
        raise sheet.problem("data", message=message)
    if sheet.spec.classes and sheet.spec.task != "regression":
        try:
            class_indices(data.target, sheet.spec.classes)
        except ValueError as error:
            raise sheet.problem("data", "target", message=str(error).removeprefix("target ")) from error
    known = [learner.name for task in get_args(Task) for learner in learners_for(task, 2, 2)]
    for name in sheet.spec.ensemble.learners:
        if name not in known:
            message = f"there is no learner {name!r}{nearest(name, list(dict.fromkeys(known)))}"
            raise sheet.problem("ensemble", "learners", message=message)


def inputs_of(sheet: Sheet, data: Dataset, name: str, found: str) -> list[Source]:
    """Return what a member takes: as it says, or all for a net, which knows its inputs by name, or the only table.

    Raises:
        SpecError: it names an input that is not there, or does not say which of several it takes.
    """
    wished = sheet.spec.members[name].inputs
    if missing := [given for given in wished if given not in data.inputs]:
        message = f"there is no input {missing[0]!r}{nearest(missing[0], list(data.inputs))}"
        raise sheet.problem("members", name, "inputs", message=message)
    if wished:
        return [data.inputs[given] for given in wished]
    given = list(data.inputs.values())
    if found in _NETS or len(given) == 1:
        return given
    tables: list[Source] = [source for source in given if isinstance(source, Table)]
    if len(tables) == 1:
        return tables
    message = f"inputs are missing: say which of {', '.join(data.inputs)} this member takes"
    raise sheet.problem("members", name, message=message)
