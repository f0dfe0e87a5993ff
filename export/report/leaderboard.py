"""The leaderboard: every member, their plain mean and the ensemble by loss, with intervals."""

from collections.abc import Mapping
from typing import Any

from .bars import bounds_of, strip
from .evidence import Evidence
from .judgement import ENSEMBLE, UNIFORM, Judgement
from .markup import Html, group, tag
from .section import Absent, Section, note, small, table
from .wording import METRIC_NAMES, interval, metric, microseconds, plain, signed

MAX_ROWS = 60


def leaderboard(evidence: Evidence, judgement: Judgement | None) -> Section | Absent:
    """Return the table; from figures without intervals where there are no rows to judge on."""
    if judgement is not None and evidence.judged is not None:
        lead = (
            f"Ranked by {METRIC_NAMES[evidence.metric]} on {evidence.judged.words}; lines are 95 % intervals. The "
            "difference is the ensemble's loss less the row's, on the same rows: below zero the ensemble is better, "
            "and where the interval leaves out zero it is so beyond chance."
        )
        return Section("leaderboard", "Leaderboard", lead, _judged(evidence, judgement))
    known = evidence.bundle.selection.get("members", {})
    if not known:
        return Absent("Leaderboard", "the bundle holds neither rows with scores nor the members' figures")
    lead = "Figures of the rows that the combination was learned on, as export left them; there are no intervals."
    return Section("leaderboard", "Leaderboard", lead, _told(known))


def _judged(evidence: Evidence, judgement: Judgement) -> Html:
    name, second = evidence.metric, "accuracy" if evidence.bundle.task == "classification" else "mae"
    metrics = judgement.metrics
    ranked = sorted(metrics, key=lambda who: (metrics[who][name]["value"], who != ENSEMBLE))
    kept = ranked[:MAX_ROWS]
    kept += [who for who in (ENSEMBLE, UNIFORM) if who not in kept]
    bounds = bounds_of([metrics[who][name] for who in kept])
    has_latency = any(_latency(evidence, who) is not None for who in kept)
    rows = []
    for who in kept:
        own = metrics[who]
        text = f"{metric(name, own[name]['value'])}, 95 % interval {interval(name, own[name])}"
        class_ = {ENSEMBLE: "ensemble", UNIFORM: "muted"}.get(who, family(evidence, who))
        difference = own["difference"][name] if who != ENSEMBLE else None
        rows.append(
            (
                _name(evidence, who),
                _estimate(name, own[name]),
                strip(own[name], bounds, class_, f"{who}: {text}"),
                _estimate(second, own[second]),
                "\u2013" if difference is None else _difference(name, difference),
                *((microseconds(_latency(evidence, who)),) if has_latency else ()),
            )
        )
    words = METRIC_NAMES[name]
    head = ("predictor", words, "interval", METRIC_NAMES[second], "difference")
    board = table(
        (*head, *(("latency a row",) if has_latency else ())),
        rows,
        caption="Leaderboard",
        numeric=1,
        marked=kept.index(ENSEMBLE),
    )
    left_out = len(ranked) - len(kept)
    return group([board, note(f"{left_out:,} further members rank lower and are left out.") if left_out else None])


def _told(known: Mapping[str, Mapping[str, float]]) -> Html:
    names = list(next(iter(known.values())))
    ranked = sorted(known, key=lambda who: known[who][names[0]])
    rows = [(who, *(metric(name, known[who].get(name)) for name in names)) for who in ranked[:MAX_ROWS]]
    head = ("member", *(METRIC_NAMES.get(name, name) for name in names))
    return table(head, rows, caption="Leaderboard")


def _name(evidence: Evidence, who: str) -> Html:
    if who == ENSEMBLE:
        return tag("strong", "Ensemble")
    if who == UNIFORM:
        return tag("span", "Uniform mean", class_="muted-text")
    return group([tag("b", who), small(model_of(evidence, who))])


def model_of(evidence: Evidence, member: str) -> str:
    """Return what a member is: its kind and parameters where training tells them, else its class."""
    about = evidence.about(member)
    source: Mapping[str, Any] = next(one.source for one in evidence.bundle.members if one.name == member)
    if not about:
        return " ".join(str(source[key]) for key in ("framework", "class") if key in source)
    params = ", ".join(f"{key} {plain(value)}" for key, value in about.get("params", {}).items())
    return f"{about.get('kind', '')}: {params}" if params else str(about.get("kind", ""))


def _estimate(name: str, estimate: Mapping[str, float | None]) -> Html:
    return group([tag("b", metric(name, estimate["value"])), tag("small", interval(name, estimate))])


def _difference(name: str, estimate: Mapping[str, float | None]) -> Html:
    low, high = estimate["low"], estimate["high"]
    class_ = None
    if low is not None and high is not None and (low > 0 or high < 0):
        class_ = "better" if high < 0 else "worse"
    return group([tag("b", signed(estimate["value"]), class_=class_), tag("small", interval(name, estimate))])


def family(evidence: Evidence, who: str) -> str:
    """Return the class of a member's marks: deep, or wide, as those whose family nobody told."""
    return "deep" if evidence.about(who).get("family") == "deep" else "wide"


def _latency(evidence: Evidence, who: str) -> float | None:
    told: float | None = (
        evidence.training.get("latency", {}).get("ensemble_us")
        if who == ENSEMBLE
        else evidence.about(who).get("latency_us")
    )
    return told
