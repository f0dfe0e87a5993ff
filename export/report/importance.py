"""Which columns the wide members go by."""

from collections.abc import Mapping, Sequence

import numpy as np

from .bars import bars
from .combination import influence
from .evidence import Evidence
from .heatmap import heatmap
from .markup import Html
from .section import Absent, Section, figure, side_by_side
from .wording import number, percent

_MAX_COLUMNS = 15
_MAX_MEMBERS = 12

Told = tuple[Mapping[str, float], float]
"""What a member tells, column -> share, and its influence."""


def importance(evidence: Evidence) -> Section | Absent:
    """Return bars over all members that tell, and a heat map by member."""
    shares = influence(evidence.bundle.combiner)
    told = {
        name: (own, float(share))
        for name, share in zip(evidence.names, shares, strict=True)
        if (own := evidence.about(name).get("importance"))
    }
    if not told:
        return Absent("Feature importance", "no member tells it" if evidence.training else _UNTRAINED)
    together = _mean(told)
    ranked = sorted(together, key=lambda column: -together[column])
    top = ranked[:_MAX_COLUMNS]
    most = max(together[top[0]], 1e-300)
    rows = [(column, together[column] / most, percent(together[column]), "wide") for column in top]
    cut = f" The {len(top)} most important of {len(ranked):,} columns." if len(ranked) > len(top) else ""
    figures = [
        figure(
            bars(rows, title="Importance by column"),
            f"Mean over the members that tell, by their influence.{cut}",
            title="All together",
        )
    ]
    members = sorted(told, key=lambda name: -told[name][1])[:_MAX_MEMBERS]
    if len(members) > 1:
        figures.append(_by_member(told, members, top))
    lead = (
        "How much of what a member goes by is a column's: gain of a tree's splits or size of a linear model's "
        "coefficients, shares that sum to one. It tells what models use, not what causes what, and columns that say "
        "the same share it."
    )
    return Section("importance", "Feature importance", lead, side_by_side(*figures))


def _mean(told: Mapping[str, Told]) -> dict[str, float]:
    """Return column -> its mean share by the members' influence, which counts alike where none has any."""
    total = sum(share for _, share in told.values())
    together: dict[str, float] = {}
    for own, share in told.values():
        for column, part in own.items():
            together[column] = together.get(column, 0.0) + part * (share / total if total else 1 / len(told))
    return together


def _by_member(told: Mapping[str, Told], members: Sequence[str], columns: Sequence[str]) -> Html:
    values = np.array([[float(told[name][0].get(column, 0.0)) for name in members] for column in columns])
    plot = heatmap(
        values,
        columns,
        members,
        title="Importance by column and member",
        high=max(float(values.max()), 1e-9),
        text=lambda share: f"{100 * share:.0f}" if share >= 0.1 else number(100 * share, 2),
    )
    return figure(plot, "Percent of what each member goes by.", title="By member")


_UNTRAINED = "the bundle was not made by widedeep train, and models given to export do not carry it"
