"""Confidence intervals of 95 %, and what chance alone makes of two equal distributions. Pure functions."""

import math
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95
_STANDARD = NormalDist()
Z = _STANDARD.inv_cdf((1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its interval; NaN where too few rows tell it."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Return the JSON form; NaN becomes null."""
        return {name: finite(getattr(self, name)) for name in ("value", "low", "high")}


def finite(value: float) -> float | None:
    """Return a number as JSON has it, None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def normal(value: float, standard_error: float, *, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """Return the interval of what is normally distributed with a known standard error, cut to what is possible."""
    if math.isnan(standard_error):
        return Estimate(value)
    return Estimate(value, max(least, value - Z * standard_error), min(most, value + Z * standard_error))


def wilson(successes: float, n: float) -> Estimate:
    """Return the share of successes with Wilson's score interval.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    if n <= 0:
        return Estimate(math.nan)
    share = successes / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def paired_shares(mean: float, m2: float, n: int) -> Estimate:
    """Return the difference of two shares of the same rows.

    Args:
        mean: mean of the rows' differences, each -1, 0 or 1.
        m2: their sum of squared deviations.
        n: rows.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions" (2005): half a row
        is added to each of the four cases, so that few differences do not look like certainty.
    """
    if n <= 0:
        return Estimate(math.nan)
    differing = m2 + n * mean * mean
    centre = n * mean / (n + 2)
    spread = max(0.0, differing + 1 - (n * mean) ** 2 / (n + 2))
    half = Z * math.sqrt(spread) / (n + 2)
    return Estimate(mean, min(mean, max(-1.0, centre - half)), max(mean, min(1.0, centre + half)))


def hanley_mcneil(auc: float, n_positive: float, n_negative: float) -> Estimate:
    """Return an area under the ROC curve with its interval.

    Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve"
        (1982).
    """
    if n_positive <= 0 or n_negative <= 0:
        return Estimate(math.nan)
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc * auc) + (n_negative - 1) * (q2 - auc * auc)
    return normal(auc, math.sqrt(max(0.0, variance) / (n_positive * n_negative)), least=0.0, most=1.0)


def root(mean: float, standard_error: float) -> Estimate:
    """Return the square root of a mean of squares, its interval by the delta method."""
    value = math.sqrt(mean)
    return normal(value, standard_error / (2 * value) if value else 0.0, least=0.0)


def root_difference(means: tuple[float, float], errors: tuple[float, float], error_of_difference: float) -> Estimate:
    """Return the difference of two root mean squares of the same rows, its interval by the delta method.

    Args:
        means: the two means of squares.
        errors: their standard errors.
        error_of_difference: standard error of the mean of the rows' differences, which tells how they go together.
    """
    first, second = (math.sqrt(mean) for mean in means)
    if not first or not second:
        return Estimate(first - second)
    covariance = (errors[0] ** 2 + errors[1] ** 2 - error_of_difference**2) / 2
    slopes = 1 / (2 * first), 1 / (2 * second)
    variance = (slopes[0] * errors[0]) ** 2 + (slopes[1] * errors[1]) ** 2 - 2 * slopes[0] * slopes[1] * covariance
    return normal(first - second, math.nan if math.isnan(variance) else math.sqrt(max(0.0, variance)))


def chi_square_quantile(freedom: int, level: float) -> float:
    """Return what a chi-squared variable stays below with probability `level`.

    It is right to 1 % at 0.95; far in the tail it may be too large by 6 %, with few degrees of freedom.

    Source: Wilson and Hilferty, "The distribution of chi-square" (1931).
    """
    if freedom <= 0:
        return 0.0
    if freedom == 1:
        return _STANDARD.inv_cdf((1 + level) / 2) ** 2
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _STANDARD.inv_cdf(level) * math.sqrt(part)) ** 3)


def kolmogorov_quantile(n_first: float, n_second: float, level: float) -> float:
    """Return what the Kolmogorov-Smirnov distance of two samples of one distribution stays below at least as often.

    Source: the first term of the limit distribution, Smirnov, "Table for estimating the goodness of fit of empirical
        distributions" (1948).
    """
    return math.sqrt(-math.log((1 - level) / 2) / 2 * (1 / n_first + 1 / n_second))
