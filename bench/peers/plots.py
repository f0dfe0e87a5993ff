"""The report's plots, from the results alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .contenders import CONTENDERS
from .results import Figure, Results
from .titles import WORKLOADS, best_client, contender_title

_COLOURS = {
    "widedeep-grpcio": "#0072B2",
    "widedeep-native": "#56B4E9",
    "triton": "#D55E00",
    "mlserver": "#E69F00",
    "ray": "#009E73",
    "litserve": "#CC79A7",
    "bentoml": "#8C6D1F",
    "floor": "#888888",
    "bare": "#222222",
}
"""Told apart by the colour-blind too (the palette of Okabe and Ito)."""
_OTHERS = ("#332288", "#117733", "#882255")
_MARKERS = "osD^vP*Xh<>p"
_LINE = ("1x1", "1x16", "1x64")
_SHARES = {"open50": 50, "open80": 80, "open120": 120}


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draw what the results allow into the folder; returns file name -> what it shows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
    folder.mkdir(parents=True, exist_ok=True)
    workloads = [name for name in WORKLOADS if name in results.names("workload")]
    drawn = {}
    for file, (caption, paint) in _PLOTS.items():
        figure = paint(plt, results, workloads)
        if figure is None:
            continue
        figure.savefig(folder / file, dpi=130, bbox_inches="tight")
        plt.close(figure)
        drawn[file] = caption
    return drawn


def _contenders(results: Results) -> list[str]:
    measured = results.names("contender")
    known = [contender.name for contender in CONTENDERS]
    order = sorted(measured, key=lambda name: known.index(name) if name in known else 0.5)
    return [name for name in order if name != "widedeep"]


def _look(results: Results, name: str) -> tuple[str, str]:
    """Return colour and marker."""
    names = _contenders(results)
    colour = _COLOURS.get(name) or _OTHERS[names.index(name) % len(_OTHERS)]
    return colour, _MARKERS[names.index(name) % len(_MARKERS)]


def _panels(plt: Any, workloads: Sequence[str], *, height: float, share_y: bool = False) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(
        1, len(workloads), figsize=(5.0 * len(workloads), height), sharey=share_y, squeeze=False
    )
    for axis, workload in zip(axes[0], workloads, strict=True):
        axis.set_title(WORKLOADS[workload], fontsize=11)
        axis.grid(visible=True, which="major", color="#dddddd", linewidth=0.7)
    return figure, list(axes[0])


def _legend_below(figure: Any, axes: Sequence[Any], bottom: float) -> None:
    seen: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    figure.tight_layout(rect=(0, bottom, 1, 1))
    figure.legend(seen.values(), seen.keys(), loc="lower center", ncols=min(5, len(seen)), frameon=False)


def _throughput(plt: Any, results: Results, workloads: Sequence[str]) -> Any:
    figure, axes = _panels(plt, workloads, height=5.2)
    for axis, workload in zip(axes, workloads, strict=True):
        for name in _contenders(results):
            if name == "bare":
                continue
            client = best_client(results, workload, name)
            points = [
                (rows, p50, p99)
                for load in _LINE
                if (rows := results.figure("rows_per_s", workload, load, name, client))
                and (p50 := results.figure("p50_us", workload, load, name, client))
                and (p99 := results.figure("p99_us", workload, load, name, client))
            ]
            if not points:
                continue
            colour, marker = _look(results, name)
            x = [rows.median for rows, _, _ in points]
            face = colour if client == "perf_analyzer" else "white"
            axis.plot(
                x,
                [p50.median / 1000 for _, p50, _ in points],
                color=colour,
                marker=marker,
                markerfacecolor=face,
                label=contender_title(name),
            )
            axis.vlines(
                x,
                [p50.median / 1000 for _, p50, _ in points],
                [p99.median / 1000 for *_, p99 in points],
                color=colour,
                alpha=0.35,
            )
        limit = results.figure("rows_per_s", workload, "1x64", "bare")
        if limit:
            axis.axvline(limit.median, color=_COLOURS["bare"], linestyle=":", label="bare onnxruntime, most rows/s")
        axis.set(xscale="log", yscale="log", xlabel="rows per second")
        _plain(axis.xaxis)
        _plain(axis.yaxis)
    axes[0].set_ylabel("latency, ms: p50 (mark) up to p99 (bar)")
    _legend_below(figure, axes, 0.11)
    return figure


def _latency(plt: Any, results: Results, workloads: Sequence[str]) -> Any:
    figure, axes = _panels(plt, workloads, height=4.4, share_y=True)
    names = [name for name in _contenders(results) if name != "bare"]
    for axis, workload in zip(axes, workloads, strict=True):
        for place, name in enumerate(names):
            client = best_client(results, workload, name)
            p50, p99 = (results.figure(f"{p}_us", workload, "1x16", name, client) for p in ("p50", "p99"))
            if not (p50 and p99):
                continue
            colour, _ = _look(results, name)
            axis.plot([p50.median / 1000, p99.median / 1000], [place, place], color=colour, linewidth=2, alpha=0.5)
            axis.errorbar(p50.median / 1000, place, xerr=_spread(p50, 1000), color=colour, marker="o", capsize=3)
            axis.errorbar(p99.median / 1000, place, xerr=_spread(p99, 1000), color=colour, marker="D", capsize=3)
        axis.set(xscale="log", xlabel="latency of 1 row x 16, ms")
        _plain(axis.xaxis)
        axis.set_yticks(range(len(names)), [contender_title(name) for name in names])
    axes[0].invert_yaxis()
    handles = [
        plt.Line2D([], [], color="#444444", marker=m, linestyle="", label=p) for m, p in (("o", "p50"), ("D", "p99"))
    ]
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False)
    return figure


def _cpu(plt: Any, results: Results, workloads: Sequence[str]) -> Any:
    figure, axes = _panels(plt, workloads, height=4.4, share_y=True)
    names = _contenders(results)
    for axis, workload in zip(axes, workloads, strict=True):
        most = 0.0
        found: dict[str, Figure] = {}
        for place, name in enumerate(names):
            client = best_client(results, workload, name)
            cpu = results.figure("cpu_us_per_call", workload, "1x16", name, client)
            if cpu:
                found[name] = cpu
                most = max(most, cpu.high)
                axis.barh(place, cpu.median, color=_look(results, name)[0], height=0.65)
                axis.errorbar(cpu.median, place, xerr=_spread(cpu, 1), color="#222222", capsize=3, linewidth=1)
        for place, name in enumerate(names):
            if name in found:
                axis.annotate(
                    f"{found[name].median:,.0f}",
                    (found[name].high, place),
                    (5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                )
        if "floor" in found and "bare" in found:
            least = found["floor"].median + found["bare"].median
            axis.axvline(least, color="#222222", linestyle=":", label="empty grpcio handler + bare onnxruntime")
        axis.set_xlim(0, most * 1.18 or 1)
        axis.set_xlabel("CPU of a call at 1 row x 16, microseconds")
        axis.set_yticks(range(len(names)), [contender_title(name) for name in names])
    axes[0].invert_yaxis()
    _legend_below(figure, axes, 0.07)
    return figure


def _memory(plt: Any, results: Results, workloads: Sequence[str]) -> Any:
    names = [name for name in _contenders(results) if any(results.find(w, "memory", name) for w in workloads)]
    if not names:
        return None
    figure, axes = _panels(plt, workloads, height=4.0, share_y=True)
    for axis, workload in zip(axes, workloads, strict=True):
        for place, name in enumerate(names):
            idle, loaded = (results.figure(f"{when}_mb", workload, "memory", name) for when in ("idle", "loaded"))
            if not (idle and loaded):
                continue
            colour, _ = _look(results, name)
            axis.plot([idle.median, loaded.median], [place, place], color=colour, linewidth=2, alpha=0.5)
            axis.plot(idle.median, place, color=colour, marker="o", markerfacecolor="white", markersize=8)
            axis.plot(loaded.median, place, color=colour, marker="o", markersize=5)
            right = max(idle.median, loaded.median)
            axis.annotate(f"{right:,.0f}", (right, place), (8, 0), textcoords="offset points", va="center", fontsize=9)
        axis.set(xscale="log", xlabel="memory of all processes (PSS), MB")
        low, high = axis.get_xlim()
        axis.set_xlim(low * 0.9, high * 1.25)
        _plain(axis.xaxis)
        axis.set_yticks(range(len(names)), [contender_title(name) for name in names])
    axes[0].invert_yaxis()
    handles = [
        plt.Line2D(
            [], [], color="#444444", marker="o", linestyle="", markerfacecolor="white", markersize=8, label="idle"
        ),
        plt.Line2D([], [], color="#444444", marker="o", linestyle="", markersize=5, label="after load"),
    ]
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles=handles, loc="lower center", ncols=2, frameon=False)
    return figure


def _overload(plt: Any, results: Results, workloads: Sequence[str]) -> Any:
    names = [name for name in _contenders(results) if any(results.find(w, "open120", name) for w in workloads)]
    if not names:
        return None
    figure, axes = _panels(plt, workloads, height=5.0)
    for axis, workload in zip(axes, workloads, strict=True):
        for name in names:
            points = [
                (share, p99)
                for load, share in _SHARES.items()
                if (p99 := results.figure("p99_us", workload, load, name, "caller"))
            ]
            colour, marker = _look(results, name)
            axis.errorbar(
                [share for share, _ in points],
                [p99.median / 1000 for _, p99 in points],
                yerr=_errors([p99 for _, p99 in points]),
                color=colour,
                marker=marker,
                capsize=3,
                label=contender_title(name),
            )
        axis.set(yscale="log", xlabel="offered load, % of its own capacity", xlim=(45, 125))
        axis.set_xticks(list(_SHARES.values()))
        _plain(axis.yaxis)
    axes[0].set_ylabel("p99 of accepted calls, ms")
    _legend_below(figure, axes, 0.11)
    return figure


def _errors(figures: Sequence[Figure]) -> list[list[float]]:
    return [[(f.median - f.low) / 1000 for f in figures], [(f.high - f.median) / 1000 for f in figures]]


def _spread(figure: Figure, unit: float) -> list[list[float]]:
    return [[(figure.median - figure.low) / unit], [(figure.high - figure.median) / unit]]


def _plain(axis: Any) -> None:
    """Write powers of ten, and halves of them where there is room, as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    span = high / low
    subs = (1.0, 2.0, 5.0) if span < 30 else (1.0, 3.0) if span < 1000 else (1.0,)
    axis.set_major_locator(LogLocator(base=10, subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


_PLOTS: dict[str, tuple[str, Callable[[Any, Results, Sequence[str]], Any]]] = {
    "throughput.png": (
        "Throughput against latency at 1, 16 and 64 calls of one row: right and low is good. Filled marks are "
        "perf_analyzer's, hollow ones those of the project's own client",
        _throughput,
    ),
    "latency.png": ("p50 and p99 at 16 calls of one row", _latency),
    "cpu.png": ("Processor time of the server's processes for one call, at 16 calls of one row", _cpu),
    "memory.png": ("Memory of the server's processes, idle and after all loads", _memory),
    "overload.png": ("p99 of accepted calls that arrive by chance, below and above capacity", _overload),
}
