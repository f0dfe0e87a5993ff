import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.online.counters import TIME_BOUNDS_NS
from widedeep.serving.online.metrics.numbers import age, count, duration, percent, percentile_ns, rate, size

buckets = st.lists(st.integers(0, 1000), min_size=len(TIME_BOUNDS_NS) + 1, max_size=len(TIME_BOUNDS_NS) + 1)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "\N{EN DASH}"),
        (0, "0.00 µs"),
        (999, "1.00 µs"),
        (12_345, "12.3 µs"),
        (456_789, "457 µs"),
        (1_000_000, "1.00 ms"),
        (2_500_000_000, "2.50 s"),
    ],
)
def test_times_have_three_digits_and_the_unit_that_fits(ns: float | None, text: str) -> None:
    assert duration(ns) == text


def test_counts_rates_sizes_and_parts_are_written_for_people() -> None:
    assert (count(1234567), rate(0), rate(3.14), rate(1234.5)) == ("1,234,567", "0", "3.1", "1,234")
    assert (size(300 << 20), size(None), percent(0.256)) == ("300 MiB", "\N{EN DASH}", "26 %")


def test_ages_have_their_two_largest_units() -> None:
    assert [age(s) for s in (0, 59.9, 61, 3600, 90_061)] == ["0 s", "59 s", "1 min 1 s", "1 h 0 min", "1 d 1 h"]


def test_a_percentile_is_found_within_its_bucket_as_prometheus_does() -> None:
    found = [0] * (len(TIME_BOUNDS_NS) + 1)
    assert percentile_ns(found, 0.5) is None
    found[3] = 100  # 50 to 100 us
    assert percentile_ns(found, 0.5) == 75_000
    found[0] = 100
    assert percentile_ns(found, 0.25) == 5_000
    assert percentile_ns(found, 1.0) == 100_000


def test_what_lies_beyond_all_bounds_is_told_as_the_last_of_them() -> None:
    assert percentile_ns([0] * len(TIME_BOUNDS_NS) + [7], 0.99) == TIME_BOUNDS_NS[-1]


@given(buckets, st.floats(0.01, 1), st.floats(0.01, 1))
def test_percentiles_rise_with_their_part_and_stay_within_the_bounds(counts: list[int], a: float, b: float) -> None:
    low, high = (percentile_ns(counts, part) for part in sorted((a, b)))
    if low is None or high is None:
        assert not any(counts)
    else:
        assert 0 <= low <= high <= TIME_BOUNDS_NS[-1]
