import math

import pytest
from widedeep.export.report import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.071234, "0.0712"), (12.345, "12.3"), (123456.0, "123,456"),
     (-1.5, "\u22121.50"), (1e-9, "1.00e-09"), (math.nan, "\u2013"), (None, "\u2013")],
)  # fmt: skip
def test_numbers_have_significant_digits(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5000"), (0.00012345, "0.00012"), (53.86234, "53.862"), (math.inf, "\u2013")]
)
def test_losses_have_four_digits_after_the_point_unless_that_says_too_little_or_too_much(
    value: float, text: str
) -> None:
    assert wording.loss(value) == text


def test_a_difference_has_its_sign() -> None:
    assert wording.signed(0.25) == "+0.2500"
    assert wording.signed(-0.25) == "\u22120.2500"


def test_times_have_the_unit_that_suits() -> None:
    assert wording.microseconds(12.0) == "12.0 µs"
    assert wording.microseconds(4200.0) == "4.20 ms"
    assert wording.seconds(59.0) == "59.0 s"
    assert wording.seconds(1200.0) == "20 min"
    assert wording.seconds(9000.0) == "2.5 h"


def test_ticks_of_an_axis_have_equally_many_digits() -> None:
    assert wording.ticks([0.5, 0.75, 1.0]) == ["0.50", "0.75", "1.00"]
    assert wording.ticks([0.0, 2000.0]) == ["0", "2,000"]


def test_accuracy_is_told_in_percent_and_bounds_only_where_there_are_some() -> None:
    assert wording.metric("accuracy", 0.981) == "98.1 %"
    assert wording.interval("accuracy", {"low": 0.9, "high": 0.95}) == "90.0 % to 95.0 %"
    assert wording.interval("log_loss", {"low": None, "high": None}) == ""


def test_cells_say_what_is_missing() -> None:
    assert wording.plain(math.nan) == "missing"
    assert wording.plain(0.25) == "0.25"
    assert wording.plain([64, 32]) == "64 32"


def test_long_text_is_cut() -> None:
    assert wording.shortened("a" * 50, 10) == "a" * 9 + "…"
