import numpy as np
import pytest
from widedeep.export.weights.mean import effective_rows, mean_over_rows, standard_deviation, standard_error

VALUES = np.random.default_rng(0).normal(size=(3, 40))
COUNTS = np.random.default_rng(1).integers(1, 5, size=40)
WEIGHTS = COUNTS.astype(np.float64)


def test_a_mean_with_whole_weights_is_that_of_repeated_rows() -> None:
    repeated = VALUES.repeat(COUNTS, axis=1)
    np.testing.assert_allclose(mean_over_rows(VALUES, WEIGHTS), repeated.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(standard_deviation(VALUES.T, WEIGHTS), repeated.std(axis=1), rtol=1e-12)


def test_without_weights_numpy_alone_decides() -> None:
    assert mean_over_rows(VALUES[0], None) == VALUES[0].mean()
    assert standard_error(VALUES[0]) == VALUES[0].std(ddof=1) / np.sqrt(40)


def test_equal_weights_have_the_error_of_none() -> None:
    assert standard_error(VALUES[0], np.full(40, 3.0)) == pytest.approx(standard_error(VALUES[0]), rel=1e-12)


def test_the_error_of_a_weighed_mean_is_the_spread_of_such_means() -> None:
    rng = np.random.default_rng(2)
    weights = rng.exponential(size=40)
    drawn = rng.normal(size=(4000, 40))
    told = np.mean([standard_error(rows, weights) for rows in drawn])
    assert told == pytest.approx(mean_over_rows(drawn, weights).std(), rel=0.05)


@pytest.mark.parametrize(("weights", "rows"), [([2.0, 2.0, 2.0, 2.0], 4), ([1e9, 1e-9, 1e-9, 1e-9], 1)])
def test_effective_rows_are_all_of_equal_ones_and_one_where_one_outweighs_the_rest(
    weights: list[float], rows: int
) -> None:
    assert effective_rows(4, np.array(weights)) == pytest.approx(rows)
