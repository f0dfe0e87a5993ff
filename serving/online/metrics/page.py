"""The status page: HTML drawn here once, whose numbers its script then keeps up to date.

Nothing in it comes from elsewhere, and its policy has the browser refuse all that would. Without a script it is a
picture of the moment it was asked for, with rates and percentiles since the start. A number that the script knows by
the name `data-k` is drawn here first, so that both show the same; when the server's layout changes, the script asks
for the page again.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .markup import Markup, element, joined
from .numbers import NOTHING, age, count, duration, percent, percentile_ns, rate, size
from .status import Status

_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
_SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(_STYLE)}",
        f"script-src {_hash(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy: this style, this script and this server, nothing else."""

_READY = "READY"


def render(status: Status) -> str:
    """Return the page, given what `status.status` says."""
    server = status["server"]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", f"widedeep: {'ready' if server['ready'] else 'not ready'}"),
        element("style", Markup(_STYLE)),
    )
    body = element(
        "body",
        element("header", _title(server), _about(server)),
        element("main", _main(status), data_layout=status["layout"]),
        element("footer", _footer()),
        element("script", Markup(_SCRIPT)),
    )
    return f"<!doctype html>{element('html', head, body, lang='en')}\n"


def _title(server: Status) -> Markup:
    ready = server["ready"]
    state = _chip("ready" if ready else "not ready", "good" if ready else "bad", data_k="ready")
    return element("h1", "widedeep ", state)


def _about(server: Status) -> Markup:
    """Return the line that says what the server is."""
    facts = {
        "version": server["version"],
        "front end": server["front_end"] or NOTHING,
        "onnxruntime": server["onnxruntime"] or NOTHING,
        "workers": _of(server["workers_up"], server["workers"]),
        "up": element("span", age(server["uptime_s"]), data_k="uptime"),
        "cpu": element("span", percent((server["cpu_s"] or 0.0) / server["uptime_s"]), data_k="cpu"),
        "memory": element("span", size(server["memory_bytes"]), data_k="memory"),
    }
    return element("dl", (element("div", element("dt", name), element("dd", value)) for name, value in facts.items()))


def _main(status: Status) -> Iterable[Markup]:
    yield _tiles(status)
    if status["store"] is not None:
        yield _store(status["store"])
    if not status["models"]:
        ready = status["server"]["ready"]
        yield element("p", "No models." if ready else "No model is loaded yet.", class_="empty")
    for place, model in enumerate(status["models"]):
        yield _model(place, model, status["server"]["uptime_s"])
    yield _endings(status)


def _tiles(status: Status) -> Markup:
    totals, server = status["totals"], status["server"]
    seconds = server["uptime_s"]
    calls = totals["calls"]
    failed = sum(calls.values()) - calls.get("OK", 0) + sum(status["refusals"].values())
    waiting = sum(version.get("waiting", 0) for model in status["models"] for version in model["versions"])
    tiles = (
        _tile("Rows", rate(totals["rows"] / seconds), "a second", "rows"),
        _tile("Calls", rate(sum(calls.values()) / seconds), "a second", "calls"),
        _tile("Latency p50", duration(percentile_ns(totals["call"], 0.5)), "", "p50"),
        _tile("Latency p99", duration(percentile_ns(totals["call"], 0.99)), "", "p99"),
        _tile("Waiting", count(waiting), "rows", "waiting"),
        _tile("Not answered", rate(failed / seconds), "calls a second", "failed"),
    )
    window = element("p", "Averages since the start.", class_="window", data_k="window")
    return element("section", element("div", tiles, class_="tiles"), window, aria_label="Load")


