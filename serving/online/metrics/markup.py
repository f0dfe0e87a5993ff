"""HTML that is safe by construction: text is escaped unless it was made here."""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "link", "path", "rect"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | Iterable[str]
"""Text, markup, or several of them."""


def element(tag: str, *children: Child, **attributes: object) -> Markup:
    """Return an element.

    Args:
        tag: its name.
        children: what is in it; a `str` that is no `Markup` is text.
        attributes: values by name, with `_` for `-`, and none at the end; those that are None or False are left out,
            those that are True have no value.
    """
    spelled = ""
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        spelled += f" {name.rstrip('_').replace('_', '-')}"
        if value is not True:
            spelled += f'="{escape(str(value))}"'
    inner = joined(*children)
    return Markup(f"<{tag}{spelled}>" if tag in _VOID and not inner else f"<{tag}{spelled}>{inner}</{tag}>")


def joined(*children: Child) -> Markup:
    """Return children one after the other."""
    parts = (part for child in children for part in ([child] if isinstance(child, str) else child))
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))
