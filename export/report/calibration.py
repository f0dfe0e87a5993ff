"""Reliability diagrams: whether a probability of 80 % means right four times in five."""

from collections.abc import Mapping, Sequence
from typing import Any

from .axes import frame, mark, path, scales, together
from .evidence import Evidence
from .judgement import ENSEMBLE, UNIFORM, Judgement
from .leaderboard import family
from .markup import Html, tag
from .section import Absent, Section, figure, side_by_side
from .wording import count, percent

_LINE_ROWS = 10
"""Fewer rows say next to nothing; a line through them would jump."""


def calibration(evidence: Evidence, judgement: Judgement | None) -> Section | Absent | None:
    """Return the diagrams of the best member, the uniform mean and the ensemble; None for a regression."""
    if evidence.bundle.task != "classification":
        return None
    if judgement is None or evidence.judged is None:
        return Absent("Calibration", "the bundle holds no rows with scores and a truth")
    least = 0.5 if evidence.bundle.n_outputs == 2 else 0.0
    drawn = [
        _diagram(judgement.metrics[who], title, class_, least)
        for who, title, class_ in (
            (judgement.best, f"Before: {judgement.best}, the best member", family(evidence, judgement.best)),
            (UNIFORM, "Before: uniform mean", "muted"),
            (ENSEMBLE, "After: the ensemble", "ensemble"),
        )
    ]
    which = "" if evidence.judged.source == "test" else ", the very rows that the combination was fitted on"
    lead = (
        f"Rows in bins by the probability of the label that is answered, on {evidence.judged.words}{which}. On the "
        "diagonal, probabilities mean what they say; below it they are too sure, above it not sure enough. Bars at the "
        "foot tell how many rows a bin holds, vertical lines are 95 % intervals; the line joins bins of at least "
        f"{_LINE_ROWS} rows. The calibration error is the mean distance from the diagonal; even perfect probabilities "
        "show some by chance."
    )
    return Section("calibration", "Calibration", lead, side_by_side(*drawn, three=True))


def _diagram(metrics: Mapping[str, Any], title: str, class_: str, least: float) -> Html:
    bins: Sequence[Mapping[str, Any]] = metrics["calibration"]
    x, y = scales((least, 1.0), (0.0, 1.0))
    most = max((one["n"] for one in bins), default=1)
    parts = [path([(x(least), y(least)), (x(1), y(1))], "diagonal")]
    for one in bins:
        share = one["share"]
        says = (
            f"Probabilities of {percent(one['from'], 0)} to {percent(one['to'], 0)}: {count(one['n'], 'row')}, mean "
            f"{percent(one['confidence'])}, right {percent(share['value'])}"
        )
        left, right = x(one["from"]), x(one["to"])
        height = 40 * one["n"] / most
        parts.append(
            tag(
                "rect",
                tag("title", says),
                x=left + 1,
                y=y.start - height,
                width=max(0.0, right - left - 2),
                height=height,
                class_="count",
            )
        )
        at = x(one["confidence"])
        if share["low"] is not None:
            parts.append(tag("line", x1=at, x2=at, y1=y(share["low"]), y2=y(share["high"]), class_=f"whisker {class_}"))
        parts.append(mark(at, y(share["value"]), class_, says))
    told = [one for one in bins if one["n"] >= _LINE_ROWS]
    line = path([(x(one["confidence"]), y(one["share"]["value"])) for one in told], f"line {class_}")
    plot = frame(
        x,
        y,
        line,
        together(parts),
        title=f"Reliability diagram. {title}",
        x_title="probability of the answered label",
        y_title="share of rows that are right",
        x_text=lambda v: percent(v, 0),
        y_text=lambda v: percent(v, 0),
    )
    ece, chance = metrics["ece"]["value"], metrics["ece_by_chance"]
    return figure(plot, f"Calibration error {percent(ece)}; by chance alone {percent(chance)}.", title=title)
