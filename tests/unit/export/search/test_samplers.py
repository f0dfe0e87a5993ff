import importlib.util
import subprocess
import sys
from collections.abc import Sequence

import pytest
from search_objectives import SPACE, loss_of
from widedeep.export.search.samplers import SAMPLERS, SamplerMissing, check_sampler
from widedeep.export.search.space import Params, check_params
from widedeep.export.search.study import Objective, Study
from widedeep.export.search.trial import Measured

INSTALLED = [
    pytest.param(
        name, marks=pytest.mark.skipif(not all(map(importlib.util.find_spec, kind.needs[:1])), reason=str(kind.needs))
    )
    for name, kind in SAMPLERS.items()
]
OF_ONE_OBJECTIVE = [name for name, kind in SAMPLERS.items() if kind.objectives == 1]


def tried(sampler: str, n_trials: int, *, objectives: Sequence[Objective] = ("loss",), seed: int = 0) -> list[Params]:
    study = Study.open(None, "study", SPACE, sampler=sampler, objectives=objectives, seed=seed, pruner="none")
    for number in range(n_trials):
        asked = study.ask()
        assert asked is not None
        if number % 7 == 3:
            study.report(asked.number, 0, loss_of(asked.params))
            study.prune(asked.number, "every seventh")
        elif number % 7 == 5:
            study.fail(asked.number, "every seventh")
        else:
            study.tell(asked.number, Measured(loss_of(asked.params), latency_us=float(asked.params["depth"])))
    return [trial.params for trial in study.trials()]


@pytest.mark.parametrize("objectives", [("loss",), ("loss", "latency")], ids=["loss", "loss and latency"])
@pytest.mark.parametrize("sampler", INSTALLED)
def test_a_sampler_stays_inside_the_space_and_repeats_itself_by_seed(
    sampler: str, objectives: Sequence[Objective]
) -> None:
    params = tried(sampler, 25, objectives=objectives)
    for each in params:
        check_params(SPACE, each)
    assert len({tuple(each.items()) for each in params}) == 25
    assert params == tried(sampler, 25, objectives=objectives)
    assert params[:2] != tried(sampler, 2, objectives=objectives, seed=1)


@pytest.mark.parametrize("sampler", [*INSTALLED[1:3], *INSTALLED[5:]])
def test_a_sampler_that_learns_finds_better_than_one_that_does_not(sampler: str) -> None:
    def late(name: str) -> float:
        return sum(loss_of(each) for each in tried(name, 60)[30:]) / 30

    assert late(sampler) < 0.85 * late("random")


def test_a_sampler_of_one_objective_leaves_latency_out_of_account() -> None:
    for sampler in OF_ONE_OBJECTIVE:
        assert tried(sampler, 25) == tried(sampler, 25, objectives=("loss", "latency"))


def test_an_unknown_sampler_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"expected a sampler of random, tpe, .*; got 'best'"):
        check_sampler("best")


@pytest.mark.parametrize(("sampler", "extra"), [("gp", "gp"), ("hyperopt", "hyperopt"), ("cma_es", "train")])
def test_a_sampler_whose_library_is_missing_names_the_extra(
    sampler: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [module, _] = SAMPLERS[sampler].needs
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else real(name))
    with pytest.raises(SamplerMissing, match=rf"sampler '{sampler}' needs {module}, .*'widedeep\[{extra}\]'"):
        check_sampler(sampler)


def test_samplers_are_listed_without_the_libraries_of_their_extras() -> None:
    code = "import sys, widedeep.export.search.samplers; print([m for m in ('torch', 'hyperopt') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "[]\n"
