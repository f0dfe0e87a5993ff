"""The loop with real worker processes, and in this process where the study is in memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from search_objectives import SPACE, Deadly, Slow, Unloadable, die, evaluate, fail, fail_often, loss_of
from widedeep.export.search.loop import Limits, SearchError, StudySpec, search, work
from widedeep.export.search.study import Study
from widedeep.export.search.trial import Measured, Trial


def spec(path: Path | None, **options: object) -> StudySpec:
    return StudySpec(path, "study", SPACE, **{"sampler": "random", "pruner": "none", **options})  # type: ignore[arg-type]


def record(spec: StudySpec) -> tuple[Trial, ...]:
    with spec.open() as study:
        return study.trials()


def test_workers_share_the_trials_of_one_study(tmp_path: Path) -> None:
    ours = spec(tmp_path / "studies.sqlite")
    search(ours, evaluate, n_trials=20, n_workers=2)
    trials = record(ours)
    assert [trial.state for trial in trials] == ["complete"] * 20
    assert all(trial.measured and trial.measured.loss == loss_of(trial.params) for trial in trials)
    with Study.open(None, "study", SPACE, sampler="random") as study:
        expected = [asked.params for asked in (study.ask() for _ in range(20)) if asked]
    assert [trial.params for trial in trials] == expected


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_trial_tried_again(tmp_path: Path) -> None:
    ours = spec(tmp_path / "studies.sqlite")
    search(ours, Deadly(tmp_path, (3, 8)), n_trials=20)
    trials = record(ours)
    died = [trial.params for trial in trials if trial.state == "failed"]
    assert {params["depth"] for params in died} == {3, 8}
    complete = [trial.params for trial in trials if trial.state == "complete"]
    assert len(complete) == 20
    assert all(params in complete for params in died)


def test_a_trial_that_raises_fails_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    ours = spec(tmp_path / "studies.sqlite", seed=1)
    with ours.open() as study:
        work(study, fail_often, Limits(15, float("inf")))
        trials = study.trials()
    assert len(trials) == 15
    for trial in trials:
        odd = int(trial.params["depth"]) % 2
        assert trial.state == ("failed" if odd else "complete")
        assert trial.reason == (f"RuntimeError: no model at depth {trial.params['depth']}" if odd else "")


def test_a_search_whose_first_trials_all_fail_ends_with_the_reason() -> None:
    with pytest.raises(SearchError, match=r"all 5 trials failed; the first: RuntimeError: no model at depth \d"):
        search(spec(None), fail, n_trials=50)


@pytest.mark.slow
def test_a_search_whose_workers_always_die_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"all . trials failed; the first: its process ended"):
        search(spec(tmp_path / "studies.sqlite"), die, n_trials=1)


def test_a_search_in_memory_runs_in_this_process() -> None:
    pids = []

    def note(params: object, report: object) -> object:
        pids.append(os.getpid())
        return evaluate(params, report)  # type: ignore[arg-type]

    search(spec(None), note, n_trials=4)  # type: ignore[arg-type]
    assert pids == [os.getpid()] * 4


def test_no_trial_begins_after_the_time_limit_and_the_running_one_ends() -> None:
    began = []

    def note(params: object, report: object) -> object:
        began.append(time.monotonic())
        time.sleep(0.2)
        return evaluate(params, report)  # type: ignore[arg-type]

    started = time.monotonic()
    search(spec(None), note, time_limit_s=1.0)  # type: ignore[arg-type]
    assert time.monotonic() - started >= 1.0
    assert began
    assert all(each <= started + 1.1 for each in began)


@pytest.mark.slow
def test_trials_that_do_not_end_in_the_time_of_grace_are_cut_off(tmp_path: Path) -> None:
    ours = spec(tmp_path / "studies.sqlite")
    started = time.monotonic()
    search(ours, Slow(600), time_limit_s=15.0, grace_s=0.5)
    assert time.monotonic() - started < 40
    assert [(trial.state, trial.reason) for trial in record(ours)] == [("failed", "out of time")]


def test_a_pruned_trial_ends_at_once(tmp_path: Path) -> None:
    steps = []

    def falls_behind(params: object, report: object) -> object:
        steps.append([0])
        for step in range(3):
            steps[-1].append(step)
            report(step, 1.0 + len(steps))  # type: ignore[operator]
        return Measured(1.0 + len(steps))

    search(spec(None, pruner="median"), falls_behind, n_trials=8)  # type: ignore[arg-type]
    assert [len(each) for each in steps] == [4] * 5 + [2] * 3


@pytest.mark.slow
def test_a_search_whose_workers_cannot_start_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="workers end with exit code 1 before they try anything"):
        search(spec(tmp_path / "studies.sqlite"), Unloadable(), n_trials=1)


@pytest.mark.slow
@pytest.mark.usefixtures("heeds_ctrl_c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_stops_its_workers_and_goes_on_later(number: signal.Signals, tmp_path: Path) -> None:
    ours = spec(tmp_path / "studies.sqlite")

    def interrupt() -> None:
        while not (tmp_path / "studies.sqlite").exists() or not record(ours):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        search(ours, Slow(600), n_trials=3)
    thread.join()
    assert [trial.reason for trial in record(ours)] == ["interrupted (attempt 1 of 5)"]
    search(ours, evaluate, n_trials=3)
    assert [trial.state for trial in record(ours)] == ["failed"] + ["complete"] * 3


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    script = tmp_path / "run_search.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom search_objectives import SPACE, Slow\n"
        "from widedeep.export.search.loop import StudySpec, search\nif __name__ == '__main__':\n"
        "    search(StudySpec(Path(sys.argv[1]), 'study', SPACE), Slow(600), n_trials=3)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    ours = spec(path)
    with subprocess.Popen([sys.executable, str(script), str(path)], env=environment) as process:
        while not path.exists() or not record(ours):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()  # the parent alone
    until = time.monotonic() + 10
    while record(ours)[0].state == "running":
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_search_without_an_end_or_with_several_workers_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="expected n_trials, time_limit_s or both"):
        search(spec(None), evaluate)
    with pytest.raises(ValueError, match="expected 1 worker, got 2"):
        search(spec(None), evaluate, n_trials=1, n_workers=2)
