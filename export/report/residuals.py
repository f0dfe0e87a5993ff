"""Of a regression: predicted against true values, and what is left over."""

import numpy as np

from ...serving.contract.combiner import Float64Array
from .axes import Scale, frame, padded, path, scales, together
from .evidence import Evidence
from .markup import Html, group, tag
from .section import Absent, Section, figure, note, side_by_side
from .wording import count, number

MAX_BINS = 40
MAX_OUTPUTS = 3
_TAILS = 0.001
"""Share of rows on each side that are drawn at a plot's edge: one outlier would squeeze the rest."""


def residuals(evidence: Evidence) -> Section | Absent | None:
    """Return plots of the first outputs; None for a classification."""
    if evidence.bundle.task != "regression":
        return None
    judged = evidence.judged
    if judged is None:
        return Absent("Predictions", "the bundle holds no rows with scores and a truth")
    n_outputs = evidence.bundle.n_outputs
    parts: list[Html] = []
    for k in range(min(n_outputs, MAX_OUTPUTS)):
        name = "" if n_outputs == 1 else f", output {k}"
        truth, predicted = judged.target[:, k], judged.ensemble[:, k]
        parts.append(
            side_by_side(
                _against(truth, predicted, name),
                _histogram(truth - predicted, name),
                _left(truth, predicted, name),
                three=True,
            )
        )
    if n_outputs > MAX_OUTPUTS:
        parts.append(note(f"The first {MAX_OUTPUTS} of {n_outputs:,} outputs are shown."))
    lead = f"The ensemble's predictions on {judged.words}. Residuals are true values less predicted ones."
    return Section("predictions", "Predictions", lead, group(parts))


def _against(truth: Float64Array, predicted: Float64Array, name: str) -> Html:
    bounds = _inner(np.concatenate([truth, predicted]))
    x, y = scales(bounds, bounds)
    plot = frame(
        x,
        y,
        _density(predicted, truth, x, y, "true"),
        path([(x(bounds[0]), y(bounds[0])), (x(bounds[1]), y(bounds[1]))], "diagonal"),
        title=f"Predicted against true values{name}",
        x_title="predicted",
        y_title="true",
    )
    return figure(
        plot, "On the diagonal, a prediction is right. Strong cells hold more rows.", title=f"Predicted and true{name}"
    )


def _left(truth: Float64Array, predicted: Float64Array, name: str) -> Html:
    residual = truth - predicted
    x, y = scales(_inner(predicted), _inner(residual))
    plot = frame(
        x,
        y,
        _density(predicted, residual, x, y, "residual"),
        path([(x.start, y(0)), (x.end, y(0))], "diagonal"),
        title=f"Residuals against predicted values{name}",
        x_title="predicted",
        y_title="residual",
    )
    return figure(
        plot, "A trend or a funnel means that errors depend on the prediction.", title=f"Residuals by prediction{name}"
    )


def _histogram(residual: Float64Array, name: str) -> Html:
    low, high = _inner(residual)
    counts, edges = np.histogram(np.clip(residual, low, high), _n_bins(len(residual)), (low, high))
    x, y = scales((low, high), (0.0, float(counts.max()) * 1.05))
    columns = [
        tag(
            "rect",
            tag("title", f"{number(a)} to {number(b)}: {count(int(n), 'row')}"),
            x=x(a) + 0.5,
            y=y(n),
            width=max(0.5, x(b) - x(a) - 1),
            height=y.start - y(n),
            class_="heat",
        )
        for n, a, b in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        if n
    ]
    plot = frame(
        x,
        y,
        together(columns),
        path([(x(0), y.start), (x(0), y.end)], "diagonal"),
        title=f"Histogram of residuals{name}",
        x_title="residual",
        y_title="rows",
    )
    middle, half = float(np.median(residual)), float(np.median(np.abs(residual)))
    words = f"Median {number(middle)}; half of the rows lie within {number(half)} of the truth."
    return figure(plot, words, title=f"Residuals{name}")


def _density(a: Float64Array, b: Float64Array, x: Scale, y: Scale, b_word: str) -> Html:
    """Return a plot's cells that hold rows; the strength of colour grows with the logarithm of how many."""
    n_bins = _n_bins(len(a))
    counts, a_edges, b_edges = np.histogram2d(
        np.clip(a, x.low, x.high), np.clip(b, y.low, y.high), n_bins, ((x.low, x.high), (y.low, y.high))
    )
    most = np.log1p(counts.max())
    width, height = (x.end - x.start) / n_bins, (y.start - y.end) / n_bins
    cells = []
    for i, j in np.argwhere(counts):
        n = int(counts[i, j])
        at, of = (a_edges[i] + a_edges[i + 1]) / 2, (b_edges[j] + b_edges[j + 1]) / 2
        says = f"predicted about {number(at)}, {b_word} about {number(of)}: {count(n, 'row')}"
        cells.append(
            tag(
                "rect",
                tag("title", says),
                x=float(x(a_edges[i])),
                y=float(y(b_edges[j + 1])),
                width=width,
                height=height,
                class_="heat",
                fill_opacity=f"{0.2 + 0.8 * np.log1p(n) / most:.2f}",
            )
        )
    return together(cells)


def _n_bins(n_rows: int) -> int:
    """Return how many bins along an axis so many rows can fill."""
    return int(np.clip(1.5 * np.sqrt(n_rows), 8, MAX_BINS))


def _inner(values: Float64Array) -> tuple[float, float]:
    return padded(np.quantile(values, (_TAILS, 1 - _TAILS)).tolist())
