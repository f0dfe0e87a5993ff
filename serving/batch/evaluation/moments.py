"""Means and sums of squared deviations that merge: what intervals need of any number of rows, without the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Moments:
    """Of several columns, in several groups of rows. Owned by one thread.

    Attributes:
        n: rows of each group, `(n_groups,)`.
        mean: `(n_groups, n_columns)`; 0 in a group of no rows.
        m2: sums of squared deviations from `mean`, same shape.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """

    n: Ints
    mean: Floats
    m2: Floats

    @classmethod
    def empty(cls, n_groups: int, n_columns: int) -> Self:
        """Return those of no rows."""
        return cls(np.zeros(n_groups, np.int64), np.zeros((n_groups, n_columns)), np.zeros((n_groups, n_columns)))

    @classmethod
    def of(cls, columns: Floats, groups: Ints | None = None, n_groups: int = 1) -> Self:
        """Count rows.

        Args:
            columns: `(n_columns, n_rows)`.
            groups: group of each row, `(n_rows,)`; all are of one by default.
            n_groups: how many groups there are.
        """
        n_columns, n_rows = columns.shape
        if not n_rows:
            return cls.empty(n_groups, n_columns)
        if groups is None:
            mean = columns.mean(axis=1)
            return cls(np.array([n_rows]), mean[None], np.square(columns - mean[:, None]).sum(axis=1)[None])
        out = cls.empty(n_groups, n_columns)
        out.n += np.bincount(groups, minlength=n_groups)
        present = np.flatnonzero(out.n)
        order = np.argsort(groups, kind="stable")
        starts = np.concatenate([[0], np.cumsum(out.n[present])[:-1]])
        ordered = columns[:, order]
        out.mean[present] = (np.add.reduceat(ordered, starts, axis=1) / out.n[present]).T
        ordered -= np.repeat(out.mean[present].T, out.n[present], axis=1)
        out.m2[present] = np.add.reduceat(np.square(ordered), starts, axis=1).T
        return out

    def merge(self, other: "Moments") -> None:
        """Add the rows of another, group by group."""
        n = self.n + other.n
        share = (other.n / np.maximum(n, 1))[:, None]
        delta = other.mean - self.mean
        self.mean = self.mean + delta * share
        self.m2 = self.m2 + other.m2 + np.square(delta) * share * self.n[:, None]
        self.n = n

    def moved(self, places: Sequence[int], n_groups: int) -> "Moments":
        """Return the same rows in other groups: those of group `i` in group `places[i]`, where several may meet."""
        out = Moments.empty(n_groups, self.mean.shape[1])
        for i, place in enumerate(places):
            one = Moments.empty(n_groups, self.mean.shape[1])
            one.n[place], one.mean[place], one.m2[place] = self.n[i], self.mean[i], self.m2[i]
            out.merge(one)
        return out

    def variance(self) -> Floats:
        """Return the sample variances `(n_groups, n_columns)`, NaN in groups of fewer than two rows."""
        return self.m2 / np.where(self.n > 1, self.n - 1.0, np.nan)[:, None]

    def standard_error(self) -> Floats:
        """Return the standard errors of the means, NaN in groups of fewer than two rows."""
        return np.sqrt(self.variance() / np.maximum(self.n, 1)[:, None])
