"""The top of the page: the figures that matter most, in tiles and in one sentence."""

from collections.abc import Mapping

from .evidence import Evidence
from .judgement import ENSEMBLE, UNIFORM, Judgement
from .markup import Html, group, tag
from .wording import METRIC_NAMES, count, interval, metric, microseconds, percent, seconds, signed


def summary(evidence: Evidence, judgement: Judgement | None) -> Html:
    """Return the sentence and the tiles."""
    sentence = _sentence(evidence, judgement)
    return group(
        [
            tag("p", sentence, class_="lead") if sentence else None,
            tag("dl", *_tiles(evidence, judgement), class_="tiles"),
        ]
    )


def kind_of(evidence: Evidence) -> str:
    """Return what kind of problem the ensemble solves."""
    bundle = evidence.bundle
    if bundle.task == "regression":
        return "Regression" if bundle.n_outputs == 1 else f"Regression of {bundle.n_outputs:,} values"
    return "Binary classification" if bundle.n_outputs == 2 else f"Classification into {bundle.n_outputs:,} classes"


def notes(evidence: Evidence) -> Html | None:
    """Return the remarks that training left, None where there are none."""
    lines = [str(text) for text in evidence.training.get("notes", ())]
    lines += [
        f"Column {column['name']} was left out: {column.get('note') or 'it tells nothing'}"
        for column in evidence.training.get("columns", ())
        if column.get("role") == "dropped" and not any(str(column["name"]) in line for line in lines)
    ]
    if not lines:
        return None
    return tag("aside", tag("h2", "Notes"), tag("ul", *(tag("li", line) for line in lines)), class_="notes")


def _sentence(evidence: Evidence, judgement: Judgement | None) -> str:
    if judgement is None or evidence.judged is None:
        return ""
    name = evidence.metric
    own = judgement.metrics[ENSEMBLE][name]
    lead = judgement.lead_over(judgement.best, name)
    theirs = judgement.metrics[judgement.best][name]["value"]
    words = f"On {evidence.judged.words} the ensemble's {METRIC_NAMES[name]} is {metric(name, own['value'])}"
    if theirs and lead["value"] is not None:
        share = abs(lead["value"]) / theirs
        side = "below" if lead["value"] < 0 else "above"
        best = (
            "that of the member which is best on held-out rows"
            if evidence.judged.source == "test"
            else "that of the best member"
        )
        words += f", {percent(share)} {side} {best}, {judgement.best}"
        if lead["low"] is not None and lead["high"] is not None:
            words += (
                ", a difference larger than chance explains"
                if lead["low"] > 0 or lead["high"] < 0
                else ", a difference that chance alone could explain"
            )
    words += "."
    if evidence.judged.source == "held_out":
        words += (
            " The combination was fitted on these very rows, so figures on new rows will be a little worse; its "
            "cross-validated figure stands under “Weights”."
        )
    if evidence.judged.has_weights:
        words += " Rows have weights in training; here each counts the same."
    return words


def _tiles(evidence: Evidence, judgement: Judgement | None) -> list[Html]:
    name = evidence.metric
    tiles = []
    if judgement is not None:
        own = judgement.metrics[ENSEMBLE]
        tiles.append(_tile(METRIC_NAMES[name], metric(name, own[name]["value"]), _between(name, own[name]), "first"))
        second = "accuracy" if evidence.bundle.task == "classification" else "r2"
        tiles.append(_tile(METRIC_NAMES[second], metric(second, own[second]["value"]), _between(second, own[second])))
        for label, other in (("against the best member", judgement.best), ("against the uniform mean", UNIFORM)):
            lead = judgement.lead_over(other, name)
            tiles.append(_tile(label, signed(lead["value"]), f"{METRIC_NAMES[name]}; {_between(name, lead)}"))
    tiles.append(_members(evidence))
    tiles.append(_rows(evidence))
    latency = evidence.training.get("latency", {})
    if latency.get("ensemble_us") is not None:
        budget = latency.get("budget_us")
        bound = f"budget {microseconds(budget)}" if budget is not None else "no budget was set"
        rows = latency.get("batch_rows")
        bound += f"; batches of {rows:,}" if rows else ""
        tiles.append(_tile("latency a row", microseconds(latency["ensemble_us"]), bound))
    took = evidence.training.get("seconds", {})
    if took.get("search") is not None:
        n = len(evidence.training.get("trials", ()))
        tiles.append(_tile("search", seconds(took["search"]), count(n, "trial")))
    return tiles


def _between(name: str, estimate: Mapping[str, float | None]) -> str:
    bounds = interval(name, estimate)
    return f"95 % interval {bounds}" if bounds else "no interval"


def _members(evidence: Evidence) -> Html:
    n, used = len(evidence.bundle.members), len(evidence.bundle.combiner.used)
    families = [str(evidence.about(name).get("family", "")) for name in evidence.names]
    parts = [f"{families.count(family)} {family}" for family in ("deep", "wide") if family in families]
    if used < n:
        parts.append(f"{used} have a weight")
    return _tile("members", f"{n:,}", ", ".join(parts) or "all have a weight")


def _rows(evidence: Evidence) -> Html:
    told = evidence.training.get("n_rows", {})
    if told.get("train") is not None:
        test = told.get("test") or 0
        return _tile("rows to train on", f"{told['train']:,}", f"{test:,} set aside as a test" if test else "no test")
    n = evidence.bundle.selection.get("n_rows") or (evidence.judged.n_rows if evidence.judged else None)
    return _tile("held-out rows", f"{n:,}" if n else "\u2013", "that the combination was learned on")


def _tile(label: str, value: str, remark: str, class_: str | None = None) -> Html:
    return tag("div", tag("dt", label), tag("dd", value, class_="figure"), tag("dd", remark), class_=class_)
