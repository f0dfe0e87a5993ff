"""The table of every section and key of an export file, made from the schema itself."""

import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from .schema import Data, Ensemble, Input, Member, Place, Spec

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "": Spec,
    "[data]": Data,
    "[inputs.NAME]": Input,
    "[members.NAME]": Member,
    "[ensemble]": Ensemble,
    "{file = ..., columns = [...]}": Place,
}
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def key_table() -> str:
    """Return a Markdown table of section, key, value, default and meaning."""
    lines = ["| section | key | value | default | meaning |", "|---|---|---|---|---|"]
    for section, model in _SECTIONS.items():
        for key, field in model.model_fields.items():
            if not _is_section(field):
                cells = (f"`{section}`" if section else "", f"`{key}`", _kind(field.annotation), _default(field))
                lines.append(f"| {' | '.join(cells)} | {field.description} |")
    return "\n".join(lines)


def _is_section(field: FieldInfo) -> bool:
    """Whether a key holds a section, which has rows of its own."""
    parts = [field.annotation, *typing.get_args(field.annotation)]
    return any(isinstance(part, type) and issubclass(part, BaseModel) and part is not Place for part in parts)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    plain = type(field.default) in {int, float, str}
    return f"`{field.default}`" if plain else ""


def _kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(_kind(part) for part in arguments if part is not type(None))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "list of " + {"text": "text", "whole number": "whole numbers"}.get(_kind(arguments[0]), "labels")
    if origin is dict:
        return f"table of {_kind(arguments[1])}"
    return "place" if annotation is Place else _PLAIN.get(annotation, "")
