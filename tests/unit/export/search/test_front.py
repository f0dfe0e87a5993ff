from hypothesis import given
from hypothesis import strategies as st
from widedeep.export.search.front import best, front, within
from widedeep.export.search.trial import Measured, State, Trial

figures = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 5)), max_size=12)


def trial(number: int, loss: float, latency_us: float | None = None, state: State = "complete") -> Trial:
    return Trial(number, {}, state, Measured(loss, latency_us) if state == "complete" else None)


def dominates(one: Measured, other: Measured) -> bool:
    latencies = [float("inf") if each.latency_us is None else each.latency_us for each in (one, other)]
    no_worse = one.loss <= other.loss and latencies[0] <= latencies[1]
    return no_worse and (one.loss < other.loss or latencies[0] < latencies[1])


def test_the_best_trial_is_the_first_of_least_loss_among_those_complete() -> None:
    trials = [trial(0, 0.3), trial(1, 0.0, state="pruned"), trial(2, 0.2), trial(3, 0.2), trial(4, 0, state="failed")]
    assert best(trials) is trials[2]
    assert best(trials[:0]) is None


@given(figures)
def test_the_front_is_what_no_other_trial_dominates_and_covers_the_rest(pairs: list[tuple[int, int | None]]) -> None:
    trials = [trial(number, *pair) for number, pair in enumerate(pairs)]
    kept = front(trials)
    measured = [each.measured for each in kept if each.measured]
    assert not any(dominates(each.measured, other) for each in trials for other in measured if each.measured)
    for each in trials:
        assert each.measured is not None
        assert any(other == each.measured or dominates(other, each.measured) for other in measured)


def test_the_front_runs_from_the_fastest_to_the_one_of_least_loss() -> None:
    trials = [trial(0, 0.1, 9), trial(1, 0.3, 1), trial(2, 0.2, 4), trial(3, 0.25, 5), trial(4, 0.2, 4)]
    assert [each.number for each in front(trials)] == [1, 2, 0]


def test_trials_within_a_budget_are_those_measured_to_be_fast_enough() -> None:
    trials = [trial(0, 0.1, 9), trial(1, 0.3, 3), trial(2, 0.1), trial(3, 0, state="pruned")]
    assert within(trials, 3) == (trials[1],)
