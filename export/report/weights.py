"""How the members' answers become one: the combiner in words, its weights as bars, and the combiners it beat."""

import math

import numpy as np

from ...serving.batch.evaluation.intervals import normal
from ...serving.contract.combiner import Combiner, LinearPool, LogPool, MeanPool
from ...serving.contract.tensors import Array
from .bars import bars, bounds_of, strip
from .combination import by_member, in_words, influence, temperatures
from .evidence import Evidence
from .heatmap import MAX_SIDE, heatmap
from .leaderboard import family
from .markup import Content, Html, group, tag
from .section import Section, figure, note, side_by_side, table
from .wording import METRIC_NAMES, loss, number, percent

MAX_BARS = 30


def weights(evidence: Evidence) -> Section:
    """Return the section."""
    bundle = evidence.bundle
    shares = influence(bundle.combiner)
    order = np.argsort(-shares, kind="stable")
    shown = order[:MAX_BARS]
    rows = [
        (
            evidence.names[i],
            float(shares[i] / max(shares.max(), 1e-300)),
            percent(float(shares[i])),
            family(evidence, evidence.names[i]),
        )
        for i in shown
    ]
    rest = len(order) - len(shown)
    left = tag(
        "div",
        figure(
            bars(rows, title="Share of influence by member"),
            "Each member's share of the combiner's weights by size.",
            title="Share of influence",
        ),
        note(f"{rest:,} further members share {percent(float(shares[order[MAX_BARS:]].sum()))}.") if rest else None,
        _parameters(evidence, bundle.combiner, order),
    )
    learners = _learners(evidence)
    by_class = _by_class(evidence, bundle.combiner, order)
    body = group([side_by_side(*(part for part in (left, learners) if part is not None)), by_class])
    reason = str(bundle.selection.get("reason", ""))
    lead = in_words(bundle.combiner) + (f" It was chosen so: {reason.rstrip('.')}." if reason else "")
    return Section("weights", "Weights", lead, body)


def _learners(evidence: Evidence) -> Html | None:
    """Return the cross-validated figures of every combiner that was tried."""
    results = evidence.bundle.selection.get("results", {})
    name, chosen = evidence.metric, evidence.bundle.selection.get("chosen")
    known = {learner: told for learner, told in results.items() if told.get(name) is not None}
    if not known:
        return None
    ranked = sorted(known, key=lambda learner: float(known[learner][name]))
    estimates = {
        learner: normal(told[name], told.get("standard_error", math.nan), least=0.0).to_json()
        for learner, told in known.items()
    }
    bounds = bounds_of(list(estimates.values()))
    rows: list[tuple[Content, ...]] = [
        (
            tag("strong", f"{learner} ✓") if learner == chosen else learner,
            loss(known[learner][name]),
            strip(
                estimates[learner],
                bounds,
                "ensemble" if learner == chosen else "muted",
                f"{learner}: {loss(known[learner][name])}",
            ),
        )
        for learner in ranked
    ]
    return figure(
        table(
            ("combiner", METRIC_NAMES[name], "interval"),
            rows,
            caption="Combiners that were tried",
            numeric=1,
            marked=ranked.index(chosen) if chosen in ranked else None,
        ),
        "Cross-validated on the rows that the combination was learned on, with 95 % intervals. A simpler combiner is "
        "preferred to a better one that is no better beyond chance.",
        title="Combiners tried",
    )


def _by_class(evidence: Evidence, combiner: Combiner, order: Array) -> Html | None:
    """Return weights by member and class where the combiner has such."""
    if isinstance(combiner, LinearPool) and combiner.weights.ndim == 2:
        values, what = combiner.weights, "weight"
    elif isinstance(combiner, LogPool) and combiner.coefficients.ndim == 3:
        values = np.einsum("kmk->mk", combiner.coefficients)
        what = "coefficient of the member's own log-probability of the class"
    else:
        return None
    classes = list(map(str, evidence.bundle.classes)) or [f"output {k}" for k in range(evidence.bundle.n_outputs)]
    top, n = order[:MAX_SIDE], min(MAX_SIDE, len(classes))
    values = values[top, :n]
    plot = heatmap(
        values,
        [evidence.names[i] for i in top],
        classes[:n],
        title="Weights by member and class",
        text=lambda value: number(value, 2),
        high=float(np.abs(values).max()),
    )
    cut = f" The first {n} of {len(classes):,} classes are shown." if n < len(classes) else ""
    return figure(plot, f"Each cell is a {what}; orange ones are below zero.{cut}", title="Weights by class")


def _parameters(evidence: Evidence, combiner: Combiner, order: Array) -> Html | None:
    """Return the numbers behind the bars."""
    parts = combiner.combiners if isinstance(combiner, MeanPool) else (combiner,)
    head: list[str] = ["member"]
    columns: list[list[str]] = []
    for i, part in enumerate(parts, 1):
        prefix = f"({i}) " if len(parts) > 1 else ""
        if isinstance(part, MeanPool):
            head.append(f"{prefix}influence")
            columns.append([percent(float(value)) for value in influence(part)])
            continue
        is_log, is_full = isinstance(part, LogPool), _is_full(part)
        head.append(f"{prefix}{'mean size of ' if is_full else ''}{'coefficient' if is_log else 'weight'}")
        columns.append([number(float(value), 4) for value in by_member(part)])
        if (heat := temperatures(part)) is not None:
            head.append(f"{prefix}temperature")
            columns.append([number(float(value), 3) for value in heat])
    rows: list[tuple[Content, ...]] = [
        (_with_reason(evidence, evidence.names[i]), *(column[i] for column in columns)) for i in order[:MAX_BARS]
    ]
    return tag("details", tag("summary", "Parameters in numbers"), table(tuple(head), rows, caption="Parameters"))


def _with_reason(evidence: Evidence, member: str) -> Html:
    reason = evidence.about(member).get("reason")
    return group([tag("b", member), tag("small", str(reason)) if reason else None])


def _is_full(combiner: Combiner) -> bool:
    if isinstance(combiner, LinearPool):
        return combiner.weights.ndim == 2
    return isinstance(combiner, LogPool) and combiner.coefficients.ndim == 3
