"""Heat maps: numbers in a grid, told by how strong the colour is, by text where there is room and by tooltips."""

from collections.abc import Callable, Sequence

import numpy as np

from ...serving.contract.combiner import Float64Array
from .axes import drawing
from .markup import Html, tag
from .wording import shortened

MAX_SIDE = 30
"""Rows or columns drawn; the file would grow with their product, and nobody could tell them apart."""
_MAX_TEXT = 12
_CHARACTER = 6.2
_MAX_LABEL = 18


def heatmap(
    values: Float64Array,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    text: Callable[[float], str],
    low: float = 0.0,
    high: float = 1.0,
    row_word: str = "",
    column_word: str = "",
    blank_zeros: bool = False,
    is_own: Callable[[int, int], bool] = lambda _, __: False,
) -> Html:
    """Return a heat map.

    Args:
        values: `(n_rows, n_columns)`, at most `MAX_SIDE` each.
        rows: labels.
        columns: labels.
        title: what it shows, for those who do not see it.
        text: how a value is written.
        low: value of no colour; those below have the other colour.
        high: value of full colour.
        row_word: what the rows are, for tooltips.
        column_word: what the columns are.
        blank_zeros: whether cells of 0 are left without text.
        is_own: whether a cell has the second colour, as the diagonal of a confusion matrix.
    """
    short_rows = [shortened(name, _MAX_LABEL) for name in rows]
    short_columns = [shortened(name, _MAX_LABEL) for name in columns]
    left = 10 + _CHARACTER * max(map(len, short_rows))
    top = 8 + 0.75 * _CHARACTER * max(map(len, short_columns))
    width = max(13.0, min(64.0, (500 - left) / len(columns)))
    depth = min(width, 40.0)
    parts = _labels(short_rows, short_columns, left, top, width=width, depth=depth)
    has_text = max(len(rows), len(columns)) <= _MAX_TEXT and width >= 28
    for i, j in np.ndindex(values.shape):
        value = float(values[i, j])
        strength = min(1.0, abs(value - low) / ((high - low) or 1.0))
        says = tag("title", f"{row_word}{rows[i]}, {column_word}{columns[j]}: {text(value)}")
        x, y = left + width * j, top + depth * i
        class_ = "other" if value < low or is_own(i, j) else "heat"
        box = {"x": x, "y": y, "width": width - 1.5, "height": depth - 1.5, "rx": 2.0}
        parts.append(tag("rect", says, **box, class_=class_, fill_opacity=f"{0.04 + 0.96 * strength:.2f}"))
        if has_text and (value or not blank_zeros):
            at = {"x": x + width / 2 - 0.75, "y": y + depth / 2 + 3.5}
            class_ = "on strong" if strength > 0.55 else "on"
            parts.append(tag("text", text(value), **at, text_anchor="middle", class_=class_))
    whole = left + width * len(columns) + top * 0.8, top + depth * len(rows) + 6
    return drawing(*whole, title, *parts, class_="grid-plot", natural=True)


def _labels(
    rows: Sequence[str], columns: Sequence[str], left: float, top: float, *, width: float, depth: float
) -> list[Html]:
    """Return the rows' names beside the grid, and the columns' slanting above it."""
    parts = []
    for j, name in enumerate(columns):
        x, y = left + width * (j + 0.5), top - 5
        parts.append(tag("text", name, x=x, y=y, transform=f"rotate(-45 {x:.1f} {y:.1f})"))
    for i, name in enumerate(rows):
        parts.append(tag("text", name, x=left - 6, y=top + depth * (i + 0.5) + 4, text_anchor="end"))
    return parts
