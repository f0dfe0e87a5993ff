import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.export.report.axes import Scale, padded, round_values


def test_a_scale_maps_its_ends_and_keeps_what_lies_outside_at_them() -> None:
    scale = Scale(0.0, 10.0, 100.0, 200.0)

    assert [scale(value) for value in (0.0, 5.0, 10.0, -3.0, 99.0)] == [100.0, 150.0, 200.0, 100.0, 200.0]


def test_a_logarithmic_scale_has_equal_distances_for_equal_ratios() -> None:
    scale = Scale(1.0, 100.0, 0.0, 1.0, is_log=True)

    assert scale(10.0) == pytest.approx(0.5)
    assert scale.ticks() == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0) or scale.ticks() == (1.0, 10.0, 100.0)


def test_a_scale_of_one_value_is_no_division_by_zero() -> None:
    assert Scale(3.0, 3.0, 0.0, 10.0)(3.0) == 5.0
    assert Scale(3.0, 3.0, 0.0, 10.0).ticks() == (3.0,)


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6))
def test_ticks_lie_inside_and_are_neither_none_nor_many(low: float, size: float) -> None:
    high = low + size

    values = round_values(low, high)

    room = 1e-6 * (size + abs(low))
    assert all(low - room <= value <= high + room for value in values)
    assert 2 <= len(values) <= 8


def test_bounds_have_room_around_equal_values_too() -> None:
    low, high = padded([2.0, 2.0])

    assert low < 2.0 < high
    assert padded([0.0])[0] < padded([0.0])[1]
