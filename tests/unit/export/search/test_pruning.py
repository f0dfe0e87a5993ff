import math

import pytest
from search_objectives import SPACE
from widedeep.export.search.pruning import PRUNERS
from widedeep.export.search.study import Objective, Study
from widedeep.export.search.trial import Measured

BOTH: tuple[Objective, ...] = ("loss", "latency")


def run(study: Study, losses: list[float]) -> int | None:
    """Run a trial and return the step at which the study would have it stop, if any."""
    asked = study.ask()
    assert asked is not None
    for step, loss in enumerate(losses):
        if study.report(asked.number, step, loss):
            study.prune(asked.number, "poor")
            return step
    study.tell(asked.number, Measured(losses[-1], latency_us=1.0))
    return None


@pytest.mark.parametrize("objectives", [("loss",), BOTH], ids=["loss", "loss and latency"])
def test_the_median_pruner_stops_a_trial_below_the_median_after_five(objectives: tuple[Objective, ...]) -> None:
    study = Study.open(None, "study", SPACE, sampler="random", pruner="median", objectives=objectives)
    assert [run(study, [1.0, loss, loss]) for loss in (0.5, 0.4, 0.6, 0.3, 0.7)] == [None] * 5
    assert run(study, [1.0, 0.9, 0.9]) == 1
    assert run(study, [1.0, 0.4, 0.4]) is None
    assert [trial.state for trial in study.trials()] == ["complete"] * 5 + ["pruned", "complete"]


@pytest.mark.parametrize("objectives", [("loss",), BOTH], ids=["loss", "loss and latency"])
@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_ladders_stop_most_poor_trials_and_never_the_best_so_far(
    pruner: str, objectives: tuple[Objective, ...]
) -> None:
    study = Study.open(None, "study", SPACE, sampler="random", pruner=pruner, objectives=objectives)
    poor = [run(study, [loss] * 9) for loss in (1.0 + number / 20 for number in range(20))]
    assert sum(step is not None for step in poor) > 10
    assert run(study, [0.1] * 9) is None


def test_without_a_pruner_no_trial_stops() -> None:
    study = Study.open(None, "study", SPACE, sampler="random", pruner="none")
    assert [run(study, [loss] * 3) for loss in range(10)] == [None] * 10


@pytest.mark.parametrize("pruner", sorted(PRUNERS))
def test_a_loss_that_is_no_number_stops_a_trial(pruner: str) -> None:
    study = Study.open(None, "study", SPACE, sampler="random", pruner=pruner)
    assert run(study, [math.nan, 1.0]) == 0


def test_an_unknown_pruner_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="expected a pruner of none, median, halving, hyperband; got 'best'"):
        Study.open(None, "study", SPACE, pruner="best")
