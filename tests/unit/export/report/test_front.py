from hypothesis import given
from hypothesis import strategies as st
from widedeep.export.report.front import pareto

POINTS = st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1), st.just("x")), min_size=1, max_size=30)


@given(POINTS)
def test_no_point_of_the_front_is_beaten_and_every_other_one_is(points: list[tuple[float, float, str]]) -> None:
    kept = pareto(points)

    def beaten(point: tuple[float, float, str]) -> bool:
        return any(q[0] <= point[0] and q[1] <= point[1] and q[:2] != point[:2] for q in points)

    assert not any(beaten(point) for point in kept)
    assert all(beaten(point) or point in kept for point in points)
