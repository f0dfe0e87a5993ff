"""How differently the members err."""

import numpy as np

from ...serving.contract.combiner import Float64Array
from .combination import influence
from .evidence import Evidence
from .heatmap import MAX_SIDE, heatmap
from .markup import group
from .section import Absent, Section, figure, note, side_by_side
from .wording import percent


def diversity(evidence: Evidence) -> Section | Absent:
    """Return heat maps of what export told of each pair of members."""
    known = evidence.bundle.selection.get("diversity", {})
    if not known or len(evidence.names) < 2:
        return Absent(
            "Diversity", "there is one member only" if len(evidence.names) < 2 else "the bundle tells of no pairs"
        )
    order = np.argsort(-influence(evidence.bundle.combiner), kind="stable")[:MAX_SIDE]
    names = [evidence.names[i] for i in order]

    def matrix(table: str) -> Float64Array:
        return np.array([[float(known[table][a][b]) for b in names] for a in names])

    figures = []
    correlation = matrix("error_correlation")
    figures.append(
        figure(
            heatmap(correlation, names, names, title="Correlation of errors", text=lambda v: f"{v:.2f}"),
            "1: two members err on the same rows by as much; 0: their errors have nothing to do with each other; below "
            "0, in orange: one is right where the other is wrong.",
            title="Correlation of errors",
        )
    )
    if "pairwise_disagreement" in known:
        values = matrix("pairwise_disagreement")
        figures.append(
            figure(
                heatmap(
                    values,
                    names,
                    names,
                    title="Disagreement",
                    text=lambda v: percent(v, 0 if v >= 0.1 else 1),
                    high=max(float(values.max()), 1e-9),
                ),
                "Share of rows that two members label differently.",
                title="Disagreement",
            )
        )
    lead = (
        "Members that err on different rows correct each other; two that err alike add cost but no accuracy. Measured "
        "on the rows that the combination was learned on."
    )
    rest = len(evidence.names) - len(names)
    shown = note(f"The {len(names)} most influential of {len(evidence.names):,} members are shown.") if rest else None
    return Section("diversity", "Diversity", lead, group([side_by_side(*figures), shown]))
