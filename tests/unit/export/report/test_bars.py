import pytest
from report_evidence import parse
from widedeep.export.report.bars import bars, bounds_of, strip


def test_a_bar_is_as_long_as_its_share_and_never_longer_than_its_track() -> None:
    root = parse(bars([("a", 0.25, "25 %", "wide"), ("b", 1.5, "150 %", "deep")], title="Shares").text)

    widths = [rect.get("width") for rect in root.iter("rect")]
    assert widths == ["100", "25", "100", "100"]


def test_a_strip_draws_its_interval_only_where_there_is_one() -> None:
    whole = {"value": 0.5, "low": 0.4, "high": 0.6}

    assert strip(whole, (0.0, 1.0), "wide", "x").text.count("whisker") == 1
    assert "whisker" not in strip({"value": 0.5, "low": None, "high": None}, (0.0, 1.0), "wide", "x").text


def test_one_value_far_away_does_not_squeeze_the_others() -> None:
    near = [{"value": 1.0 + 0.1 * i, "low": 0.9 + 0.1 * i, "high": 1.1 + 0.1 * i} for i in range(3)]

    low, high = bounds_of([*near, {"value": 100.0, "low": 90.0, "high": 110.0}])

    assert low == pytest.approx(0.9)
    assert 1.3 < high < 5
    assert bounds_of(near) == pytest.approx((0.9, 1.3))
