"""docs/batch_benchmarks.md, written from the results alone: no figure in it is typed by hand."""

from collections import Counter

from peers.report import spread, table
from peers.results import Figure, Results, ratios, summary

WORKLOADS = {
    "seed": "seed: 64x64x3 net, 200 rounds, linear",
    "wide": "wide: 200 rounds, linear; one list column of 64 values",
    "columns": "columns: the members of wide; 64 columns",
    "digits": "digits: the demo's four members; a list and 84 columns",
    "tiny": "tiny: 8x8 net, 30 rounds, linear; two list columns",
}
CONTENDERS = {
    "widedeep": "`widedeep score`",
    "loop": "bare, one loop",
    "cores": "bare, a process a core",
    "tuned": "bare, a process a core, tuned",
    "native": "pandas and the trained models",
}
BARE = ("loop", "cores", "tuned")
TARGETS = {"seed": 0.90, "wide": 0.70}
MOST_MB = 1000
_EVALUATIONS = {"plain": "without", "evaluate": "`--evaluate`", "slices": "`--evaluate`, ten slices"}
_ENGINES = ("local", "ray", "spark")


def write(results: Results) -> str:
    """Return the whole page."""
    parts = [
        _INTRODUCTION,
        _section("Targets", _TARGETS, _targets(results)),
        *(_rates(results, workload) for workload in WORKLOADS),
        _section("Memory", _MEMORY, _memory(results)),
        _section("Engines", _ENGINES_TEXT, _engines(results)),
        _section("Evaluation", _EVALUATION, _evaluation(results)),
        _machine(results),
        _REPRODUCE,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_INTRODUCTION = """# Batch benchmarks

`widedeep score` against loops that one would write by hand, over the same Parquet file, each a command of its own.
Figures are medians over rounds in which every contender runs once, with the least and the largest in brackets; ratios
are taken round by round. They hold for the machine below; on another one only their ratios carry over.

- **bare, one loop**: pyarrow's batches of 1,024 rows, onnxruntime sessions with their own threads, the bundle's weights
  in numpy, a Parquet writer. No checks of values, no rejected rows, no record to resume from.
- **bare, a process a core**: the same with one-thread sessions in a pool of processes, which take row groups in turn.
- **tuned**: the same with the rows a run at which each graph is fastest, found by trying beforehand, which is not
  counted.
- **pandas and the trained models**: batches of 1,024 rows as data frames, `predict_proba` of XGBoost and scikit-learn,
  Keras' `predict_on_batch`, each library with the threads that it takes.

Before contenders are timed their answers are compared. Start-up is the same command on a file of 64 rows: imports,
loading and proving the bundle, planning. Contenders that take minutes get a file of fewer rows. Files are in the page
cache. CPU is the processor time of all processes of a command, user and system, a row: the steadier figure where other
processes are about. Peak is the most memory that it held, for those of one process."""

_TARGETS = "Rows a second of the whole command, start-up included, as a share of the fastest bare loop's."

_MEMORY = f"""The most that the process of `widedeep score` held at a time (resident set, mapped pages included) while
it scored one file or folder. 1x, 4x and 16x are so many times the rows; one group is a file of a single row group,
files is a folder of Parquet files of 1,000 rows each. It must not grow with the input, and stay under
{MOST_MB / 1000:g} GB."""

_ENGINES_TEXT = """The same job, wide, with `--engine`. Ray and Spark run on this machine and are started and stopped by
the command: start-up is that, with a file of 64 rows, and the rest is what scoring takes beyond it."""

_EVALUATION = "`--evaluate` on digits: metrics with intervals for four members and the ensemble, calibration, drift."

_REPRODUCE = """## Reproduce

    pip install '.[export,train,batch,ray,spark]'                       # Spark needs Java 17
    python bench/batch.py measure                                       # everything
    python bench/batch.py measure --parts rates --workloads seed wide   # what the targets need
    python bench/batch.py report                                        # this page again
    python bench/batch.py generate --workload wide --rows 5000000 rows.parquet

Results are merged into `build/bench/batch.json` after every run. Let nothing else run meanwhile."""


def best_bare(results: Results, workload: str, value: str = "rows_per_s") -> str:
    """Return which bare loop has the best median of a figure: the most rows a second, or else the least; "" of none."""
    figures = {name: figure for name in BARE if (figure := results.figure(value, workload, "rate", name))}
    if not figures:
        return ""
    best = max if value.endswith("per_s") else min
    return best(figures, key=lambda name: figures[name].median)


def ratio(results: Results, workload: str, value: str = "rows_per_s") -> Figure | None:
    """Return our rows a second over those of the best bare loop, or its cost over ours: 1 is as good, less is worse."""
    ours = results.find(workload, "rate", "widedeep")
    theirs = results.find(workload, "rate", best_bare(results, workload, value))
    return ratios(ours, theirs, value) if value.endswith("per_s") else ratios(theirs, ours, value)


def _targets(results: Results) -> str:
    rows = []
    for workload, least in TARGETS.items():
        found = ratio(results, workload)
        if found is None:
            continue
        met = "met" if found.median >= least else "**short**"
        rows.append(
            [workload, f"at least {least:.2f}", f"{met}: {spread(found, '{:.2f}')}", *_ratio_cells(results, workload)]
        )
    ours = (record for record in results.records if record.load == "memory" or record.contender == "widedeep")
    peaks = [record.values["peak_mb"] for record in ours if "peak_mb" in record.values]
    text = table(["workload", "target", "rows/s", "without start-up", "CPU a row"], rows, "lllll") if rows else ""
    if peaks:
        met = "met" if max(peaks) < MOST_MB else "**short**"
        text += f"\n\nMemory under {MOST_MB / 1000:g} GB, whatever the input: {met}, {max(peaks):,.0f} MB at most."
    return text.strip()


def _ratio_cells(results: Results, workload: str) -> list[str]:
    return [
        spread(ratio(results, workload, value), "{:.2f}") for value in ("steady_rows_per_s", "steady_cpu_us_per_row")
    ]


def _rates(results: Results, workload: str) -> str:
    rows = [
        [title, *_rate_cells(results, workload, name)]
        for name, title in CONTENDERS.items()
        if results.find(workload, "rate", name)
    ]
    if not rows:
        return ""
    header = [
        "contender",
        "rows",
        "rows/s",
        "without start-up",
        "start-up, s",
        "CPU of a row, us",
        "without start-up",
        "peak, MB",
    ]
    text = f"## {WORKLOADS[workload]}\n\n" + table(header, rows, "lrrrrrrr")
    if best := best_bare(results, workload):
        shares = (ratio(results, workload), *(ratio(results, workload, value) for value in _STEADY))
        rows_per_s, steady, cpu = (spread(share, "{:.2f}") for share in shares)
        text += (
            f"\n\n`widedeep score` reaches {rows_per_s} of the rows/s of the fastest bare loop ({CONTENDERS[best]}), "
            f"{steady} without start-up; by CPU of a row without start-up, {cpu} of the cheapest."
        )
    if native := ratios(
        results.find(workload, "rate", "widedeep"), results.find(workload, "rate", "native"), "rows_per_s"
    ):
        text += f" It is {spread(native, '{:.1f}')} times as fast as pandas and the trained models."
    return text


_STEADY = ("steady_rows_per_s", "steady_cpu_us_per_row")


def _rate_cells(results: Results, workload: str, name: str) -> list[str]:
    def figure(value: str) -> Figure | None:
        return results.figure(value, workload, "rate", name)

    return [
        spread(figure("n_rows"), "{:,.0f}"),
        spread(figure("rows_per_s"), "{:,.0f}"),
        spread(figure("steady_rows_per_s"), "{:,.0f}"),
        spread(figure("start_s"), "{:.2f}"),
        spread(figure("cpu_us_per_row"), "{:,.1f}"),
        spread(figure("steady_cpu_us_per_row"), "{:,.1f}"),
        "" if name in {"cores", "tuned"} else spread(figure("peak_mb"), "{:,.0f}"),
    ]


def _memory(results: Results) -> str:
    rows = [
        [
            record.contender,
            *(f"{record.values[value]:,.0f}" for value in ("n_rows", "input_mb", "peak_mb", "rows_per_s")),
        ]
        for record in results.records
        if record.load == "memory"
    ]
    return table(["input", "rows", "size, MB", "peak, MB", "rows/s"], rows, "lrrrr") if rows else ""


def _engines(results: Results) -> str:
    local = results.find("wide", "engines", "local")
    rows = []
    for name in _ENGINES:
        if not (found := results.find("wide", "engines", name)):
            continue
        cells = [
            spread(results.figure(value, "wide", "engines", name), form)
            for value, form in (("rows_per_s", "{:,.0f}"), ("start_s", "{:.1f}"), ("steady_rows_per_s", "{:,.0f}"))
        ]
        rows.append([name, *cells, spread(ratios(found, local, "steady_rows_per_s"), "{:.2f}")])
    if not rows:
        return ""
    return table(["engine", "rows/s", "start-up, s", "rows/s without start-up", "of local"], rows, "lrrrr")


def _evaluation(results: Results) -> str:
    plain = results.find("digits", "evaluation", "plain")
    rows = []
    for name, title in _EVALUATIONS.items():
        if not (found := results.find("digits", "evaluation", name)):
            continue
        cells = [
            spread(results.figure(value, "digits", "evaluation", name), form)
            for value, form in (("rows_per_s", "{:,.0f}"), ("cpu_us_per_row", "{:,.1f}"))
        ]
        rows.append([title, *cells, spread(ratios(found, plain, "cpu_us_per_row"), "{:.2f}")])
    return table(["evaluation", "rows/s", "CPU of a row, us", "CPU of that without"], rows, "lrrr") if rows else ""


def _machine(results: Results) -> str:
    lines = [f"- {name}: {fact}" for name, fact in results.machine.items()]
    counts = Counter(record.key for record in results.records if record.load != "memory").values()
    if counts:
        lines.append(f"- rounds: {min(counts)}" + (f" to {max(counts)}" if max(counts) > min(counts) else ""))
    others = [record.values["others"] for record in results.records if "others" in record.values]
    if others:
        lines.append(f"- cores that other processes kept busy during a run: {spread(summary(others), '{:.2f}')}")
    if len(runs := results.names("run")) > 1:
        lines.append(f"- put together from {len(runs)} runs, {min(runs)} to {max(runs)}; ratios are taken within a run")
    return "## Machine and run\n\n" + "\n".join(lines)


def _section(title: str, text: str, body: str) -> str:
    return f"## {title}\n\n{text}\n\n{body}" if body else ""
