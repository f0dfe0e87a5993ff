"""Axes: scales, ticks and the frame that a plot is drawn in."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .markup import Html, group, tag
from .wording import ticks

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 12, 14, 46
"""The frame's margins, in the units of the view box: about a pixel each on a phone."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to places.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: place, in units of the view box.
        end: place.
        is_log: whether equal distances are equal ratios.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value, kept inside the ends."""
        low, high, at = (self.low, self.high, value)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 6) -> tuple[float, ...]:
        """Return round values within the scale."""
        if not self.is_log:
            return round_values(self.low, self.high, most)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        inside = [value for value in every if self.low <= value <= self.high]
        powers = [value for value in inside if math.log10(value).is_integer()]
        return tuple(inside if len(inside) <= most or len(powers) < 2 else powers)[: 2 * most]


def round_values(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return at most about so many multiples of 1, 2 or 5 times a power of ten within bounds."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(k * step for k in range(first, math.floor(high / step + 1e-9) + 1))


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """Return bounds around all values with some room."""
    low, high = float(np.min(values)), float(np.max(values))
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


def scales(x: tuple[float, float], y: tuple[float, float], *, log_x: bool = False) -> tuple[Scale, Scale]:
    """Return the scales of a frame for values within these bounds."""
    return Scale(*x, LEFT, WIDTH - RIGHT, log_x), Scale(*y, HEIGHT - BOTTOM, TOP)


def frame(
    x: Scale,
    y: Scale,
    *children: Html,
    title: str,
    x_title: str,
    y_title: str,
    x_text: Callable[[float], str] | None = None,
    y_text: Callable[[float], str] | None = None,
) -> Html:
    """Return a plot with grid, ticks and titles of the axes.

    Args:
        x: scale of the horizontal axis.
        y: of the vertical one.
        children: what is drawn in it.
        title: what the plot shows, for those who do not see it.
        x_title: what the horizontal axis holds, with its unit.
        y_title: of the vertical one.
        x_text: how ticks of the horizontal one are written; as numbers by default.
        y_text: those of the vertical one.
    """
    left, right, bottom, top = x.start, x.end, y.start, y.end
    marks: list[Html] = []
    for value, text in _written(x, x_text):
        at = x(value)
        marks.append(tag("line", x1=at, x2=at, y1=top, y2=bottom, class_="grid"))
        marks.append(tag("text", text, x=at, y=bottom + 16, text_anchor="middle"))
    for value, text in _written(y, y_text):
        at = y(value)
        marks.append(tag("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
        marks.append(tag("text", text, x=left - 6, y=at + 4, text_anchor="end"))
    middle = (top + bottom) / 2
    return drawing(
        WIDTH,
        HEIGHT,
        title,
        *marks,
        tag("path", d=f"M{left} {top}V{bottom}H{right}", class_="axis"),
        tag("text", x_title, x=(left + right) / 2, y=bottom + 36, text_anchor="middle", class_="label"),
        tag(
            "text", y_title, x=12, y=middle, text_anchor="middle", class_="label", transform=f"rotate(-90 12 {middle})"
        ),
        *children,
    )


def _written(scale: Scale, text: Callable[[float], str] | None) -> list[tuple[float, str]]:
    values = scale.ticks()
    if text is None and scale.is_log:  # each is of another size
        text = _alone
    return list(zip(values, ticks(values) if text is None else map(text, values), strict=True))


def _alone(value: float) -> str:
    return ticks([value])[0]


def drawing(
    width: float, height: float, title: str, *children: Html, class_: str = "plot", natural: bool = False
) -> Html:
    """Return an SVG that is as wide as its place, or `natural`, as its own units say where there is room."""
    return tag(
        "svg",
        tag("title", title),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_=class_,
        width=width if natural else None,
    )


def path(points: Sequence[tuple[float, float]], class_: str, title: str = "") -> Html:
    """Return a line through places."""
    d = "".join(f"{'M' if i == 0 else 'L'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    return tag("path", tag("title", title) if title else None, d=d, class_=class_)


def mark(x: float, y: float, class_: str, title: str, *, square: bool = False, size: float = 4.5) -> Html:
    """Return a point that says what it is when pointed at."""
    says = tag("title", title)
    if square:
        return tag("rect", says, x=x - size, y=y - size, width=2 * size, height=2 * size, class_=class_)
    return tag("circle", says, cx=x, cy=y, r=size + 0.5, class_=class_)


def legend(*entries: tuple[str, str]) -> Html:
    """Return a line of (class, meaning) pairs below a plot."""
    return tag(
        "p",
        *(tag("span", tag("i", class_=f"key {class_}"), f" {meaning}") for class_, meaning in entries),
        class_="legend",
    )


def together(items: Sequence[Html]) -> Html:
    """Return marks as one group."""
    return tag("g", group(items))
