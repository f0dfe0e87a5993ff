import json
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from threadpoolctl import threadpool_limits
from widedeep.export.weights import Learner, Selection, learn, learners_for
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.learner import MeanOf, fit
from widedeep.export.weights.linear import fit_simplex, fit_uniform
from widedeep.serving.contract.combiner import LinearPool, MeanPool, combiner_from_json
from widedeep.serving.contract.tensors import Array

Make = Callable[..., HeldOut]
NAMES = ("deep", "wide", "linear")


def named(held_out: HeldOut) -> Mapping[str, Array]:
    return dict(zip(NAMES, held_out.scores, strict=False))


@pytest.fixture(scope="module")
def held_out(make_classification: Make) -> HeldOut:
    return make_classification(n_rows=400)


@pytest.fixture(scope="module")
def selection(held_out: HeldOut) -> Selection:
    return learn(named(held_out), held_out.target)


def test_every_learner_of_the_task_is_fitted_and_judged(selection: Selection) -> None:
    names = [learner.name for learner in learners_for("classification", 3, 3)]
    assert list(selection.results) == list(selection.combiners) == names
    assert selection.combiner is selection.combiners[selection.chosen]
    assert selection.chosen in selection.reason


def test_the_choice_is_no_worse_than_the_best_single_member(selection: Selection) -> None:
    results = selection.results
    assert results[selection.chosen]["log_loss"] <= results["best_single"]["log_loss"]
    assert results[selection.chosen]["above_best"] <= results[selection.chosen]["above_best_error"]
    assert min(result["above_best"] for result in results.values()) == 0


def test_the_selection_survives_json(selection: Selection, held_out: HeldOut) -> None:
    data = selection.to_json()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data) >= {"chosen", "reason", "members", "results", "diversity"}
    assert list(data["members"]) == list(NAMES)
    for combiner in selection.combiners.values():
        again = combiner_from_json(json.loads(json.dumps(combiner.to_json())))
        np.testing.assert_array_equal(again(held_out.scores), combiner(held_out.scores))


def test_the_same_arguments_give_the_same_result_on_any_number_of_threads(
    selection: Selection, held_out: HeldOut
) -> None:
    with threadpool_limits(limits=1):
        again = learn(named(held_out), held_out.target)
    assert again.to_json() == selection.to_json()
    assert {name: c.to_json() for name, c in again.combiners.items()} == {
        name: c.to_json() for name, c in selection.combiners.items()
    }


def test_learners_are_judged_on_rows_that_they_were_not_fitted_on(held_out: HeldOut) -> None:
    """Learners keep the rows that they are given; no row may be answered by a combiner fitted on it."""
    fitted_on: list[set[bytes]] = []
    judged: list[bytes] = []

    class Spy(LinearPool):
        def __call__(self, scores: Array) -> Array:
            if len(fitted_on) <= 5:  # the last one, on all rows, is not judged
                rows = [row.tobytes() for row in scores.transpose(1, 0, 2)]
                assert not fitted_on[-1] & set(rows)
                judged.extend(rows)
            return super().__call__(scores)

    def spying_fit(part: HeldOut, _: int) -> LinearPool:
        fitted_on.append({row.tobytes() for row in part.scores.transpose(1, 0, 2)})
        return Spy(np.ones(3))

    learn(named(held_out), held_out.target, learners=[Learner("spy", spying_fit)])
    assert len(judged) == len(set(judged)) == held_out.n_rows
    assert len(fitted_on[-1]) == held_out.n_rows


def test_the_best_single_member_is_found_anew_in_each_fold() -> None:
    """Two members, each right on the half of the rows where the other is wrong.

    They are level on all rows, so the one that looks better on four folds is the worse one on the fifth.
    """
    target = np.arange(200) % 2
    right = np.where(np.random.default_rng(0).permutation(200) < 100, 0.9, 0.1)
    chances = [np.where(target == 1, p, 1 - p) for p in (right, 1 - right)]
    scores = {name: np.stack([1 - p, p], axis=1) for name, p in zip(("a", "b"), chances, strict=True)}
    selection = learn(scores, target, learners=[Learner("uniform", fit_uniform)])
    lowest = min(metrics["log_loss"] for metrics in selection.members.values())
    assert selection.results["best_single"]["log_loss"] > lowest + 0.01
    assert selection.chosen == "uniform"


