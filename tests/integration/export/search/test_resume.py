"""Searches that are killed with SIGKILL and called again, beside ones that nothing disturbs."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from search_objectives import SPACE, Slow, evaluate
from widedeep.export.search.loop import Report, StudySpec, search
from widedeep.export.search.study import Study, StudyError
from widedeep.export.search.trial import Trial

FIRST = ({"rate": 0.5, "share": 0.1, "depth": 2, "rounds": 10, "shape": "flat", "fixed": 3},)
SEARCH = """
import sys
from pathlib import Path
from search_objectives import Slow
from test_resume import spec
from widedeep.export.search.loop import search

if __name__ == "__main__":
    path, sampler, n_trials, n_workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    search(spec(path, sampler), Slow(0.1), n_trials=n_trials, n_workers=n_workers)
"""


def spec(path: Path, sampler: str) -> StudySpec:
    return StudySpec(path, "study", SPACE, sampler=sampler, first=FIRST, pruner="none", seed=7)


def start(path: Path, sampler: str, n_trials: int, n_workers: int) -> "subprocess.Popen[bytes]":
    """Start a search in a process group of its own."""
    script = path.with_name("run_search.py")
    script.write_text(SEARCH)
    tests = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{Path(__file__).parent}"}
    arguments = [str(path), sampler, str(n_trials), str(n_workers)]
    return subprocess.Popen([sys.executable, str(script), *arguments], env=environment, start_new_session=True)


def count(path: Path, state: str) -> int:
    """Return how many trials of a state the file has, whoever is at work on it."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            [[number]] = connection.execute("SELECT count(*) FROM trials WHERE state = ?", (state,))
        connection.close()
    except sqlite3.OperationalError:  # no file or no table yet
        return 0
    return int(number)


def kill_amid_trials(path: Path, sampler: str, n_trials: int, n_workers: int, n_complete: int) -> None:
    """Run the search until some trials are complete and others run, and kill all of its processes."""
    with start(path, sampler, n_trials, n_workers) as process:
        until = time.monotonic() + 60
        while count(path, "COMPLETE") < n_complete or count(path, "RUNNING") < n_workers:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)


def record(path: Path, sampler: str) -> tuple[Trial, ...]:
    with spec(path, sampler).open() as study:
        return study.trials()


def complete(trials: tuple[Trial, ...]) -> list[Trial]:
    return [trial for trial in trials if trial.state == "complete"]


def undisturbed(path: Path, sampler: str, n_trials: int) -> list[Trial]:
    """Return the trials of the same search in one process and in one go."""
    with spec(path, sampler).open() as study:
        for _ in range(n_trials):
            asked = study.ask()
            assert asked is not None
            study.tell(asked.number, evaluate(asked.params, Report(study, asked.number, asked.seed)))
        return complete(study.trials())


@pytest.mark.timeout(400)  # each round starts several processes
@pytest.mark.parametrize(
    ("sampler", "n_workers", "n_rounds"),
    [("random", 2, 1)]
    + [pytest.param(*each, marks=pytest.mark.slow) for each in (("random", 3, 3), ("tpe", 1, 3), ("hyperopt", 1, 2))],
)
def test_a_search_killed_amid_trials_goes_on_with_nothing_lost(
    sampler: str, n_workers: int, n_rounds: int, tmp_path: Path
) -> None:
    n_trials = 14 + 6 * n_rounds
    path = tmp_path / "studies.sqlite"
    kept: list[Trial] = []
    for number in range(n_rounds):
        kill_amid_trials(path, sampler, n_trials, n_workers, 11 + 6 * number)
        trials = record(path, sampler)
        assert all(each in trials for each in kept)
        assert sum(trial.state == "failed" for trial in trials) >= n_workers
        kept = complete(trials)
    search(spec(path, sampler), Slow(0.0), n_trials=n_trials)

    trials = record(path, sampler)
    assert all(each in trials for each in kept)
    assert len(complete(trials)) == n_trials
    assert all("its process ended" in trial.reason for trial in trials if trial.state == "failed")
    expected = [trial.params for trial in undisturbed(tmp_path / "undisturbed.sqlite", sampler, n_trials)]
    found = [trial.params for trial in complete(trials)]
    if n_workers == 1:
        assert found == expected
    else:  # several workers end their trials in any order
        assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_a_draw_that_is_tried_again_has_its_parameters_and_its_seed(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    dead = spec(path, "random").open()
    asked = [dead.ask() for _ in range(3)]
    dead.close()
    with spec(path, "random").open() as study, spec(path, "random").open() as other:
        again = [study.ask(), other.ask(), study.ask()]
        fresh = study.ask()
    assert [(each.params, each.seed) for each in again if each] == [(each.params, each.seed) for each in asked if each]
    assert fresh is not None
    assert fresh.params not in [each.params for each in asked if each]


def test_parameters_that_take_their_process_with_them_are_given_up_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    asked = []
    for _ in range(6):
        study = spec(path, "random").open()
        asked.append(study.ask())
        study.close()
    params = [each.params for each in asked if each]
    assert params[:5] == [params[0]] * 5
    assert params[5] != params[0]


def test_trials_of_living_processes_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    with spec(path, "random").open() as study:
        asked = study.ask()
        assert asked is not None
        with spec(path, "random").open() as other:
            assert other.recover() == 0
            assert [trial.state for trial in other.trials()] == ["running"]
            other.fail(asked.number, "told by another")
        assert study.trials()[0].reason == "told by another"


def test_several_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    def open_and_ask(number: int) -> int:
        with Study.open(tmp_path / "studies.sqlite", f"study {number % 2}", SPACE) as study:
            asked = study.ask()
            study.fail(asked.number if asked else -1, "")
            return asked.number if asked else -1

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(open_and_ask, range(6))) == [0, 0, 1, 1, 2, 2]


def test_several_studies_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    with Study.open(path, "one", SPACE) as one, Study.open(path, "other", {}) as other:
        one.ask()
        other.ask()
        one.ask()
        assert [trial.number for trial in one.trials()] == [0, 1]
        assert [trial.number for trial in other.trials()] == [0]


def test_a_study_on_record_with_another_space_or_other_objectives_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    spec(path, "random").open().close()
    smaller = {name: each for name, each in SPACE.items() if name != "depth"}
    with pytest.raises(StudyError, match="study 'study' on record has another search space: depth differ"):
        Study.open(path, "study", smaller)
    with pytest.raises(StudyError, match="on record searches for loss; asked for is loss and latency"):
        Study.open(path, "study", SPACE, objectives=("loss", "latency"))


def test_the_portfolio_on_record_stands(tmp_path: Path) -> None:
    path = tmp_path / "studies.sqlite"
    spec(path, "random").open().close()
    with Study.open(path, "study", SPACE, sampler="random", seed=7) as study:
        asked = study.ask()
    assert asked is not None
    assert asked.params == FIRST[0]
