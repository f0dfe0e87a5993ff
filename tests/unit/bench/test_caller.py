import math

import pytest
from peers.caller import percentiles


def test_percentiles_are_values_that_occurred():
    assert percentiles([float(value) for value in range(1, 101)]) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}


def test_the_order_of_values_does_not_matter():
    assert percentiles([3.0, 1.0, 2.0]) == percentiles([1.0, 2.0, 3.0])


def test_one_value_is_every_percentile():
    assert set(percentiles([7.0]).values()) == {7.0}


def test_nothing_has_no_percentiles():
    assert percentiles([]) == {}


@pytest.mark.parametrize("n", [1, 2, 99, 101, 1000])
def test_at_least_the_share_lies_at_or_below_a_percentile(n):
    values = [math.sin(i) for i in range(n)]
    found = percentiles(values)
    assert sum(value <= found["p99"] for value in values) >= 0.99 * n
