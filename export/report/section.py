"""Sections of the page: what each holds, and what stands for one that cannot be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Content, Html, group, tag
from .wording import shortened

_SMALL = 72


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: where links lead.
        title: a few words.
        lead: how to read what follows, in a sentence or two.
        body: the plots and tables.
    """

    anchor: str
    title: str
    lead: str
    body: Html


@dataclass(frozen=True, slots=True)
class Absent:
    """A part that the bundle holds nothing for.

    Attributes:
        title: as the section would have had.
        why: what is missing, as a sentence.
    """

    title: str
    why: str


def figure(drawing: Html, caption: str, *, title: str = "") -> Html:
    """Return a drawing with its heading and caption."""
    return tag("figure", tag("h3", title) if title else None, drawing, tag("figcaption", caption) if caption else None)


def side_by_side(*figures: Html, three: bool = False) -> Html:
    """Return figures beside each other, two or three in a line where the page is wide enough."""
    return tag("div", *figures, class_="three" if three else "two")


def table(
    head: tuple[str, ...],
    rows: Sequence[tuple[Content, ...]],
    *,
    caption: str,
    numeric: int = 1,
    marked: int | None = None,
) -> Html:
    """Return a table that scrolls inside its own box.

    Args:
        head: of the columns.
        rows: their cells.
        caption: what the table is, for those who do not see it.
        numeric: first column that holds numbers, which stand at the right.
        marked: row that stands out.
    """

    def cells(row: tuple[Content, ...], kind: str) -> Html:
        first = tag(kind, row[0], scope="col" if kind == "th" else None)
        return group(
            [first, *(tag(kind, cell, class_="n" if i >= numeric else None) for i, cell in enumerate(row[1:], 1))]
        )

    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", cells(head, "th"))),
            tag(
                "tbody",
                *(tag("tr", cells(row, "td"), class_="marked" if i == marked else None) for i, row in enumerate(rows)),
            ),
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )


def note(text: str) -> Html:
    """Return a remark below a figure."""
    return tag("p", text, class_="note")


def small(text: str) -> Html:
    """Return a second line of a cell, cut where it is long; all of it shows when pointed at."""
    return tag("small", shortened(text, _SMALL), title=text if len(text) > _SMALL else None)
