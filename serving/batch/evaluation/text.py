"""An evaluation's report for people: plain text tables of at most about 100 characters a line."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...report import printable, table

_MAX_SLICE_VALUES = 10
_MAX_DRIFT_COLUMNS = 10
_MAX_CONFUSIONS = 5

_FIRST = {"classification": ("log_loss", "accuracy", "brier"), "regression": ("rmse", "mae", "mean_error")}
_FURTHER = {"classification": ("ece", "roc_auc"), "regression": ("r2",)}
_BY_SLICE = {"classification": ("log_loss", "accuracy"), "regression": ("rmse", "mean_error")}
_TITLES = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "ece": "ECE",
    "roc_auc": "ROC AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "mean_error": "mean error",
    "r2": "R2",
}


def describe(report: Mapping[str, Any]) -> str:
    """Return a readable account of what `Evaluator.report` gave."""
    parts = [_head(report)]
    if report["n_evaluated"]:
        parts += [_metrics(report), _differences(report)]
        parts += [_slice(report, column, rows) for column, rows in report["slices"].items()]
        if "calibration" in report["ensemble"]:
            parts.append(_calibration(report["ensemble"]["calibration"]))
        if "confusion" in report:
            parts.append(_confusion(**report["confusion"]))
    parts.append(_drift(report["drift"]))
    return printable("\n\n".join(part for part in parts if part))


def _head(report: Mapping[str, Any]) -> str:
    lines = [f"Evaluation by {report['label']!r}: {report['n_evaluated']:,} of {report['n_rows']:,} rows"]
    if n := report["n_unlabelled"]:
        lines.append(f"{n:,} rows have no label")
    if n := report["n_unknown_label"]:
        lines.append(f"{n:,} rows have an unknown label, such as {', '.join(map(repr, report['unknown_labels']))}")
    if report["n_evaluated"]:
        lines.append(f"Values are followed by their intervals of {report['level']:.0%}.")
    return "\n".join(lines)


def _metrics(report: Mapping[str, Any]) -> str:
    predictors = [("ensemble", report["ensemble"]), *report["members"].items()]
    names = [name for name in (*_FIRST[report["task"]], *_FURTHER[report["task"]]) if name in report["ensemble"]]
    parts = [
        table(["", *(_TITLES[name] for name in some)], [[who, *_estimates(of, some)] for who, of in predictors])
        for some in (names[:3], names[3:])
    ]
    if (by_chance := report["ensemble"].get("ece_by_chance")) is not None:
        parts.append(f"A perfectly calibrated ensemble would show an ECE of about {_number(by_chance)}.")
    return "\n\n".join(parts)


def _differences(report: Mapping[str, Any]) -> str:
    names = _FIRST[report["task"]]
    rows = [[f"less {who}", *_estimates(of["difference"], names)] for who, of in report["members"].items()]
    return table(["ensemble", *(_TITLES[name] for name in names)], rows) if rows else ""


def _slice(report: Mapping[str, Any], column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names = _BY_SLICE[report["task"]]
    shown = [[row["value"], f"{row['n']:,}", *_estimates(row["ensemble"], names)] for row in rows[:_MAX_SLICE_VALUES]]
    text = table([column, "rows", *(f"{_TITLES[name]} (ensemble)" for name in names)], shown)
    left = len(rows) - len(shown)
    return f"{text}\nand {left:,} more values" if left else text


def _calibration(bins: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [f"{one['from']:.2f} to {one['to']:.2f}", f"{one['n']:,}", _number(one["confidence"]), _estimate(one["share"])]
        for one in bins
    ]
    return table(["confidence (ensemble)", "rows", "mean", "share of right ones"], rows)


def _confusion(classes: Sequence[str], rows_by_truth: Sequence[Sequence[int]]) -> str:
    mistakes = [
        (n, classes[i], classes[j])
        for i, row in enumerate(rows_by_truth)
        for j, n in enumerate(row)
        if i != j and n > 0
    ]
    mistakes.sort(key=lambda mistake: -mistake[0])
    rows = [[truth, taken, f"{n:,}"] for n, truth, taken in mistakes[:_MAX_CONFUSIONS]]
    return table(["most mistaken", "for", "rows"], rows) if rows else ""


def _drift(drift: Mapping[str, Any]) -> str:
    if not drift["available"]:
        return "Drift of the inputs: not available, for the bundle holds no histograms of its inputs."
    flags, columns = drift["flags"], drift["columns"]
    counted = ", ".join(f"{flags[flag]:,} {flag}" for flag in ("drifted", "moderate", "stable"))
    text = f"Drift of the inputs against {drift['reference_rows']:,} rows in the bundle: {counted}"
    rows = [
        [
            *(column["column"], column["flag"], f"{column['psi']:.3f}"),
            f"{column['ks']:.3f}" if "ks" in column else "-",
            f"{column['missing_then']:.1%} -> {column['missing_now']:.1%}",
            _share(column.get("outside_range", column.get("unseen"))),
        ]
        for column in columns[:_MAX_DRIFT_COLUMNS]
        if column["flag"] != "stable"
    ]
    return f"{text}\n{table(['column', '', 'PSI', 'KS', 'missing', 'outside or unseen'], rows)}" if rows else text


def _estimates(metrics: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [_estimate(metrics[name]) for name in names]


def _estimate(one: Mapping[str, float | None]) -> str:
    value = _number(one["value"])
    return value if one["low"] is None else f"{value} ({_number(one['low'])} to {_number(one['high'])})"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"
