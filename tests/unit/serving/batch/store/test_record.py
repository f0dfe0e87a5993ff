"""Which tasks are done, with their counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.batch.store.record import Record, Totals
from widedeep.serving.batch.task import TaskResult

RESULTS = st.lists(
    st.builds(
        lambda task, scored, rejected: TaskResult(task, scored + rejected, scored, rejected),
        st.integers(0, 9),
        st.integers(0, 100),
        st.integers(0, 100),
    )
)


@given(RESULTS)
def test_the_totals_are_the_sums_over_the_latest_result_of_each_task(results: list[TaskResult]) -> None:
    record = Record(10)
    for place, result in enumerate(results):
        record.add(result, place)
    latest = {result.task: (place, result) for place, result in enumerate(results)}
    assert record.totals == Totals(
        len(latest),
        sum(result.n_in for _, result in latest.values()),
        sum(result.n_scored for _, result in latest.values()),
        sum(result.n_rejected for _, result in latest.values()),
    )
    assert [task for task in range(10) if record.is_done(task)] == sorted(latest)
    places = [place for place, result in enumerate(results) if record.is_latest(result.task, place)]
    assert places == sorted(place for place, _ in latest.values())


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (TaskResult(0, error="it broke"), "it broke"),
        (TaskResult(2), "no task 2 among 2"),
        (TaskResult(0, 3, 2, 0), "3 rows in are not 2 scored"),
        (TaskResult(0, 0, 1, -1), "0 rows in are not 1 scored"),
    ],
)
def test_a_result_that_cannot_be_is_refused(result: TaskResult, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Record(2).add(result, 0)
