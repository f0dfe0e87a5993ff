"""How good probabilities are: what is counted of a batch of rows, and the metrics that come of it.

- log loss: natural logarithm; a probability below `CLIP` counts as `CLIP`, as when the combination was learned.
- Brier score: squared error summed over the classes; of two classes, that of the second one.
- expected calibration error (ECE): over 15 bins of equal width of the largest probability, the mean distance between
  it and the share of rows whose most probable class is right. Even a perfect predictor shows some, `ece_by_chance`.
- area under the ROC curve (ROC AUC), of two classes: from histograms of the log-odds with 4,096 bins 1/128 wide; within
  a bin, half of the pairs count. `binning` is how far the exact value can be from it at most.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.tensors import Array
from .intervals import Estimate, finite, hanley_mcneil, normal, paired_shares, wilson
from .moments import Floats, Ints, Moments
from .tally import Tally
from .truth import Labels, check_class_type, class_labels

CLIP = float(np.finfo(np.float32).eps)
"""Members answer in float32: below its resolution a probability is noise, and a zero would cost an infinite loss."""

N_BINS = 15
"""Source: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks" (2017)."""

MAX_CONFUSION_CLASSES = 100
"""With more classes no confusion matrix is kept: it would grow with their square."""

N_SCORE_BINS = 4096
_BINS_PER_UNIT = 128
"""Log-odds of float32 probabilities lie between -16 and 16."""

METRICS = ("log_loss", "accuracy", "brier")
_BOUNDS = {"log_loss": (0.0, math.inf), "accuracy": (0.0, 1.0), "brier": (0.0, math.inf)}


