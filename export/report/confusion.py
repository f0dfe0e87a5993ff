"""The confusion matrix, and of many classes the pairs that are confused most often."""

from collections import Counter

import numpy as np

from ...serving.contract.tensors import Array
from .evidence import Evidence
from .heatmap import MAX_SIDE, heatmap
from .markup import Content, Html, group
from .section import Absent, Section, figure, note, side_by_side, table
from .wording import METRIC_NAMES, percent

_MAX_PAIRS = 15


def confusion(evidence: Evidence) -> Section | Absent | None:
    """Return the matrix of the ensemble's labels; None for a regression."""
    bundle, judged = evidence.bundle, evidence.judged
    if bundle.task != "classification":
        return None
    if judged is None:
        return Absent("Confusion matrix", "the bundle holds no rows with scores and a truth")
    classes = list(map(str, bundle.classes))
    answered = judged.ensemble.argmax(axis=1)
    n_true = np.bincount(judged.target, minlength=len(classes))
    codes, counts = np.unique(judged.target * len(classes) + answered, return_counts=True)
    places = zip(*(part.tolist() for part in np.divmod(codes, len(classes))), strict=True)
    pairs = Counter(dict(zip(places, counts.tolist(), strict=True)))
    figures: list[Html] = []
    if len(classes) <= MAX_SIDE:
        figures.append(_matrix(pairs, n_true, classes))
    wrong = Counter({pair: n for pair, n in pairs.items() if pair[0] != pair[1]})
    if len(classes) > 2 and wrong:
        rows: list[tuple[Content, ...]] = [
            (classes[truth], classes[label], f"{n:,}", percent(n / n_true[truth]))
            for (truth, label), n in wrong.most_common(_MAX_PAIRS)
        ]
        figures.append(
            figure(
                table(("truth", "answered", "rows", "share of the class"), rows, caption="Confused pairs", numeric=2),
                "",
                title="Confused most often",
            )
        )
    parts: list[Content] = [side_by_side(*figures) if figures else None]
    if not wrong:
        parts.append(note("Every row is labelled right."))
    if len(classes) > MAX_SIDE:
        parts.append(note(f"The matrix of {len(classes):,} classes would not be legible; it is left out."))
    n_wrong = sum(wrong.values())
    lead = (
        f"Rows are true classes, columns the ensemble's answers, on {judged.words}; strength of colour is the share of "
        f"the true class. {n_wrong:,} of {len(answered):,} rows are labelled wrong ({METRIC_NAMES['accuracy']} "
        f"{percent(1 - n_wrong / len(answered))})."
    )
    return Section("confusion", "Confusion matrix", lead, group(parts))


def _matrix(pairs: Counter[tuple[int, int]], n_true: Array, classes: list[str]) -> Html:
    n = len(classes)
    shares = np.zeros((n, n))
    for (truth, label), found in pairs.items():
        shares[truth, label] = found / n_true[truth]
    counted = {(t, a): found for (t, a), found in pairs.items()}
    plot = heatmap(
        shares,
        [f"{name} ({n_true[i]:,})" for i, name in enumerate(classes)],
        classes,
        title="Confusion matrix of the ensemble",
        text=lambda share: percent(share, 0 if share in (0.0, 1.0) or share >= 0.1 else 1),
        row_word="true ",
        column_word="answered ",
        blank_zeros=True,
        is_own=lambda i, j: i != j and (i, j) in counted,
    )
    return figure(plot, "Blue: right. Orange: wrong. In brackets, the rows of each true class.", title="By class")
