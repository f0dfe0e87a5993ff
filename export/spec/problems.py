"""Where in an export file something is wrong: file, line, section and key, and the nearest name that exists.

Lines are found by reading section headers and the keys under them; of values inside inline tables and arrays the line
of the key is given.
"""

import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from ...serving.contract.errors import ConfigurationError

Where = tuple[str, ...]

_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_BRANCHES = ("literal[", "constrained-")
"""How pydantic names the branches of a union among the parts of a place."""
_KEY = re.compile(r"\s*([A-Za-z0-9_\"'. -]+?)\s*=")


class SpecError(ConfigurationError):
    """An export file asks for what does not exist or does not fit; the message names the place in the file."""


class Problem(Exception):
    """What is wrong with a model or data file; whoever knows which key named it makes a `SpecError` of it."""


class Text:
    """The text of a file, to say where its keys are."""

    def __init__(self, path: str, content: str) -> None:
        self._path = path
        self._lines, self._sections = _lines(content)

    def at(self, where: Where, message: str) -> str:
        """Return a message that begins with file, line, section and key."""
        line = next((self._lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in self._lines), None)
        depth = next((n for n in range(len(where), 0, -1) if where[:n] in self._sections), 0)
        section, keys = ".".join(where[:depth]), ".".join(where[depth:])
        place = " ".join(part for part in (f"[{section}]" if section else "", keys) if part)
        return f"{self._path}{'' if line is None else f':{line}'}: {place}{': ' if place else ''}{message}"


def first_problem(text: Text, errors: Sequence[Any], root: type[BaseModel]) -> str:
    """Return the message for the first of pydantic's errors, unknown keys before all others.

    A misspelt key often leaves another missing, and the first of the two is the one to mend.
    """
    error = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    where = tuple(str(part) for part in error["loc"] if not str(part).startswith(_BRANCHES))
    return text.at(where, _described(error, where, root))


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean 'x'?` for a misspelt name, and else what is known."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; expected one of {', '.join(known)}"


def _described(error: Mapping[str, Any], where: Where, root: type[BaseModel]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return f"unknown key{nearest(where[-1], _known(root, where[:-1]))}"
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case "too_short":
            return "expected at least one"
        case "string_pattern_mismatch":
            return f"expected letters, digits, '_', '.' and '-', at most 128, got {error['input']!r}"
        case _:
            wanted = re.sub(r" or instance of \w+", "", error["msg"].removeprefix("Input should be "))
            wanted = wanted.replace("tuple", "array").replace("dictionary", "table")
            return f"expected {wanted}, got {error['input']!r}"


def _known(root: type[BaseModel], where: Where) -> list[str]:
    """Return the keys that a section may have."""
    section: Any = root
    for part in where:
        fields = getattr(section, "model_fields", None)
        section = _section(fields[part].annotation) if fields and part in fields else section
    return list(section.model_fields)


def _section(annotation: Any) -> Any:
    """Return the section's class in an annotation such as `dict[str, Member]` or `Place | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section(part) for part in typing.get_args(annotation))
    return next((section for section in found if section is not None), None)


def _lines(content: str) -> tuple[dict[Where, int], set[Where]]:
    """Return the line of each section and key, counted from 1, and which of them are sections."""
    lines: dict[Where, int] = {}
    sections: set[Where] = set()
    section: Where = ()
    for number, line in enumerate(content.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _parts(header[1])
            for n in range(1, len(section) + 1):
                lines.setdefault(section[:n], number)
                sections.add(section[:n])
        elif key := _KEY.match(line):
            lines.setdefault(section + _parts(key[1]), number)
    return lines, sections


def _parts(dotted: str) -> Where:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