class Classification:
    """Counts and reports. Immutable.

    Attributes:
        predictors: names of the ensemble and the members.
        classes: texts of the labels, in score order.
    """

    task = "classification"
    metrics = METRICS

    def __init__(self, predictors: Sequence[str], classes: Sequence[str]) -> None:
        """Store the names."""
        self.predictors = tuple(predictors)
        self.classes = tuple(classes)

    def check_type(self, label: str, kind: Any) -> None:
        """Refuse a label column that never fits; see `Measure.check_type`."""
        check_class_type(label, kind)

    def labels(self, column: Any) -> Labels:
        """Return the class places of a label column."""
        return class_labels(column, self.classes)

    def count(self, found: Tally, truth: Any, answers: Sequence[Array]) -> Floats:
        """Count rows that have a truth; see `Measure.count`. `truth` are class places, `(n_rows,)`."""
        n_rows, n = len(truth), len(self.predictors)
        columns = np.empty((len(METRICS), n, n_rows))
        bins, histograms = [], []
        everyone = np.arange(n_rows)
        for i, answer in enumerate(answers):
            chosen = answer.argmax(axis=1)
            hit = chosen == truth
            p_true = answer[everyone, truth].astype(np.float64)
            columns[0, i] = -np.log(np.maximum(p_true, CLIP))
            columns[1, i] = hit
            columns[2, i] = self._brier(answer, p_true)
            bins.append(_calibration(answer[everyone, chosen].astype(np.float64), hit))
            if len(self.classes) == 2:
                histograms.append(_score_histogram(answer[:, 1], truth))
        found.counts["calibration"] = np.array(bins)
        if histograms:
            found.counts["scores"] = np.array(histograms)
        n_classes = len(self.classes)
        if n_classes <= MAX_CONFUSION_CLASSES:
            pairs = truth * n_classes + answers[0].argmax(axis=1)
            found.counts["confusion"] = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
        less = columns[:, :1] - columns[:, 1:]
        return np.concatenate([columns, less], axis=1).reshape(len(METRICS) * (2 * n - 1), n_rows)

    def summary(self, moments: Moments, group: int = 0) -> dict[str, dict[str, Any]]:
        """Return predictor -> metric -> value and interval, of one group of rows; members with the difference."""
        n_rows, n = int(moments.n[group]), len(self.predictors)
        shape = len(METRICS), 2 * n - 1
        mean, m2 = moments.mean[group].reshape(shape), moments.m2[group].reshape(shape)
        error = moments.standard_error()[group].reshape(shape)
        out: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.predictors):
            out[name] = {metric: _metric(metric, mean[j, i], error[j, i], n_rows) for j, metric in enumerate(METRICS)}
            if i:
                d = n + i - 1
                out[name]["difference"] = {
                    metric: _difference(metric, mean[j, d], m2[j, d], error[j, d], n_rows)
                    for j, metric in enumerate(METRICS)
                }
        return out

    def details(self, tally: Tally) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Return predictor -> further metrics, and a section of the report: confusion."""
        counts = tally.counts
        further: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.predictors):
            bins = counts["calibration"][i]
            further[name] = {**_calibration_errors(bins), "calibration": _reliability(bins)}
            if "scores" in counts:
                further[name]["roc_auc"] = _roc_auc(counts["scores"][i])
        if "confusion" not in counts:
            return further, {}
        table = {"classes": list(self.classes), "rows_by_truth": counts["confusion"].tolist()}
        return further, {"confusion": table}

    def _brier(self, answer: Array, p_true: Floats) -> Floats:
        if len(self.classes) == 2:
            return np.square(1 - p_true)
        squares: Floats = np.einsum("ij,ij->i", answer, answer, dtype=np.float64)
        return squares - 2 * p_true + 1


def _metric(metric: str, mean: float, error: float, n: int) -> dict[str, float | None]:
    if not n:
        return Estimate(math.nan).to_json()
    if metric == "accuracy":
        return wilson(mean * n, n).to_json()
    least, most = _BOUNDS[metric]
    return normal(mean, error, least=least, most=most).to_json()


def _difference(metric: str, mean: float, m2: float, error: float, n: int) -> dict[str, float | None]:
    if not n:
        return Estimate(math.nan).to_json()
    return (paired_shares(mean, m2, n) if metric == "accuracy" else normal(mean, error)).to_json()


_ROWS, _CONFIDENCE, _HITS, _CHANCE, _GAPS = range(5)


def _calibration(confidence: Floats, hit: Array) -> Floats:
    """Return by bin: rows, and sums of confidence, of hits, of confidence * (1 - confidence), of squared gaps."""
    place = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    parts = (None, confidence, hit, confidence * (1 - confidence), np.square(hit - confidence))
    return np.array([np.bincount(place, part, minlength=N_BINS) for part in parts], np.float64)


def _calibration_errors(bins: Floats) -> dict[str, Any]:
    """Return the expected calibration error, its interval by the delta method, and what chance alone makes of it."""
    n = bins[_ROWS].sum()
    if not n:
        return {"ece": Estimate(math.nan).to_json(), "ece_by_chance": None}
    ece = np.abs(bins[_HITS] - bins[_CONFIDENCE]).sum() / n
    error = math.sqrt(max(0.0, bins[_GAPS].sum() / n - ece**2) / n)
    chance = np.sqrt(2 / math.pi * np.maximum(bins[_CHANCE], 0)).sum() / n
    return {"ece": normal(ece, error, least=0.0, most=1.0).to_json(), "ece_by_chance": finite(chance)}


def _reliability(bins: Floats) -> list[dict[str, Any]]:
    """Return the bins that hold rows, each with the share of hits and its interval."""
    return [
        {
            "from": round(i / N_BINS, 6),
            "to": round((i + 1) / N_BINS, 6),
            "n": int(bins[_ROWS, i]),
            "confidence": float(bins[_CONFIDENCE, i] / bins[_ROWS, i]),
            "share": wilson(bins[_HITS, i], bins[_ROWS, i]).to_json(),
        }
        for i in range(N_BINS)
        if bins[_ROWS, i]
    ]


def _score_histogram(p: Array, truth: Ints) -> Ints:
    """Return rows by class and log-odds of the second class, `(2, N_SCORE_BINS)`."""
    clipped = np.clip(p.astype(np.float64), CLIP, 1 - CLIP)
    odds = np.log(clipped / (1 - clipped))
    place = np.clip(np.floor(odds * _BINS_PER_UNIT) + N_SCORE_BINS // 2, 0, N_SCORE_BINS - 1).astype(np.int64)
    return np.bincount(truth * N_SCORE_BINS + place, minlength=2 * N_SCORE_BINS).reshape(2, -1)


def _roc_auc(histogram: Ints) -> dict[str, Any]:
    negative, positive = histogram.astype(np.float64)
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return {**Estimate(math.nan).to_json(), "binning": None}
    half_ties = (positive * negative).sum() / 2 / pairs
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    auc = (positive * below).sum() / pairs + half_ties
    return {**hanley_mcneil(auc, positive.sum(), negative.sum()).to_json(), "binning": finite(half_ties)}
