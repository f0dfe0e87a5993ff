"""Horizontal bars and intervals, with labels that are the page's own text."""

from collections.abc import Mapping, Sequence

from .axes import Scale, drawing
from .markup import Html, tag

_STRIP_WIDTH, _STRIP_HEIGHT = 180, 22


def bars(rows: Sequence[tuple[str, float, str, str]], *, title: str) -> Html:
    """Return a list of bars.

    Args:
        rows: label, length from 0 to 1, value as text, class of the bar.
        title: what the bars are, for those who do not see them.
    """
    return tag("ul", *(_bar(*row) for row in rows), class_="bars", aria_label=title)


def _bar(label: str, length: float, text: str, class_: str) -> Html:
    bar = tag(
        "svg",
        tag("rect", x=0, y=0, width=100, height=8, class_="track"),
        tag(
            "rect",
            tag("title", f"{label}: {text}"),
            x=0,
            y=0,
            width=100 * min(1.0, max(0.0, length)),
            height=8,
            class_=class_,
        ),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag("li", tag("span", label, class_="name"), tag("span", text, class_="value"), bar)


def strip(estimate: Mapping[str, float | None], bounds: tuple[float, float], class_: str, title: str) -> Html:
    """Return an estimate as a point on its interval, on a scale that all rows of a table share."""
    x = Scale(*bounds, 6, _STRIP_WIDTH - 6)
    value, low, high = estimate["value"], estimate.get("low"), estimate.get("high")
    middle = _STRIP_HEIGHT / 2
    parts = [tag("line", x1=0, x2=_STRIP_WIDTH, y1=middle, y2=middle, class_="grid")]
    if low is not None and high is not None:
        parts.append(tag("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_=f"whisker {class_}"))
    if value is not None:
        parts.append(tag("circle", cx=x(value), cy=middle, r=4.5, class_=class_))
    return drawing(_STRIP_WIDTH, _STRIP_HEIGHT, title, *parts, class_="strip")


def bounds_of(estimates: Sequence[Mapping[str, float | None]]) -> tuple[float, float]:
    """Return bounds around all intervals; of values far above the middle one, as many as would squeeze the others."""
    values = sorted(e["value"] for e in estimates if e["value"] is not None)
    lows = [v for e in estimates for v in (e.get("low"), e["value"]) if v is not None]
    highs = [v for e in estimates for v in (e.get("high"), e["value"]) if v is not None]
    if not values:
        return 0.0, 1.0
    least, most = min(lows), max(highs)
    middle = values[len(values) // 2]
    return least, min(most, max(middle, middle + 3 * (middle - least)))