def test_one_member_is_enough(make_classification: Make) -> None:
    held_out = make_classification((0.5,), n_rows=200)
    selection = learn({"deep": held_out.scores[0]}, held_out.target)
    assert selection.combiner.n_members == 1
    assert selection.diversity["error_correlation"] == {"deep": {"deep": 1.0}}


def test_a_class_rarer_than_the_folds_is_no_trouble(make_classification: Make) -> None:
    held_out = make_classification(n_rows=300, n_classes=4)
    rare = np.flatnonzero(held_out.target == 3)
    kept = held_out.take(np.setdiff1d(np.arange(300), rare[2:]))
    selection = learn(named(kept), kept.target)
    for combiner in selection.combiners.values():
        assert np.isfinite(combiner(kept.scores)).all()


def test_rows_of_a_single_class_are_no_trouble(make_classification: Make) -> None:
    held_out = make_classification(n_rows=100)
    selection = learn(named(held_out), np.zeros(100, np.int64))
    assert all(np.isfinite(result["log_loss"]) for result in selection.results.values())


def test_a_regression_is_chosen_among_its_own_learners(make_regression: Make) -> None:
    held_out = make_regression()
    selection = learn(named(held_out), held_out.target[:, 0], task="regression")
    assert "nnls" in selection.combiners
    assert "log_pool" not in selection.combiners
    assert list(selection.results["nnls"])[:3] == ["rmse", "standard_error", "mae"]
    assert selection.results[selection.chosen]["rmse"] <= selection.results["best_single"]["rmse"]
    assert "squared error" in selection.reason
    json.dumps(selection.to_json(), allow_nan=False)


def test_units_of_an_output_do_not_change_the_weights(make_regression: Make) -> None:
    held_out = make_regression(n_outputs=2)
    units = np.array([1000.0, 0.001])
    one = learn(named(held_out), held_out.target, task="regression")
    other = learn({n: s * units for n, s in named(held_out).items()}, held_out.target * units, task="regression")
    assert other.chosen == one.chosen
    for name, combiner in one.combiners.items():
        np.testing.assert_allclose(
            combiner(held_out.scores) * units, other.combiners[name](held_out.scores * units[None, None])
        )


def test_learners_can_be_given_and_the_best_single_member_is_always_compared(held_out: HeldOut) -> None:
    told: list[str] = []
    uniform, simplex = Learner("uniform", fit_uniform), Learner("simplex", fit_simplex)
    selection = learn(named(held_out), held_out.target, learners=[uniform, simplex], on_learner=told.append)
    assert list(selection.combiners) == told == ["best_single", "uniform", "simplex"]


def test_a_mean_learns_its_parts_once_and_averages_them(held_out: HeldOut) -> None:
    calls: list[int] = []

    def counted(part: HeldOut, seed: int) -> LinearPool:
        calls.append(seed)
        return LinearPool(np.array([1.0, 0.0, 0.0]))

    part, uniform = Learner("part", counted), Learner("uniform", fit_uniform)
    fitted: dict[str, object] = {}
    mean = fit(MeanOf("mean", (part, uniform)), held_out, 7, fitted)
    fit(part, held_out, 7, fitted)
    assert calls == [7]
    assert isinstance(mean, MeanPool)
    expected = (held_out.scores[0] + held_out.scores.mean(axis=0)) / 2
    np.testing.assert_allclose(mean(held_out.scores), expected)


def test_stacking_is_left_out_where_it_would_have_too_many_parameters() -> None:
    names = [learner.name for learner in learners_for("classification", 6, 100)]
    assert "stacking" not in names
    assert "average" in names


def test_a_member_with_nan_is_refused_by_name(held_out: HeldOut) -> None:
    scores = {**named(held_out), "wide": np.full((400, 3), np.nan)}
    with pytest.raises(ValueError, match="member 'wide': expected finite scores"):
        learn(scores, held_out.target)


def test_folds_and_names_that_make_no_sense_are_refused(held_out: HeldOut) -> None:
    with pytest.raises(ValueError, match="at least 2 folds, got 1"):
        learn(named(held_out), held_out.target, n_folds=1)
    with pytest.raises(ValueError, match="at least 10 rows"):
        learn(named(held_out.take(np.arange(9))), held_out.target[:9])
    twice = [Learner("uniform", fit_uniform)] * 2
    with pytest.raises(ValueError, match="different names, got uniform, uniform"):
        learn(named(held_out), held_out.target, learners=twice)
