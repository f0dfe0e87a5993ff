import numpy as np
import pytest
from widedeep.export.weights.choice import choose
from widedeep.serving.contract.combiner import Float64Array

N_ROWS = 100
HARDNESS = np.random.default_rng(0).exponential(size=N_ROWS)  # of a row for every learner alike; deviation about 1
SIGN = np.where(np.arange(N_ROWS) % 2, 1.0, -1.0)


def rows(mean: float, spread: float = 0.0) -> Float64Array:
    """Return losses that differ from `HARDNESS` by `mean`, give or take `spread` from row to row."""
    return HARDNESS + mean + spread * SIGN


def test_a_simpler_learner_within_one_standard_error_of_the_best_is_taken() -> None:
    """A spread of 1 over 100 rows is a standard error of 0.1."""
    choice = choose({"single": rows(1), "simple": rows(0.09, 1), "rich": rows(0)}, "single")
    assert (choice.chosen, choice.best) == ("simple", "rich")
    assert choice.standings["simple"].above_best == pytest.approx(0.09)
    assert choice.standings["simple"].above_best_error == pytest.approx(0.1, rel=0.01)


def test_a_simpler_learner_outside_one_standard_error_is_not_taken() -> None:
    assert choose({"single": rows(1), "simple": rows(0.11, 1), "rich": rows(0)}, "single").chosen == "rich"


def test_a_small_but_steady_difference_counts() -> None:
    """The learners' own standard errors are about 0.1; the difference is the same in every row."""
    choice = choose({"single": rows(1), "simple": rows(0.01), "rich": rows(0)}, "single")
    assert choice.standings["rich"].standard_error > 0.05
    assert choice.chosen == "rich"


def test_of_equal_learners_the_simplest_is_taken() -> None:
    choice = choose({"single": rows(0), "simple": rows(0), "rich": rows(0)}, "single")
    assert (choice.chosen, choice.best) == ("single", "single")


def test_a_learner_worse_than_the_best_single_member_is_never_taken() -> None:
    """Uniform is simpler than the baseline here and well within its error of the best, but worse than the baseline."""
    losses = {"uniform": rows(0.06, 2), "single": rows(0.05), "rich": rows(0)}
    assert choose(losses, "single").chosen == "rich"
    assert choose(losses, "uniform").chosen == "uniform"


def test_if_nothing_beats_the_best_single_member_it_is_taken() -> None:
    choice = choose({"single": rows(0), "uniform": rows(0.2), "rich": rows(0.1, 2)}, "single")
    assert choice.chosen == "single"
    assert choice.reason.startswith("single has the lowest cross-validated loss, ")


def test_the_reason_tells_the_numbers_of_the_chosen_the_best_and_the_baseline() -> None:
    flat = {"single": rows(1) - HARDNESS, "simple": rows(0.59, 1) - HARDNESS, "rich": rows(0.5) - HARDNESS}
    assert choose(flat, "single", "log loss").reason == (
        "simple is the simplest learner within one standard error of the lowest cross-validated log loss: 0.59, which"
        " is 0.09 (standard error 0.1) above rich; single has 1"
    )
