"""docs/benchmarks.md, written from the results alone: no figure in it is typed by hand."""

from collections.abc import Collection, Mapping, Sequence

from .contenders import CONTENDERS
from .loads import LOADS
from .results import Figure, Results
from .rounds import DIGITS, MEMBER_COUNTS, MEMBER_ROWS
from .targets import verdicts
from .titles import WORKLOADS, contender_title

_CLIENTS = {
    "perf_analyzer": "Triton's perf_analyzer",
    "caller": "the project's own client, which speaks HTTP/2 and HTTP/1.1",
    "": "no client",
}
_CLOSED = [load for load in LOADS if load.concurrency]
_OPEN = [load for load in LOADS if load.share]


def write(results: Results, plots: Mapping[str, str]) -> str:
    """Return the whole page."""
    parts = [
        _INTRODUCTION,
        "## Targets\n\n" + _targets(results),
        *(f"![{caption}](benchmarks/{file})\n\n*{caption}.*" for file, caption in plots.items()),
        *(_workload(results, workload) for workload in WORKLOADS if workload in results.names("workload")),
        _memory(results),
        _members(results),
        _start(results),
        _contenders(results),
        _machine(results),
        _REPRODUCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_INTRODUCTION = """# Benchmarks

widedeep against other ways to serve the same ensemble: same machine, same client, same bundle, every contender started
in turn, round after round. Figures are medians over the rounds, with the least and the largest in brackets. They hold
for the machine below; on another one only their ratios carry over.

CPU of a call is the processor time of all processes of the server, user and system, over the calls of the window.
Client and server share the machine's cores, so a client that costs more leaves less: contenders that perf_analyzer
cannot drive, since it needs Triton's ModelConfig call, are measured with the project's own client, and so is widedeep
beside them. The open loads all come from the own client, since perf_analyzer stops at the first refused call; latency
counts there from the time at which a call was due. Before a contender is measured its answers to the bundle's golden
rows are compared."""

_REPRODUCE = """## Reproduce

    make bench                                                # everything, about 80 minutes
    make bench BENCH='--window-s 1 --workloads tiny'          # a part of it
    .venv/bin/python bench/servers.py --help                  # all flags, and parts with the time that they take
    .venv/bin/python bench/servers.py --report-only           # this page and the plots again

`make bench` makes the bundles and an environment for each contender first, under `build/bench`, and needs a package
index for that. Results are merged into `build/bench/results.json` after every server, so that a run that is cut short
or covers only some contenders, workloads, loads or clients keeps the rest. Everything with 5 rounds and windows of 2 s
takes about 80 minutes on two cores. Let nothing else run meanwhile."""


def _targets(results: Results) -> str:
    words = {True: "met", False: "**short**"}
    found = verdicts(results)
    forms = _known_first({verdict.form for verdict in found if verdict.form}) or [""]
    rows: dict[str, list[str]] = {}
    for verdict in found:
        cells = rows.setdefault(verdict.target, [""] * len(forms))
        cell = verdict.got if verdict.met is None else f"{words[verdict.met]}: {verdict.got}"
        cells[forms.index(verdict.form) if verdict.form else 0] = cell
    header = ["target", *(contender_title(form) for form in forms)]
    return table(header, [[target, *cells] for target, cells in rows.items()], align="l" * len(header))


def _workload(results: Results, workload: str) -> str:
    parts = [f"## Workload {WORKLOADS[workload]}"]
    for client in ("perf_analyzer", "caller"):
        rows = [
            [load.title, contender_title(name), *cells]
            for load in _CLOSED
            for name in _order(results, workload, load.name, (client, ""))
            if (cells := _closed_cells(results, workload, load.name, name, client))
        ]
        # The bare runtime has no client; a table of it alone says nothing.
        if any(record.client == client for record in results.records if record.workload == workload):
            header = ["load", "contender", "rows/s", "p50 ms", "p99 ms", "CPU of a call, us"]
            parts += [f"With {_CLIENTS[client]}:", table(header, rows, align="llrrrr")]
    rows = [
        [load.title, contender_title(name), *_open_cells(results, workload, load.name, name)]
        for load in _OPEN
        for name in _order(results, workload, load.name, ("caller",))
    ]
    if rows:
        header = [
            "load",
            "contender",
            "offered/s",
            "answered/s",
            "of peak",
            "refused",
            "refused in ms",
            "p50 ms",
            "p99 ms",
            "failed",
        ]
        parts += [
            "Calls of one row that arrive by chance; the peak is what the same contender answered just before, at "
            "1 row x 64. Failed are calls that ended otherwise or not within 3 s of the window:",
            table(header, rows, align="llrrrrrrrr"),
        ]
    return "\n\n".join(parts)


def _order(results: Results, workload: str, load: str, clients: Sequence[str]) -> list[str]:
    measured = {
        record.contender
        for record in results.records
        if (record.workload, record.load) == (workload, load) and record.client in clients
    }
    return _known_first(measured)


def _known_first(names: Collection[str]) -> list[str]:
    """Return contenders in the order in which they are defined, other forms of widedeep after its first ones."""
    known = [contender.name for contender in CONTENDERS]
    return sorted(names, key=lambda name: (known.index(name) if name in known else 1.5, name))


def _closed_cells(results: Results, workload: str, load: str, name: str, client: str) -> list[str]:
    client = "" if name == "bare" else client

    def figure(value: str) -> Figure | None:
        return results.figure(value, workload, load, name, client)

    return [
        spread(figure("rows_per_s"), "{:,.0f}"),
        spread(figure("p50_us"), "{:,.2f}", 1000) if name != "bare" else "",
        spread(figure("p99_us"), "{:,.2f}", 1000) if name != "bare" else "",
        spread(figure("cpu_us_per_call"), "{:,.0f}"),
    ]


def _open_cells(results: Results, workload: str, load: str, name: str) -> list[str]:
    def figure(value: str) -> Figure | None:
        return results.figure(value, workload, load, name, "caller")

    share = next(found.share for found in _OPEN if found.name == load)
    capacity, answered, refused = figure("capacity"), figure("rows_per_s"), figure("refused_share")
    return [
        f"{capacity.median * share:,.0f}" if capacity else "",
        spread(answered, "{:,.0f}"),
        f"{answered.median / capacity.median:.0%}" if answered and capacity else "",
        f"{refused.median:.0%}" if refused else "",
        spread(figure("refused_p50_us"), "{:,.2f}", 1000),
        spread(figure("p50_us"), "{:,.1f}", 1000),
        spread(figure("p99_us"), "{:,.1f}", 1000),
        spread(figure("failed"), "{:,.0f}"),
    ]


def _memory(results: Results) -> str:
    rows = [
        [WORKLOADS[workload], contender_title(name), *cells]
        for workload in WORKLOADS
        for name in _order(results, workload, "memory", ("",))
        if (
            cells := [
                spread(results.figure(value, workload, "memory", name), "{:,.0f}") for value in ("idle_mb", "loaded_mb")
            ]
        )
    ]
    if not rows:
        return ""
    header = ["workload", "contender", "idle, MB", "after all loads, MB"]
    return "## Memory\n\nOf all processes of the server, shared pages counted once (PSS).\n\n" + table(
        header, rows, align="llrr"
    )


def _members(results: Results) -> str:
    rows = []
    for count in MEMBER_COUNTS:
        for n_rows in MEMBER_ROWS:
            figures = [
                results.figure(value, f"many{count}", f"members{n_rows}", "widedeep")
                for value in ("execute_us", "sessions_us", "python_us_per_member")
            ]
            if all(figures):
                forms = ("{:,.0f}", "{:,.0f}", "{:,.1f}")
                rows.append(
                    [str(count), str(n_rows), *(spread(f, form) for f, form in zip(figures, forms, strict=True))]
                )
    if not rows:
        return ""
    header = ["members", "rows", "whole call, us", "bare sessions, us", "Python a member, us"]
    return (
        "## Cost by members\n\nProcessor time of `Ensemble.execute` for members of one small matrix each, that of the "
        "same sessions run one after the other, and the difference a member (below zero where a plan does better than "
        "single sessions).\n\n" + table(header, rows, align="rrrrr")
    )


def _start(results: Results) -> str:
    rows = [
        [contender_title(name), *(spread(results.figure(v, DIGITS, "start", name), f) for v, f in _START_FIGURES)]
        for name in _order(results, DIGITS, "start", ("",))
    ]
    if not rows:
        return ""
    header = ["front end", "first answer after, s", "idle, MB", "after load, MB"]
    return "## The demo's bundle\n\nFrom the start of the process, four members.\n\n" + table(
        header, rows, align="lrrr"
    )


_START_FIGURES = (("ready_s", "{:.2f}"), ("idle_mb", "{:.0f}"), ("loaded_mb", "{:.0f}"))


def _contenders(results: Results) -> str:
    packages = {contender.name: ", ".join(contender.packages) for contender in CONTENDERS}
    rows = [
        [contender_title(name), how, packages.get(name, "")]
        for name, how in results.contenders.items()
        if name in results.names("contender")
    ]
    text = "## Contenders\n\n" + table(["contender", "how it runs", "packages"], rows, align="lll")
    if results.skipped:
        lines = (f"- {contender_title(name)}: {' '.join(why.split())[:300]}" for name, why in results.skipped.items())
        text += "\n\nLeft out, since they could not be installed or started here:\n\n" + "\n".join(lines)
    return text


def _machine(results: Results) -> str:
    runs = results.names("run")
    lines = [f"- {name}: {fact}" for name, fact in results.machine.items()]
    settings = results.settings
    lines.append(f"- last run: {settings.get('rounds')} rounds, windows of {settings.get('window_s')} s")
    if minutes := settings.get("minutes"):
        lines.append(f"- it took {minutes:.0f} minutes")
    if len(runs) > 1:
        lines.append(f"- put together from {len(runs)} runs, {min(runs)} to {max(runs)}; ratios are taken within a run")
    return "## Machine and run\n\n" + "\n".join(lines)


def spread(figure: Figure | None, form: str, unit: float = 1.0) -> str:
    """Return a median with its spread, the spread left out where it would say nothing."""
    if figure is None:
        return ""
    median, low, high = (form.format(value / unit) for value in (figure.median, figure.low, figure.high))
    return median if low == high else f"{median} [{low}-{high}]"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """Return a table; `align` has an l or r for each column."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *rows))
