import time

import numpy as np
import pytest
from widedeep.export.libraries import import_keras
from widedeep.export.zoo.kind import Lesson
from widedeep.export.zoo.problem import Problem
from widedeep.export.zoo.rows import Rows
from widedeep.export.zoo.training import Course, Plan, Units, plan, rate, seeded, train

REGRESSION = Problem("regression", 1, 4)


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [rate(1.0, epoch, 40) for epoch in np.arange(0, 40, 0.5)]
    assert rates[0] == 0.01
    assert max(rates) == 1.0
    assert rates.index(1.0) == 4
    assert sorted(rates[4:], reverse=True) == rates[4:]
    assert rate(1.0, 40, 40) == pytest.approx(0.01)


def test_a_schedule_of_one_epoch_has_a_rate() -> None:
    assert 0 < rate(1.0, 1.0, 1) <= 1


def test_few_rows_are_seen_more_often_in_smaller_batches() -> None:
    few, many = plan(300, 1e-3, 0.0), plan(100_000, 1e-3, 0.0)
    assert few.batch_rows < many.batch_rows
    assert few.epochs > many.epochs


def test_a_regression_is_learned_in_standard_units_and_told_in_its_own() -> None:
    target = np.array([10.0, 20.0, 30.0, 40.0])
    units = Units.of(REGRESSION, target)
    learned = units.learned(target)
    assert learned.mean() == pytest.approx(0, abs=1e-7)
    assert learned.std() == pytest.approx(1)
    assert units.loss(np.zeros((4, 1)), learned, np.ones(4, np.float32)) == pytest.approx(target.std())


def test_a_constant_target_has_units() -> None:
    assert Units.of(REGRESSION, np.full(4, 7.0)).learned(np.full(4, 7.0)).tolist() == [[0.0]] * 4


def test_the_log_loss_counts_rows_by_their_weights() -> None:
    units = Units(n_classes=2)
    scores, learned = np.array([[0.9, 0.1], [0.5, 0.5]]), units.learned(np.array([0, 1]))
    assert units.loss(scores, learned, np.array([1.0, 3.0], np.float32)) == pytest.approx(
        (-np.log(0.9) - 3 * np.log(0.5)) / 4
    )


def test_a_score_that_is_not_finite_has_an_infinite_loss() -> None:
    units = Units(n_classes=2)
    assert units.loss(np.full((1, 2), np.nan), units.learned(np.array([0])), np.ones(1, np.float32)) == np.inf


def line(n_rows: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that a line parts."""
    x = np.random.default_rng(0).normal(size=(n_rows, 2)).astype(np.float32)
    return x, (x[:, 0] + x[:, 1] > 0).astype(np.int64)


def trained(lesson: Lesson, x: np.ndarray, epochs: int = 15) -> tuple[Course, np.ndarray]:
    with seeded(lesson.seed) as keras:
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="softmax")])
        course = train(net, [x], Units(n_classes=2), lesson, plan=Plan(0.1, 0.0, 32, epochs, 3))
        return course, np.asarray(net.predict_on_batch(x))


def test_a_net_learns_and_tells_each_epoch_its_loss_on_rows_held_out() -> None:
    x, target = line()
    heard: list[tuple[int, float]] = []
    course, scores = trained(Lesson(Rows(), target, on_step=lambda *step: heard.append(step)), x)
    assert (scores.argmax(axis=1) == target).mean() > 0.9
    assert [step for step, _ in heard] == list(range(len(course.validation)))
    assert [loss for _, loss in heard] == course.validation
    assert course.validation[course.epochs - 1] == min(course.validation)
    assert len(course.training) == len(course.validation)


def test_settled_epochs_are_all_run_of_the_same_schedule_with_nothing_held_out() -> None:
    x, target = line()
    course, _ = trained(Lesson(Rows(), target, settled={"epochs": 2, "planned": 5}), x)
    assert course.settled == {"epochs": 2, "planned": 5}
    assert len(course.training) == 2
    assert course.history.keys() == {"training loss"}


def test_a_training_ends_when_its_time_is_over_and_keeps_what_it_learned() -> None:
    x, target = line()
    course, scores = trained(Lesson(Rows(), target, stop_at=time.monotonic()), x, epochs=1000)
    assert len(course.training) == 1
    assert np.isfinite(scores).all()


def test_whoever_is_told_of_a_step_can_end_the_training() -> None:
    x, target = line()

    def stop(step: int, _: float) -> None:
        if step == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(Lesson(Rows(), target, on_step=stop), x)


def test_rows_without_weight_teach_nothing() -> None:
    x, target = line()
    wrong = target.copy()
    wrong[::2] = 1 - wrong[::2]
    weights = np.where(np.arange(len(target)) % 2 == 0, 1e-9, 2.0)
    _, scores = trained(Lesson(Rows(), wrong, weights), x)
    assert (scores.argmax(axis=1) == target).mean() > 0.9


def test_the_seeds_of_numpy_are_as_before() -> None:
    np.random.seed(5)  # noqa: NPY002 - the old generator is what Keras seeds
    expected = np.random.random()  # noqa: NPY002 - as above
    np.random.seed(5)  # noqa: NPY002 - as above
    with seeded(1):
        import_keras().random.uniform((1,))
    assert np.random.random() == expected  # noqa: NPY002 - as above


def test_the_schedule_ends_when_the_time_does() -> None:
    x, target = line(2048)
    course, _ = trained(Lesson(Rows(), target, stop_at=time.monotonic() + 3), x, epochs=100_000)
    assert course.planned < 100_000
    assert len(course.training) <= course.planned
