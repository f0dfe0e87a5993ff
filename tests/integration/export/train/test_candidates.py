"""Candidates on disk, with a real exported member."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from widedeep.export.convert import convert
from widedeep.export.member import Member
from widedeep.export.train.candidates import About, keep_candidate, keep_member, read_candidate, read_candidates

ABOUT = About("linear", "wide", 3, {"c": 0.1}, 0.25, {"n_rounds": 7}, history={"validation loss": (1.0, 0.5)})
SCORES = np.full((150, 3), 1 / 3)


@pytest.fixture(scope="module")
def member() -> Member:
    rows, labels = load_iris(return_X_y=True)
    return convert(LogisticRegression(max_iter=500).fit(rows, labels), rows)


def test_a_candidate_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    kept = keep_candidate(tmp_path, ABOUT, SCORES)
    (again,) = read_candidates(tmp_path)
    assert again == kept
    assert again.about == ABOUT
    assert not again.is_exported
    np.testing.assert_array_equal(again.scores(), SCORES)


def test_an_exported_candidate_has_its_member_and_what_it_costs(member: Member, tmp_path: Path) -> None:
    kept = keep_member(
        keep_candidate(tmp_path, ABOUT, SCORES), member, latency_us=1.5, importance={"petal": 1.0}, history={}
    )
    again = read_candidate(tmp_path, "linear_3")
    assert again == kept
    assert again.is_exported
    assert again.about.latency_us == 1.5
    assert again.member() == member
    np.testing.assert_array_equal(again.scores(), SCORES)


def test_what_a_killed_run_left_half_written_is_passed_over(tmp_path: Path) -> None:
    keep_candidate(tmp_path, ABOUT, SCORES)
    (tmp_path / "candidates" / ".half").mkdir()
    assert [candidate.about.name for candidate in read_candidates(tmp_path)] == ["linear_3"]


def test_a_trial_that_is_run_again_replaces_its_candidate(tmp_path: Path) -> None:
    keep_candidate(tmp_path, ABOUT, SCORES)
    keep_candidate(tmp_path, ABOUT, SCORES / 2 + 1 / 6)
    (again,) = read_candidates(tmp_path)
    np.testing.assert_allclose(again.scores(), SCORES / 2 + 1 / 6)
