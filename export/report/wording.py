"""Numbers as people read them: as many digits as say something, and the unit."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

METRIC_NAMES = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "mae": "MAE",
    "brier": "Brier score",
    "ece": "calibration error",
    "r2": "R²",
}
NOTHING = "\u2013"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number in significant digits, without an exponent where it is of ordinary size."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if not -5 <= size < 9:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - size)}f}".replace("-", "\u2212")


def loss(value: float | None) -> str:
    """Return a loss with four digits after the point, more where it is small and fewer where it is large."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < abs(value) < 0.001:
        return number(value, 2)
    return number(value, 5) if abs(value) >= 10 else f"{value:.4f}".replace("-", "\u2212")


def ticks(values: Sequence[float]) -> list[str]:
    """Return round numbers at an axis, all with as many digits after the point as one of them needs."""
    n_digits = max((len(f"{value:.6g}".partition(".")[2]) for value in values), default=0)
    if any(abs(value) >= 1e6 or 0 < abs(value) < 1e-6 for value in values):
        return [f"{value:.3g}".replace("-", "\u2212") for value in values]
    return [f"{value:,.{n_digits}f}".replace("-", "\u2212") for value in values]


def signed(value: float | None) -> str:
    """Return a difference with its sign."""
    text = loss(value)
    return f"+{text}" if value is not None and math.isfinite(value) and value > 0 else text


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage."""
    if share is None or not math.isfinite(share):
        return NOTHING
    return f"{100 * share:.{digits}f} %".replace("-", "\u2212")


def metric(name: str, value: float | None) -> str:
    """Return the value of a metric in the form that suits it."""
    return percent(value) if name == "accuracy" else loss(value)


def interval(name: str, estimate: Mapping[str, float | None]) -> str:
    """Return the bounds of an estimate, empty where it has none."""
    low, high = estimate.get("low"), estimate.get("high")
    return "" if low is None or high is None else f"{metric(name, low)} to {metric(name, high)}"


def microseconds(value: float | None) -> str:
    """Return a time a row."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{number(value / 1000)} ms" if value >= 1000 else f"{number(value)} µs"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value < 120:
        return f"{number(value)} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def count(n: int, what: str, many: str | None = None) -> str:
    """Return how many there are of something."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def plain(value: Any) -> str:
    """Return a hyperparameter or a cell of a row."""
    if isinstance(value, float):
        return "missing" if math.isnan(value) else f"{value:.4g}"
    if isinstance(value, dict | list | tuple):
        return (
            ", ".join(f"{k} {plain(v)}" for k, v in value.items())
            if isinstance(value, dict)
            else " ".join(map(plain, value))
        )
    return str(value)


def shortened(text: str, most: int = 40) -> str:
    """Return text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
