import math

import pytest
from search_objectives import SPACE, loss_of
from widedeep.export.search.space import Real
from widedeep.export.search.study import Asked, Study, StudyError
from widedeep.export.search.trial import Measured

FIRST = [
    {"rate": 0.5, "share": 0.1, "depth": 2, "rounds": 10, "shape": "flat", "fixed": 3},
    {"rate": 0.2, "share": 0.9, "depth": 9, "rounds": 50, "shape": True, "fixed": 3},
]


def ask(study: Study) -> Asked:
    asked = study.ask()
    assert asked is not None
    return asked


def test_a_trial_is_on_record_from_its_beginning_to_its_end() -> None:
    study = Study.open(None, "study", SPACE)
    asked = ask(study)
    [running] = study.trials()
    assert (running.number, running.params, running.state, running.seconds) == (0, asked.params, "running", 0)
    study.report(0, 0, 0.9)
    study.report(0, 1, 0.8)
    study.tell(0, Measured(0.75, latency_us=2.5, notes={"file": "a.npz"}))
    [trial] = study.trials()
    assert (trial.state, trial.measured) == ("complete", Measured(0.75, 2.5, {"file": "a.npz"}))
    assert trial.steps == {0: 0.9, 1: 0.8}
    assert trial.seconds > 0
    assert study.best() == trial


def test_pruned_and_failed_trials_keep_their_reasons() -> None:
    study = Study.open(None, "study", SPACE)
    study.prune(ask(study).number, "poor at step 1")
    study.fail(ask(study).number, "MemoryError: too deep")
    assert [(trial.state, trial.reason) for trial in study.trials()] == [
        ("pruned", "poor at step 1"),
        ("failed", "MemoryError: too deep"),
    ]
    assert study.best() is None


@pytest.mark.parametrize(("loss", "latency_us"), [(math.nan, 1.0), (math.inf, 1.0), (0.5, math.nan)])
def test_a_trial_whose_figures_are_not_finite_failed(loss: float, latency_us: float) -> None:
    study = Study.open(None, "study", SPACE, objectives=("loss", "latency"))
    study.tell(ask(study).number, Measured(loss, latency_us))
    [trial] = study.trials()
    assert trial.state == "failed"
    assert "nan" in trial.reason or "inf" in trial.reason


def test_latency_must_be_measured_where_it_is_an_objective() -> None:
    study = Study.open(None, "study", SPACE, objectives=("loss", "latency"))
    with pytest.raises(ValueError, match="trial 0: latency is an objective; expected microseconds a row, got none"):
        study.tell(ask(study).number, Measured(0.5))


def test_the_portfolio_is_tried_first_and_in_order() -> None:
    study = Study.open(None, "study", SPACE, first=FIRST)
    asked = [ask(study) for _ in range(4)]
    assert [each.params for each in asked[:2]] == FIRST
    assert all(each.params not in FIRST for each in asked[2:])


def test_a_portfolio_outside_the_space_is_refused() -> None:
    with pytest.raises(ValueError, match="parameter 'depth': expected a whole number from 1 to 12, got 40"):
        Study.open(None, "study", SPACE, first=[FIRST[0] | {"depth": 40}])


def test_no_more_draws_are_handed_out_than_allowed() -> None:
    study = Study.open(None, "study", SPACE)
    assert [study.ask(3) is None for _ in range(5)] == [False, False, False, True, True]


def test_every_draw_has_a_seed_of_its_own() -> None:
    asked = [[ask(study) for _ in range(5)] for study in (Study.open(None, "study", SPACE) for _ in range(2))]
    assert asked[0] == asked[1]
    assert len({each.seed for each in asked[0]}) == 5


def test_an_empty_space_has_one_point() -> None:
    study = Study.open(None, "study", {})
    assert [ask(study).params, ask(study).params] == [{}, {}]


def test_the_front_holds_fast_and_good_trials() -> None:
    study = Study.open(None, "study", SPACE, sampler="random", objectives=("loss", "latency"))
    for _ in range(30):
        asked = ask(study)
        study.tell(asked.number, Measured(loss_of(asked.params), latency_us=float(asked.params["depth"])))
    front = study.front()
    best = study.best()
    assert front[-1] == best
    assert best is not None
    assert len(front) > 1


@pytest.mark.parametrize("end", ["tell", "prune", "fail", "report"])
def test_a_trial_that_does_not_run_cannot_be_ended_or_reported_on(end: str) -> None:
    study = Study.open(None, "study", SPACE)
    study.fail(ask(study).number, "done")
    calls = {
        "tell": lambda number: study.tell(number, Measured(0.5)),
        "prune": lambda number: study.prune(number, ""),
        "fail": lambda number: study.fail(number, ""),
        "report": lambda number: study.report(number, 0, 0.5),
    }
    with pytest.raises(StudyError, match="study 'study': expected trial 0 to be running; it is failed"):
        calls[end](0)
    with pytest.raises(StudyError, match="study 'study' has no trial 7"):
        calls[end](7)


def test_unknown_objectives_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the objectives loss, or loss and latency; got latency"):
        Study.open(None, "study", {"rate": Real(0, 1)}, objectives=("latency",))
