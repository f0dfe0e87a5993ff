"""How the search went: losses over time, and how its models learned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from .axes import Scale, frame, legend, mark, padded, path, scales, together
from .evidence import Evidence
from .markup import Content, Html, group, tag
from .section import Absent, Section, figure, side_by_side, small, table
from .wording import METRIC_NAMES, count, loss, number, plain, seconds

MAX_TRIALS = 1000
_MAX_CURVES = 6
_MAX_STEPS = 300
_CURVE_CLASSES = ("ensemble", "wide", "deep", "muted")


def history(evidence: Evidence) -> Section | Absent:
    """Return the plots, from what training recorded."""
    trials = [t for t in evidence.training.get("trials", ()) if t.get("ended_s") is not None]
    if not trials:
        return Absent("Optimisation history", "no search was recorded: the bundle was not made by widedeep train")
    complete = [t for t in trials if t.get("loss") is not None and t.get("state") == "complete"]
    states = Counter(str(t["state"]) for t in trials)
    words = ", ".join(f"{n:,} {state}" for state, n in states.most_common())
    sampler = evidence.training.get("sampler")
    lead = (
        f"{count(len(trials), 'trial')} ({words})"
        + (f", chosen by the {sampler} sampler" if sampler else "")
        + ". The line is the best loss of a single model so far; pruned trials were given up early."
    )
    parts: list[Content] = []
    if complete:
        parts.append(side_by_side(_losses(evidence, trials, complete), _best(evidence, complete)))
    curves = [(name, told) for name in evidence.names if (told := evidence.about(name).get("history"))]
    if curves:
        parts.append(side_by_side(*(_curves(name, told) for name, told in curves[:_MAX_CURVES])))
    return Section("history", "Optimisation history", lead, group(parts))


def _losses(evidence: Evidence, trials: Sequence[Mapping[str, Any]], complete: Sequence[Mapping[str, Any]]) -> Html:
    losses = sorted(float(t["loss"]) for t in complete)
    best, middle = losses[0], losses[len(losses) // 2]
    most = min(losses[-1], middle + 3 * (middle - best))
    x, y = scales((0.0, max(float(t["ended_s"]) for t in trials) or 1.0), padded([best, most]))
    deep_kinds = {told.get("kind") for name in evidence.names if (told := evidence.about(name)).get("family") == "deep"}
    parts = []
    for trial in complete[:MAX_TRIALS]:
        is_deep = trial.get("family") == "deep" or trial.get("kind") in deep_kinds
        says = (
            f"{trial.get('kind')} {trial.get('number')}: {loss(float(trial['loss']))} after {seconds(trial['ended_s'])}"
        )
        at = x(float(trial["ended_s"])), y(min(float(trial["loss"]), y.high))
        parts.append(mark(*at, "deep" if is_deep else "wide", says, square=is_deep, size=3))
    for trial in [t for t in trials if t.get("state") in ("pruned", "failed")][:MAX_TRIALS]:
        says = f"{trial.get('kind')} {trial.get('number')}: {trial['state']} after {seconds(trial['ended_s'])}"
        at_x = x(float(trial["ended_s"]))
        parts.append(path([(at_x, y.end), (at_x, y.end + 8)], "whisker muted", says))
    plot = frame(
        x,
        y,
        path(_best_so_far(complete, x, y), "line ensemble"),
        together(parts),
        title="Loss of every trial by the time at which it ended",
        x_title="seconds since the search began",
        y_title=f"out-of-fold {METRIC_NAMES[evidence.metric]}",
    )
    keys = [("ensemble", "best so far"), ("wide", "wide trial"), ("deep", "deep trial"), ("muted", "pruned or failed")]
    caption = "Trials far above the rest are drawn at the upper edge." if most < losses[-1] else ""
    return figure(group([plot, legend(*keys)]), caption, title="Losses over time")


def _best_so_far(complete: Sequence[Mapping[str, Any]], x: Scale, y: Scale) -> list[tuple[float, float]]:
    line: list[tuple[float, float]] = []
    so_far = float("inf")
    for trial in sorted(complete, key=lambda t: float(t["ended_s"])):
        if (value := float(trial["loss"])) < so_far:
            at_x = x(float(trial["ended_s"]))
            line += [(at_x, line[-1][1])] if line else []
            line.append((at_x, y(value)))
            so_far = value
    return [*line, (x.end, line[-1][1])]


def _best(evidence: Evidence, complete: Sequence[Mapping[str, Any]]) -> Html:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for trial in complete:
        kinds.setdefault(str(trial.get("kind")), []).append(trial)
    rows: list[tuple[Content, ...]] = []
    for kind, own in sorted(kinds.items(), key=lambda item: min(float(t["loss"]) for t in item[1])):
        best = min(own, key=lambda t: float(t["loss"]))
        params = ", ".join(f"{key} {plain(value)}" for key, value in best.get("params", {}).items())
        rows.append(
            (
                group([tag("b", kind), small(params)]),
                f"{len(own):,}",
                loss(float(best["loss"])),
                seconds(best.get("seconds")),
            )
        )
    head = ("kind and best parameters", "trials", f"best {METRIC_NAMES[evidence.metric]}", "time")
    return figure(
        table(head, rows, caption="Best trial of each kind"), "Complete trials by kind of model.", title="By kind"
    )


def _curves(name: str, told: Mapping[str, Sequence[float]]) -> Html:
    shown = {curve: values for curve, values in list(told.items())[: len(_CURVE_CLASSES)] if len(values) > 0}
    every = [float(v) for values in shown.values() for v in values]
    n_steps = max(map(len, shown.values()))
    ordered = sorted(every)
    # The first steps lie far above all others.
    x, y = scales((1.0, float(max(2, n_steps))), padded([ordered[0], ordered[int(0.98 * (len(ordered) - 1))]]))
    lines = []
    for (curve, values), class_ in zip(shown.items(), _CURVE_CLASSES, strict=False):
        every_nth = max(1, len(values) // _MAX_STEPS)
        points = [(x(i + 1), y(float(values[i]))) for i in range(0, len(values), every_nth)]
        lines.append(path(points, f"line {class_}", f"{curve}: {number(float(values[-1]))} at the end"))
    plot = frame(x, y, together(lines), title=f"Learning curves of {name}", x_title="epoch or round", y_title="value")
    keys = legend(*((class_, curve) for curve, class_ in zip(shown, _CURVE_CLASSES, strict=False)))
    return figure(group([plot, keys]), "", title=f"How {name} learned")
