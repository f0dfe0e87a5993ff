"""How far the inputs of the scored rows are from those that the bundle was made with.

Both are counted in the same cells, see `contract.histograms`; only the counts are compared.

- population stability index (PSI): sum over cells of (now - then) * ln(now / then), of the shares of rows. To each cell
  half a row is added, and a share is at least `LEAST`, so that empty cells weigh, but not without bounds. Missing
  values, those outside the range, and unseen categories have cells of their own.
- Kolmogorov-Smirnov distance (KS) of numeric columns: the largest difference of the two distribution functions at the
  edges of the bins, missing values left out.

`by_chance` is what either exceeds in any column in 5 % of the jobs whose inputs have not drifted, given the numbers of
rows and of columns. A column is flagged only where its PSI is above that, too.

Source: `MODERATE` and `DRIFTED` are customary in credit scoring: Lewis, "An Introduction to Credit Scoring" (1994);
    Siddiqi, "Credit Risk Scorecards" (2006). PSI by chance: Yurdakul and Naranjo, "Statistical properties of the
    population stability index" (2020).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...contract.histograms import (
    ABOVE,
    BELOW,
    MISSING,
    N_TEXT_CELLS,
    UNSEEN,
    Counts,
    Histograms,
    TextHistogram,
    numeric_cells,
)
from ...contract.tensors import Array, TensorSpec
from .intervals import LEVEL, chi_square_quantile, kolmogorov_quantile
from .moments import Floats

LEAST = 1e-4
_ADDED = 0.5

MODERATE, DRIFTED = 0.1, 0.25

_MOST_TOLD = 5
_PREFIX = "input/"


class Drift:
    """Counts inputs in the cells of the bundle's histograms, and reports. Immutable."""

    def __init__(self, specs: Sequence[TensorSpec], histograms: Histograms) -> None:
        """Store what is compared with."""
        self._specs = {spec.name: spec for spec in specs}
        self._histograms = histograms
        self._n_columns = sum(len(numeric.names) for numeric in histograms.numeric.values())
        self._n_columns += sum(map(len, histograms.text.values()))

    def count(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return counts of rows, of every input that has a histogram; a name is the input's, or a text column's."""
        counts: dict[str, Array] = {}
        for name, numeric in self._histograms.numeric.items():
            counts[f"{_PREFIX}{name}"] = numeric.count(numeric_cells(self._specs[name], inputs[name]))
        for name, texts in self._histograms.text.items():
            for i, text in enumerate(texts):
                counts[f"{_PREFIX}{name}/{i}"] = text.count(inputs[name][:, i], self._specs[name])
        return counts

    def report(self, counts: Mapping[str, Array]) -> dict[str, Any]:
        """Return the comparison, the columns that drifted most first; not available where no inputs were counted."""
        if not any(name.startswith(_PREFIX) for name in counts):
            return {"available": False}
        columns: list[dict[str, Any]] = []
        level = 1 - (1 - LEVEL) / max(1, self._n_columns)
        for name, numeric in self._histograms.numeric.items():
            now = counts.get(f"{_PREFIX}{name}", np.zeros_like(numeric.counts))
            columns += [
                {"input": name, "column": numeric.names[i], **_numeric(numeric.counts[i], now[i], level)}
                for i in range(len(numeric.names))
            ]
        for name, texts in self._histograms.text.items():
            for i, text in enumerate(texts):
                now = counts.get(f"{_PREFIX}{name}/{i}", np.zeros_like(text.counts))
                columns.append({"input": name, "column": text.name, **_text(text, now, self._specs[name], level)})
        columns.sort(key=lambda column: (-_RANKS[column["flag"]], -column["psi"]))
        flags = [column["flag"] for column in columns]
        return {
            "available": True,
            "reference_rows": self._histograms.n_rows,
            "flags": {flag: flags.count(flag) for flag in _RANKS},
            "columns": columns,
        }


_RANKS = {"drifted": 2, "moderate": 1, "stable": 0}


def psi(then: Counts, now: Counts, level: float = LEVEL) -> tuple[float, float]:
    """Return the population stability index of two counts of the same cells, and its bound by chance.

    It is 0 where either counts no row.
    """
    n_then, n_now = then.sum(), now.sum()
    if not n_then or not n_now:
        return 0.0, 0.0
    used = (then > 0) | (now > 0)
    p, q = (part[used] + _ADDED for part in (then, now))
    p, q = (np.maximum(part / part.sum(), LEAST) for part in (p, q))
    index = float(((q - p) * np.log(q / p)).sum())
    freedom = int(np.count_nonzero(then)) - 1
    return index, chi_square_quantile(freedom, level) * float(1 / n_then + 1 / n_now)


def ks(then: Counts, now: Counts, level: float = LEVEL) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov distance of two counts of the same ordered cells, and its bound by chance.

    It is 0 where either counts no row. On bins the distance is rather smaller than of the values themselves.
    """
    n_then, n_now = int(then.sum()), int(now.sum())
    if not n_then or not n_now:
        return 0.0, 0.0
    distance = np.abs(np.cumsum(then) / n_then - np.cumsum(now) / n_now).max()
    return float(distance), kolmogorov_quantile(n_then, n_now, level)


def _numeric(then: Counts, now: Counts, level: float) -> dict[str, Any]:
    distance, by_chance = ks(then[BELOW:], now[BELOW:], level)
    n_present = now[BELOW:].sum()
    return {
        **_both("numeric", then, now, level),
        "ks": distance,
        "ks_by_chance": by_chance,
        "outside_range": float((now[BELOW] + now[ABOVE]) / n_present) if n_present else 0.0,
    }


def _text(histogram: TextHistogram, now: Counts, spec: TensorSpec, level: float) -> dict[str, Any]:
    then = histogram.counts
    n_present = now.sum() - now[MISSING]
    shares_then, shares_now = then / max(1, then.sum()), now / max(1, now.sum())
    changes = np.argsort(-np.abs(shares_now - shares_then)[N_TEXT_CELLS:], kind="stable")[:_MOST_TOLD]
    names = list(histogram.values)
    is_known = histogram.knows_all(spec)
    return {
        **_both("text", then, now, level),
        "unseen": None if not is_known else float(now[UNSEEN] / n_present) if n_present else 0.0,
        "changed_most": [
            {"value": names[i], "then": _share(shares_then, i), "now": _share(shares_now, i)} for i in changes
        ],
    }


def _share(shares: Floats, place: int) -> float:
    return float(shares[N_TEXT_CELLS + place])


def _both(kind: str, then: Counts, now: Counts, level: float) -> dict[str, Any]:
    index, by_chance = psi(then, now, level)
    flag = "stable"
    if index >= MODERATE and index > by_chance:
        flag = "drifted" if index >= DRIFTED else "moderate"
    return {
        "kind": kind,
        "flag": flag,
        "psi": index,
        "psi_by_chance": by_chance,
        "missing_then": float(then[MISSING] / max(1, then.sum())),
        "missing_now": float(now[MISSING] / max(1, now.sum())),
    }
