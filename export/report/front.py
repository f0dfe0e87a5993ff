"""Accuracy against latency: which models are worth their time, and where the ensemble stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from .axes import Scale, frame, legend, mark, padded, path, scales, together
from .evidence import Evidence
from .markup import Content, Html, group, tag
from .section import Absent, Section, figure, side_by_side, table
from .wording import METRIC_NAMES, count, loss, microseconds

_MAX_TRIALS = 1000
_MAX_FRONT = 20

Point = tuple[float, float, str]


def front(evidence: Evidence) -> Section | Absent:
    """Return the plot, from what training measured."""
    trials = [
        (float(t["latency_us"]), float(t["loss"]), f"{t.get('kind', 'trial')} {t.get('number', '')}")
        for t in evidence.training.get("trials", ())
        if t.get("latency_us") and t.get("loss") is not None
    ]
    members = {
        name: (float(told["latency_us"]), float(told["loss"]), name)
        for name in evidence.names
        if (told := evidence.about(name)).get("latency_us") and told.get("loss") is not None
    }
    ensemble = _ensemble(evidence)
    if not members:
        return Absent("Accuracy and latency", "no latency was measured: the bundle was not made by widedeep train")
    best = pareto([*trials, *members.values()])
    lead = (
        "Each point is a model by the time it takes a row in onnxruntime and its loss on rows held out in "
        "cross-validation; towards the lower left is better. The line joins the single models that no other beats in "
        "both."
    )
    plot = _plot(evidence, trials, members, ensemble, best)
    return Section("front", "Accuracy and latency", lead, side_by_side(plot, _table(evidence, best, members, ensemble)))


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other beats in both time and loss, the fastest first."""
    kept: list[Point] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return tuple(kept)


def _ensemble(evidence: Evidence) -> Point | None:
    selection = evidence.bundle.selection
    told = selection.get("results", {}).get(selection.get("chosen"), {}).get(evidence.metric)
    latency = evidence.training.get("latency", {}).get("ensemble_us")
    return None if told is None or not latency else (float(latency), float(told), "ensemble")


def _plot(
    evidence: Evidence,
    trials: list[Point],
    members: Mapping[str, Point],
    ensemble: Point | None,
    best: tuple[Point, ...],
) -> Html:
    own = [*members.values(), *([ensemble] if ensemble else [])]
    everyone = [*own, *trials]
    times = [point[0] for point in everyone]
    losses = sorted(point[1] for point in own)
    # Trials that failed to learn would squeeze the rest.
    most = max(losses[-1], losses[0] + 4 * (sorted(p[1] for p in everyone)[len(everyone) // 2] - losses[0]))
    shown = [point for point in trials if point[1] <= most][:_MAX_TRIALS]
    x, y = scales((min(times) / 1.3, max(times) * 1.3), padded([p[1] for p in [*own, *shown]]), log_x=True)
    parts = [mark(x(a), y(b), "muted faint", _says(evidence, (a, b, name)), size=2.5) for a, b, name in shown]
    parts.append(path(_steps(best, x, y), "line front"))
    for name, (a, b, _) in members.items():
        is_deep = evidence.about(name).get("family") == "deep"
        says = _says(evidence, (a, b, name))
        parts.append(mark(x(a), y(b), "deep" if is_deep else "wide", says, square=is_deep))
    if ensemble is not None:
        parts.append(mark(x(ensemble[0]), y(ensemble[1]), "ensemble", _says(evidence, ensemble), size=6.5))
    budget = evidence.training.get("latency", {}).get("budget_us")
    if budget and x.low <= budget <= x.high:
        parts.append(path([(x(budget), y.start), (x(budget), y.end)], "diagonal", f"budget {microseconds(budget)}"))
    plot = frame(
        x,
        y,
        together(parts),
        title="Loss against latency of every model",
        x_title="latency, µs a row (log scale)",
        y_title=f"out-of-fold {METRIC_NAMES[evidence.metric]}",
    )
    left_out = len(trials) - len(shown)
    words = f"{count(left_out, 'trial')} with a far higher loss left out." if left_out else ""
    keys = legend(("ensemble", "ensemble"), ("deep", "deep member"), ("wide", "wide member"), ("muted", "other trial"))
    return figure(group([plot, keys]), words, title="Loss against latency")


def _table(evidence: Evidence, best: tuple[Point, ...], members: Mapping[str, Point], ensemble: Point | None) -> Html:
    """Return the front, and the ensemble, in numbers."""
    points = sorted([*best[:_MAX_FRONT], *([ensemble] if ensemble else [])])
    names = {point[:2]: name for name, point in members.items()}
    rows: list[tuple[Content, ...]] = [
        (
            tag("strong", "Ensemble") if point is ensemble else names.get(point[:2], point[2]),
            microseconds(point[0]),
            loss(point[1]),
        )
        for point in points
    ]
    marked = None if ensemble is None else points.index(ensemble)
    head = ("model", "latency a row", METRIC_NAMES[evidence.metric])
    body = table(head, rows, caption="Models on the front", marked=marked)
    return figure(body, "The single models on the line, the fastest first, and the ensemble.", title="On the front")


def _steps(points: tuple[Point, ...], x: Scale, y: Scale) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for i, (a, b, _) in enumerate(points):
        if i:
            out.append((x(a), out[-1][1]))
        out.append((x(a), y(b)))
    out.append((x.end, out[-1][1]))
    return out


def _says(evidence: Evidence, point: Point) -> str:
    about: Any = f"{METRIC_NAMES[evidence.metric]} {loss(point[1])}, {microseconds(point[0])} a row"
    return f"{point[2]}: {about}"