def _tile(title: str, value: str, unit: str, key: str) -> Markup:
    spark = element(
        "svg",
        element("path", data_spark=key, d="", vector_effect="non-scaling-stroke"),
        viewBox="0 0 100 24",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    number = element("p", element("b", value, data_k=key), " ", element("span", unit))
    return element("div", element("h2", title), number, spark, class_="tile")


def _model(place: int, model: Status, seconds: float) -> Markup:
    """Return a model's part of the page: its versions in service with their members, then the others."""
    versions: Sequence[Status] = model["versions"]
    is_ready = any(version["state"] == _READY for version in versions)
    head = element(
        "h2",
        element("span", model["name"], class_="name"),
        " ",
        _chip("ready" if is_ready else "not ready", "good" if is_ready else "bad"),
    )
    drawn = [
        _version(f"{place}.{number}", version, seconds) if "members" in version and version["state"] == _READY else None
        for number, version in enumerate(versions)
    ]
    others = [version for version, markup in zip(versions, drawn, strict=True) if markup is None]
    return element("section", head, filter(None, drawn), _others(others), class_="model")


def _store(store: Status) -> Markup:
    """Return where what is served is copied from, how that goes, and what could not be copied."""
    if store["up"] is False:
        chip = _chip("cannot be read", "bad")
    elif store["copying"]:
        chip = _chip("first copy under way", "plain")
    else:
        chip = _chip("copied", "good")
    trouble = "The last look did not succeed, what was copied before stays: "
    left_out = (
        _line(f"{one['model']} version {one['version']}", "left out", "warn", one["why"]) for one in store["left_out"]
    )
    return element(
        "section",
        element("h2", element("span", store["url"], class_="name"), " ", chip),
        element("p", trouble, store["trouble"], class_="reason") if store["trouble"] else "",
        element("ul", left_out, class_="others") if store["left_out"] else "",
        class_="model",
        aria_label="Store",
    )


def _version(key: str, version: Status, seconds: float) -> Markup:
    waits = {
        "rows a second": element("b", rate(version["rows"] / seconds), data_k=f"{key}.rows"),
        "latency p50": element("b", duration(percentile_ns(version["call"], 0.5)), data_k=f"{key}.p50"),
        "latency p99": element("b", duration(percentile_ns(version["call"], 0.99)), data_k=f"{key}.p99"),
        "queue p99": element("b", duration(percentile_ns(version["queue"], 0.99)), data_k=f"{key}.queue"),
        "rows a batch": element("b", _mean(version["rows"], version["executions"]), data_k=f"{key}.batch"),
        "rows in all": element("b", count(version["rows"]), data_k=f"{key}.all"),
    }
    figures = element(
        "dl",
        (element("div", element("dt", name), element("dd", value)) for name, value in waits.items()),
        class_="figures",
    )
    return element(
        "article",
        element("h3", f"Version {version['version']}", " ", element("span", version["task"], class_="muted")),
        _reason(version),
        figures,
        _members(key, version["members"]),
        _combiner(version),
    )


def _members(key: str, members: Sequence[Status]) -> Markup:
    whole = sum(abs(member["weight"]) for member in members) or 1.0
    rows = (
        element(
            "tr",
            element(
                "th",
                element("span", member["name"], class_="name"),
                element("small", " · ".join(filter(None, (member["framework"], member["provider"])))),
                scope="row",
            ),
            element("td", _bar(member["weight"] / whole), class_="bar"),
            _number(f"{member['weight']:.3f}"),
            _number(duration(_ratio(member["ns"], member["runs"])), f"{key}.{number}.run"),
            _number(duration(_ratio(member["ns"], member["rows"])), f"{key}.{number}.row"),
        )
        for number, member in enumerate(members)
    )
    heads = (
        element("th", "Member", scope="col"),
        element("th", "Weight", scope="colgroup", colspan=2),
        element("th", "A run", scope="col", class_="number", title="mean time of one run of the member's graph"),
        element("th", "A row", scope="col", class_="number", title="mean time of one row in those runs"),
    )
    return element("table", element("thead", element("tr", heads)), element("tbody", rows), class_="members")


def _bar(part: float) -> Markup:
    """Return a bar as long as a part of the whole; a style of its own would be against the policy."""
    length = f"{100 * min(1.0, abs(part)):.1f}%"
    return element(
        "svg", element("rect", width=length, height="100%", class_="minus" if part < 0 else None), aria_hidden="true"
    )


def _combiner(version: Status) -> Markup:
    chosen, why = version["chosen"], version["why"]
    digest: str = version["digest"]
    parts = [
        element("span", "combiner ", element("b", version["combiner"])),
        element("span", "chosen as ", element("b", chosen)) if chosen else "",
        element("span", "digest ", element("code", digest[:12], title=digest)),
    ]
    line = element("p", *(joined(part, " ") for part in parts if part), class_="muted")
    return joined(line, element("details", element("summary", "Why this combiner"), element("p", why)) if why else "")


def _others(versions: Sequence[Status]) -> Markup:
    """Return the versions that take no calls, with the reason."""
    if not versions:
        return Markup("")
    rows = (
        _line(
            f"Version {version['version']}",
            version["state"].lower(),
            "warn" if version["wanted"] else "plain",
            version["reason"],
        )
        for version in versions
    )
    return element("ul", rows, class_="others")


def _line(name: str, state: str, kind: str, why: str) -> Markup:
    """Return the line of a version that takes no calls."""
    named, reason = element("span", name, class_="name"), element("span", why, class_="muted")
    return element("li", named, " ", _chip(state, kind), " ", reason)


def _endings(status: Status) -> Markup:
    """Return how calls ended: by status where they reached a model, by reason where they did not."""
    tables = [
        _endings_table("Calls by status", "calls", status["totals"]["calls"], "No calls yet."),
        _endings_table("Refused before a model", "refusals", status["refusals"], "None."),
    ]
    if failures := status["load_failures"]:
        tables.append(_endings_table("Failed loads", "load_failures", failures, ""))
    return element("section", tables, class_="endings")


def _endings_table(title: str, key: str, counts: Mapping[str, int], empty: str) -> Markup:
    rows = (
        element("tr", element("th", name, scope="row"), _number(count(counts[name]), f"{key}/{name}"))
        for name in sorted(counts)
    )
    shown = element("table", element("tbody", rows)) if counts else element("p", empty, class_="muted")
    return element("div", element("h2", title), shown)


def _footer() -> Iterable[Markup]:
    yield element("span", "Read only.", data_k="polled")
    for path, text in (("/metrics", "metrics"), ("/status.json", "status.json"), ("/v2/health/ready", "readiness")):
        yield element("a", text, href=path)


def _reason(version: Status) -> Markup:
    return element("p", version["reason"], class_="reason") if version["reason"] else Markup("")


def _chip(text: str, kind: str, **attributes: object) -> Markup:
    return element("span", text, class_=f"chip {kind}", **attributes)


def _number(text: str, key: str | None = None) -> Markup:
    return element("td", text, class_="number", data_k=key)


def _of(there: int, wanted: int) -> str:
    return str(wanted) if there == wanted else f"{there} of {wanted}"


def _mean(total: float, n: int) -> str:
    return NOTHING if not n else f"{total / n:.1f}"


def _ratio(total: float, n: int) -> float | None:
    return total / n if n else None
