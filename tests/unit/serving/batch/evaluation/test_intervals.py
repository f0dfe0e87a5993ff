"""Intervals against published values, other implementations, and simulated draws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from widedeep.serving.batch.evaluation import intervals
from widedeep.serving.batch.evaluation.intervals import Estimate, hanley_mcneil, normal, paired_shares, root, wilson
from widedeep.serving.batch.evaluation.moments import Moments

N_DRAWS = 400
LEAST_COVERED = 0.915
"""Of 400 intervals that cover with 0.95, fewer than 366 cover in one case of 1,000."""


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_shares_have_the_intervals_of_newcombe_1998(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (found.value, found.low, found.high) == pytest.approx((successes / n, low, high), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (99, 100), (5000, 20_000)])
def test_shares_have_the_intervals_of_scipy(successes: int, n: int) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    found = wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_an_area_has_about_the_standard_error_of_the_example_of_hanley_and_mcneil_1982() -> None:
    found = hanley_mcneil(0.893, 51, 58)
    # Theirs, 0.032, takes from the rows what the formula supposes of them.
    assert (found.high - found.low) / (2 * intervals.Z) == pytest.approx(0.032, abs=1e-3)


def test_an_area_has_the_spread_of_areas_that_are_drawn() -> None:
    rng = np.random.default_rng(21)
    areas = [(rng.exponential(4, (80, 1)) > rng.exponential(1, 120)).mean() for _ in range(2000)]
    found = hanley_mcneil(0.8, 80, 120)
    # The spread of 2,000 draws is itself known to 1.6 %.
    assert (found.high - found.low) / (2 * intervals.Z) == pytest.approx(np.std(areas), rel=0.06)


def test_an_area_stays_between_0_and_1() -> None:
    assert hanley_mcneil(0.99, 10, 10).high == 1.0
    assert hanley_mcneil(1.0, 3, 4) == Estimate(1.0, 1.0, 1.0)


def test_nothing_is_known_of_no_rows() -> None:
    for estimate in (wilson(0, 0), hanley_mcneil(math.nan, 0, 3), paired_shares(0.0, 0.0, 0)):
        assert estimate.to_json() == {"value": None, "low": None, "high": None}


def test_no_difference_in_few_rows_is_not_certainty() -> None:
    found = paired_shares(0.0, 0.0, 20)
    assert found.value == 0.0
    assert -0.2 < found.low < -0.05
    assert found.high == -found.low


@pytest.mark.parametrize(("level", "too_large"), [(0.95, 0.01), (0.99995, 0.06)])
@pytest.mark.parametrize("freedom", [1, 2, 5, 19, 40, 102])
def test_the_chi_square_quantile_is_near_that_of_scipy(freedom: int, level: float, too_large: float) -> None:
    ratio = intervals.chi_square_quantile(freedom, level) / stats.chi2.ppf(level, freedom)
    assert 0.99 < ratio < 1 + too_large


@pytest.mark.parametrize("level", [0.95, 0.99995])
def test_the_kolmogorov_quantile_is_near_that_of_scipy(level: float) -> None:
    expected = stats.kstwobign.ppf(level) * np.sqrt(1 / 500 + 1 / 2000)
    assert intervals.kolmogorov_quantile(500, 2000, level) == pytest.approx(expected, rel=1e-3)


Draw = Callable[[np.random.Generator], tuple[Estimate, float]]


def _share(rng: np.random.Generator) -> tuple[Estimate, float]:
    return wilson(rng.binomial(60, 0.93), 60), 0.93


def _mean(rng: np.random.Generator) -> tuple[Estimate, float]:
    found = Moments.of(rng.exponential(size=(1, 500)))
    return normal(found.mean[0, 0], found.standard_error()[0, 0]), 1.0


def _difference_of_shares(rng: np.random.Generator) -> tuple[Estimate, float]:
    difference = rng.choice([-1.0, 0.0, 1.0], p=[0.03, 0.9, 0.07], size=(1, 200))
    found = Moments.of(difference)
    return paired_shares(found.mean[0, 0], found.m2[0, 0], 200), 0.04


def _root_mean_square(rng: np.random.Generator) -> tuple[Estimate, float]:
    found = Moments.of(np.square(rng.normal(scale=3.0, size=(1, 400))))
    return root(found.mean[0, 0], found.standard_error()[0, 0]), 3.0


def _difference_of_roots(rng: np.random.Generator) -> tuple[Estimate, float]:
    shared = rng.normal(size=400)
    first, second = (np.square(shared + rng.normal(scale=scale, size=400)) for scale in (0.5, 1.0))
    found = Moments.of(np.array([first, second, first - second]))
    mean, error = found.mean[0], found.standard_error()[0]
    means, errors = (mean[0], mean[1]), (error[0], error[1])
    return intervals.root_difference(means, errors, error[2]), math.sqrt(1.25) - math.sqrt(2)


def _area(rng: np.random.Generator) -> tuple[Estimate, float]:
    # Of two exponential distributions, for which the formula was made, with rates 4 and 1: the area is 4 / 5.
    positive, negative = rng.exponential(4, 80), rng.exponential(1, 120)
    area = (positive[:, None] > negative).mean()
    return hanley_mcneil(float(area), 80, 120), 0.8


@pytest.mark.parametrize("draw", [_share, _mean, _difference_of_shares, _root_mean_square, _difference_of_roots, _area])
def test_an_interval_covers_the_truth_in_19_of_20_cases(draw: Draw) -> None:
    rng = np.random.default_rng(20)
    covered = [estimate.low <= truth <= estimate.high for estimate, truth in (draw(rng) for _ in range(N_DRAWS))]
    assert LEAST_COVERED <= np.mean(covered) <= 0.985


def test_a_difference_of_the_same_rows_is_known_better_than_one_of_others() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(size=2000)
    first, second = (np.square(shared + rng.normal(scale=scale, size=2000)) for scale in (0.10, 0.12))
    found = Moments.of(np.array([first, second, first - second]))
    mean, error = found.mean[0], found.standard_error()[0]
    paired = intervals.root_difference((mean[0], mean[1]), (error[0], error[1]), error[2])
    unpaired = math.hypot(*(root(mean[i], error[i]).high - root(mean[i], error[i]).value for i in range(2)))
    assert paired.high - paired.value < unpaired / 4
