"""Markup: HTML and SVG elements as text that is escaped by construction.

Names of columns, classes and members come from files; they reach a page only as children or attributes of `tag`, which
escapes them. Every element is closed, so that a page is well-formed XML, too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_VOID = frozenset({"meta", "img", "br", "hr", "col"})
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold; half a surrogate pair could not even be written."""
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is markup. Made by `tag` and `group`, so that nothing else need be trusted."""

    text: str


Content = Html | str | int | float | None


def tag(name: str, /, *children: Content, **attributes: str | float | None) -> Html:
    """Return an element.

    Args:
        name: of the element.
        children: markup, or text to be escaped; None is left out.
        attributes: `_` stands for a hyphen and is left out at the end, as in `class_`; None leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = group(children).text
    if not inside and name in _VOID:
        return Html(f"<{name}{written} />")
    return Html(f"<{name}{written}>{inside}</{name}>")


def group(children: Iterable[Content]) -> Html:
    """Return several pieces as one."""
    return Html(
        "".join(
            child.text if isinstance(child, Html) else escaped(_short(child)) for child in children if child is not None
        )
    )


def escaped(text: str) -> str:
    """Return text that is safe between tags and in an attribute's quotes."""
    return _ILLEGAL.sub("\ufffd", text).translate(_ESCAPES)


def _short(value: str | float) -> str:
    """Return a coordinate in as few digits as anybody can see."""
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
