import time

import pytest
from widedeep.export.zoo.boosting import Watch, least_rows, most_rounds, patience
from widedeep.export.zoo.problem import Problem


def problem(n_outputs: int) -> Problem:
    return Problem(task="classification", n_outputs=n_outputs, n_rows=1000, numeric=("x",))


def test_a_watch_ends_after_as_many_rounds_without_a_lower_loss() -> None:
    watch = Watch(2, 0.003, float("inf"), lambda *_: None)
    assert [watch.is_over(loss) for loss in (0.9, 0.5, 0.6, 0.7)] == [False, False, False, True]
    assert watch.best == 2


def test_a_watch_waits_for_no_loss_that_falls_by_almost_nothing() -> None:
    watch = Watch(3, 0.003, float("inf"), lambda *_: None)
    assert [watch.is_over(0.5 - i * 1e-6) for i in range(4)] == [False, False, False, True]
    assert watch.best == 4


def test_a_watch_tells_each_round_and_its_loss() -> None:
    heard: list[tuple[int, float]] = []
    watch = Watch(5, 0.003, float("inf"), lambda step, loss: heard.append((step, loss)))
    for loss in (0.9, 0.8):
        watch.is_over(loss)
    assert heard == [(0, 0.9), (1, 0.8)]


def test_a_watch_ends_when_the_time_is_over() -> None:
    assert Watch(5, 0.003, time.monotonic() - 1, lambda *_: None).is_over(None)
    assert not Watch(5, 0.003, time.monotonic() + 60, lambda *_: None).is_over(None)


def test_more_classes_and_larger_trees_leave_fewer_rounds() -> None:
    assert most_rounds(problem(2), 64, 1, 100_000) > most_rounds(problem(10), 64, 1, 100_000)
    assert most_rounds(problem(2), 16, 1, 100_000) > most_rounds(problem(2), 256, 1, 100_000)


def test_leaves_that_few_rows_cannot_fill_are_not_counted() -> None:
    assert most_rounds(problem(3), 256, 10, 200) == most_rounds(problem(3), 20, 10, 200)


@pytest.mark.parametrize(("n_rows", "expected"), [(60, 3), (10_000, 30), (5, 1)])
def test_a_leaf_needs_no_more_than_a_twentieth_of_the_rows(n_rows: int, expected: int) -> None:
    assert least_rows(30, n_rows) == expected


def test_smaller_rounds_are_waited_for_longer() -> None:
    assert patience(0.01, "regression") > patience(0.05, "regression") > patience(0.3, "regression")
