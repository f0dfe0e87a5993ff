import os
import sys
from pathlib import Path

import numpy as np
import pytest
from accuracy_board import Board
from accuracy_jobs import Job, JobError, as_target, difference, loss, row_losses, run
from accuracy_report import write_report
from accuracy_results import Results
from accuracy_sets import SETS

ABOUT = {"versions": {"library": "1.0"}, "trials": 3, "combiner": "mean", "used": ["trees"]}


def line(name, system, found, **more):
    return {
        "set": name,
        "split": 0,
        "system": system,
        "limit_s": 60.0,
        "core": 0,
        "loss": found,
        "parts": {"best_member": 2 * found} if system == "widedeep" else {},
        "fit_s": 50.0,
        "fit_cpu_s": 49.0,
        "peak_mib": 500.0,
        "us_per_row": {batch: {"cpu": 10.0 if system == "widedeep" else 70.0} for batch in ("big", "small")},
        "about": ABOUT,
        **dict.fromkeys(("n_train", "n_test", "n_numbers", "n_words", "n_missing", "n_classes"), 4),
        **more,
    }


def add(results, name, **rows_of):
    for system, given in rows_of.items():
        rows = np.array(given)
        results.keep_rows(f"{name}-0", system, rows)
        results.add(line(name, system, loss(rows, SETS[name].task)))


@pytest.fixture
def results(tmp_path):
    results = Results(tmp_path)
    results.note_machine({"processor": "one of its kind"})
    return results


def test_the_log_loss_of_a_row_stays_finite_where_its_class_had_no_probability():
    scores = np.array([[1.0, 0.0], [0.25, 0.75]])
    assert row_losses(scores, np.array([1, 1])) == pytest.approx([-np.log(1e-6), -np.log(0.75)], rel=1e-5)


def test_a_target_of_words_becomes_places_among_the_classes_and_numbers_stay():
    assert as_target(["b", "a"], ("a", "b")).tolist() == [1, 0]
    assert as_target([2, 3], ()).dtype == np.float64


def test_the_error_of_a_difference_of_root_mean_squares_is_that_of_resampled_rows():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(2, 400)) * [[1.0], [1.3]]
    squares = errors**2
    draws = rng.integers(0, 400, (4000, 400))
    resampled = np.sqrt(squares[0][draws].mean(1)) - np.sqrt(squares[1][draws].mean(1))
    change, error = difference(squares[0], squares[1], "regression")
    assert change == pytest.approx(np.sqrt(squares[0].mean()) - np.sqrt(squares[1].mean()))
    assert error == pytest.approx(resampled.std(), rel=0.1)


def test_the_error_of_a_difference_of_log_losses_is_that_of_the_paired_rows():
    a, b = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.7])
    assert difference(a, b, "binary") == pytest.approx((0.1 / 3, np.std(a - b, ddof=1) / np.sqrt(3)))


def test_systems_are_ranked_on_each_set_and_differences_are_counted_in_standard_errors(results):
    add(results, "oj", widedeep=[0.1, 0.2, 0.3, 0.4], voting=[0.2, 0.3, 0.5, 0.6])
    add(results, "chile", widedeep=[0.9, 0.2, 0.9, 0.4], voting=[0.1, 0.9, 0.1, 0.9])
    board = Board(results)
    assert board.mean_rank("widedeep") == 1.5
    assert board.worse("voting") == ["oj"]
    assert board.standings["oj"]["voting"].errors_above == pytest.approx(
        0.15 / (np.std([0.1, 0.1, 0.2, 0.2], ddof=1) / 2)
    )
    assert board.worse("widedeep") == []


def test_a_set_that_one_system_has_not_finished_is_left_out_for_all(results):
    add(results, "oj", widedeep=[0.1, 0.2], voting=[0.2, 0.3])
    add(results, "chile", widedeep=[0.1, 0.2])
    assert Board(results).sets == ["oj"]
    assert Board(results).left_out == [("chile", 0)]


def test_results_of_two_time_limits_are_not_compared(results):
    add(results, "oj", widedeep=[0.1, 0.2], autogluon_best=[0.2, 0.3])
    results.add(line("oj", "autogluon_best", 0.2, limit_s=20.0))
    with pytest.raises(ValueError, match=r"one time limit, found \[20.0, 60.0\]"):
        Board(results)


def test_what_is_finished_is_found_again_unless_it_had_too_little_of_its_core(results, tmp_path):
    add(results, "oj", widedeep=[0.1, 0.2])
    results.add({"set": "oj", "split": 0, "system": "voting", "error": "status 1"})
    again = Results(tmp_path)
    assert again.has("oj", 0, "widedeep", 0.9)
    assert not again.has("oj", 0, "widedeep", 0.99)
    assert not again.has("oj", 0, "voting", 0.0)


def test_two_runs_cannot_have_one_folder(results, tmp_path):
    with results.claimed(), pytest.raises(BlockingIOError), Results(tmp_path).claimed():
        pass


def test_a_failure_does_not_replace_a_result(results):
    add(results, "oj", widedeep=[0.1, 0.2])
    results.add({"set": "oj", "split": 0, "system": "widedeep", "error": "status 1"})
    assert results.has("oj", 0, "widedeep", 0.0)


def test_the_page_says_which_aims_were_met_and_on_which_sets_not(results, tmp_path):
    rows = np.linspace(0.1, 0.5, 40)
    add(results, "oj", widedeep=rows, autogluon_best=rows + np.resize([0.1, 0.2], 40))
    add(results, "wage", widedeep=rows + np.resize([0.1, 0.2], 40), autogluon_best=rows)
    write_report(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "The best mean rank: **short**, 1.50; next is AutoGluon best with 1.50." in page
    assert "**short**, worse on 1 of 2: wage by" in page
    assert "met in one big batch, 7.0 times in the mean (7.0 to 7.0)" in page
    assert "wage (RMSE)" in page


def test_a_system_that_fails_is_an_error_with_its_last_words(tmp_path):
    core = min(os.sched_getaffinity(0))
    job = Job("none", "binary", "y", ("a", "b"), tmp_path / "no.parquet", tmp_path / "no", tmp_path / "work", 1.0, core)
    with pytest.raises(JobError, match=r"status 1: .*no\.parquet"):
        run(job, Path(sys.executable))
