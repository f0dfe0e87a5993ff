"""Laws of row weights, for every learner and the way through."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import check_grad
from widedeep.export.weights import learn, learners_for, metrics_of
from widedeep.export.weights.diversity import diversity_of
from widedeep.export.weights.greedy import select
from widedeep.export.weights.held_out import HeldOut, check_held_out
from widedeep.export.weights.learner import AnyLearner, fit
from widedeep.export.weights.mean import effective_rows
from widedeep.export.weights.per_class import penalized_loss
from widedeep.export.weights.pool_loss import pool_loss
from widedeep.export.weights.stacking import penalized_loss as stacking_loss
from widedeep.serving.contract.tensors import Array

Make = Callable[..., HeldOut]
NAMES = ("deep", "wide", "linear")
CLASSIFIERS = learners_for("classification", 3, 3)
REGRESSORS = learners_for("regression", 3, 2)
TUNED = {"per_class", "average", "stacking"}  # on folds, which repeated rows are not dealt into alike
ROUGHLY = {"log_pool", "temperature_simplex", "log_pool_bias", "greedy"}  # with a prior in rows, or on drawn rows


def counts_of(n_rows: int) -> Array:
    return np.random.default_rng(3).integers(0, 4, size=n_rows)


def weighed(held_out: HeldOut, weights: Array) -> HeldOut:
    scores = dict(zip(NAMES, held_out.scores, strict=True))
    return check_held_out(scores, held_out.target, held_out.task, min_rows=1, weights=weights)


def repeated(held_out: HeldOut) -> HeldOut:
    return held_out.take(np.arange(held_out.n_rows).repeat(counts_of(held_out.n_rows)))


@pytest.fixture(scope="module")
def classified(make_classification: Make) -> HeldOut:
    return make_classification(n_rows=500)


@pytest.fixture(scope="module")
def regressed(make_regression: Make) -> HeldOut:
    return make_regression(n_rows=500, n_outputs=2)


def answer(learner: AnyLearner, held_out: HeldOut, asked: HeldOut) -> Array:
    return fit(learner, held_out, 0, {})(asked.scores)


def agree(learner: AnyLearner, held_out: HeldOut) -> None:
    once = answer(learner, weighed(held_out, counts_of(held_out.n_rows)), held_out)
    often = answer(learner, repeated(held_out), held_out)
    np.testing.assert_allclose(once, often, atol=0.03 if learner.name in ROUGHLY else 1e-4)


@pytest.mark.parametrize(
    "learner", [learner for learner in CLASSIFIERS if learner.name not in TUNED], ids=lambda learner: learner.name
)
def test_a_classification_learner_takes_whole_weights_as_repeated_rows(
    learner: AnyLearner, classified: HeldOut
) -> None:
    agree(learner, classified)


@pytest.mark.parametrize("learner", REGRESSORS, ids=lambda learner: learner.name)
def test_a_regression_learner_takes_whole_weights_as_repeated_rows(learner: AnyLearner, regressed: HeldOut) -> None:
    agree(learner, regressed)


@pytest.mark.parametrize("learner", CLASSIFIERS, ids=lambda learner: learner.name)
def test_weights_move_every_learner_that_has_something_to_learn(learner: AnyLearner, make_classification: Make) -> None:
    one, other = make_classification((0.3, 2.0, 1.0)), make_classification((2.0, 0.3, 1.0), seed=1)
    both = HeldOut(
        np.concatenate([one.scores, other.scores], axis=1),
        np.concatenate([one.target, other.target]),
        "classification",
    )
    first = np.repeat([30.0, 1.0], [one.n_rows, other.n_rows])
    towards = [answer(learner, weighed(both, weights), both) for weights in (first, first[::-1])]
    assert (np.abs(towards[0] - towards[1]).max() > 0.05) == (learner.name != "uniform")


def test_greedy_steps_take_whole_weights_as_repeated_rows(classified: HeldOut) -> None:
    once = pool_loss(weighed(classified, counts_of(classified.n_rows)))
    np.testing.assert_array_equal(select(once, 20), select(pool_loss(repeated(classified)), 20))


@pytest.mark.parametrize("task", ["classified", "regressed"])
def test_losses_metrics_and_diversity_take_whole_weights_as_repeated_rows(
    task: str, request: pytest.FixtureRequest
) -> None:
    held_out: HeldOut = request.getfixturevalue(task)
    once, often = weighed(held_out, counts_of(held_out.n_rows)), repeated(held_out)
    vertices = np.eye(3)
    np.testing.assert_allclose(pool_loss(once)(vertices), pool_loss(often)(vertices), rtol=1e-10)
    np.testing.assert_allclose(pool_loss(once).gradient(vertices[0]), pool_loss(often).gradient(vertices[0]), rtol=1e-9)
    few = metrics_of(held_out.scores[0], held_out.target, held_out.task, counts_of(held_out.n_rows))
    assert few == pytest.approx(metrics_of(often.scores[0], often.target, often.task), rel=1e-10)
    for name, table in diversity_of(often, NAMES).items():
        for member, row in table.items():
            assert diversity_of(once, NAMES)[name][member] == pytest.approx(row, rel=1e-9)


def test_tuned_learners_minimize_what_they_would_with_repeated_rows(classified: HeldOut) -> None:
    once, often = weighed(classified, counts_of(classified.n_rows)), repeated(classified)
    assert once.weights is not None
    n_effective = effective_rows(once.n_rows, once.weights)
    point, centre, flat, zero = np.full(9, 0.4), np.full(9, 0.3), np.linspace(-1, 1, 12), np.zeros(12)

    def stacked(held_out: HeldOut, precision: float) -> tuple[float, Array]:
        logs = np.log(held_out.scores[0])
        return stacking_loss(flat, logs, held_out.target, zero, precision, weights=held_out.weights)

    for scale in (0.1, 1.0):
        few, many = scale * n_effective, scale * often.n_rows
        for found, expected in (
            (penalized_loss(point, once, centre, few), penalized_loss(point, often, centre, many)),
            (stacked(once, few), stacked(often, many)),
        ):
            assert found[0] == pytest.approx(expected[0], rel=1e-10)
            np.testing.assert_allclose(found[1], expected[1], rtol=1e-8, atol=1e-12)


def test_gradients_of_penalized_losses_hold_with_weights(classified: HeldOut) -> None:
    held_out = weighed(classified, counts_of(classified.n_rows))
    point, centre = np.random.default_rng(0).uniform(0.2, 1, size=(2, 9))
    off = check_grad(
        lambda w: penalized_loss(w, held_out, centre, 10.0)[0],
        lambda w: penalized_loss(w, held_out, centre, 10.0)[1],
        point,
    )
    assert off < 1e-5
    features, flat = np.log(held_out.scores[0]), np.random.default_rng(1).normal(size=12)
    off = check_grad(
        *(
            lambda p, i=i: stacking_loss(p, features, held_out.target, 0 * flat, 10.0, weights=held_out.weights)[i]
            for i in (0, 1)
        ),
        flat,
    )
    assert off < 1e-5


@pytest.mark.parametrize("task", ["classified", "regressed"])
def test_equal_weights_are_none_to_the_last_bit(task: str, request: pytest.FixtureRequest) -> None:
    held_out: HeldOut = request.getfixturevalue(task)
    scores = dict(zip(NAMES, held_out.scores, strict=True))
    plain, equal = (
        learn(scores, held_out.target, task=held_out.task, weights=weights) for weights in (None, np.full(500, 7.3))
    )
    assert plain.to_json() == equal.to_json()


def test_rows_of_no_weight_do_not_matter(classified: HeldOut) -> None:
    weights = np.random.default_rng(5).exponential(size=500)
    weights[::3] = 0
    kept = classified.take(np.flatnonzero(weights))
    wrong = replace(classified, target=np.where(weights == 0, (classified.target + 1) % 3, classified.target))
    learners = CLASSIFIERS[:6]
    found = [
        learn(dict(zip(NAMES, rows.scores, strict=True)), rows.target, weights=of_rows, learners=learners).to_json()
        for rows, of_rows in ((kept, weights[weights > 0]), (wrong, weights), (wrong, weights * 1e-3))
    ]
    assert found[0]["n_rows"] == len(kept.target)
    for other in found[1:]:
        assert other["chosen"] == found[0]["chosen"]
        for name, result in found[0]["results"].items():
            assert other["results"][name] == pytest.approx(result, rel=1e-9)


def test_the_choice_goes_by_the_rows_that_count(make_classification: Make) -> None:
    good, poor = make_classification((0.3, 2.0), n_rows=400), make_classification((2.0, 0.3), n_rows=400, seed=1)
    scores = np.concatenate([good.scores, poor.scores], axis=1)
    target = np.concatenate([good.target, poor.target])
    weights = np.repeat([1.0, 50.0], 400)
    selection = learn(dict(zip(NAMES, scores, strict=False)), target, weights=weights)
    assert selection.members["wide"]["log_loss"] < selection.members["deep"]["log_loss"]
    assert selection.results["best_single"]["log_loss"] == pytest.approx(selection.members["wide"]["log_loss"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(499), r"one a row, shape \(500,\), got shape \(499,\)"),
        (np.ones((500, 1)), "one a row"),
        (np.r_[np.ones(499), -1.0], "finite numbers from 0, got -1.0 in row 499"),
        (np.r_[np.nan, np.ones(499)], "finite numbers from 0, got nan in row 0"),
        (np.zeros(500), "above 0 in some row, got 0 in all 500"),
        (np.r_[np.ones(3), np.zeros(497)], "at least 10 rows to learn weights on, got 3"),
    ],
)
def test_weights_that_cannot_weigh_are_refused(weights: Array, message: str, classified: HeldOut) -> None:
    with pytest.raises(ValueError, match=message):
        learn(dict(zip(NAMES, classified.scores, strict=True)), classified.target, weights=weights)


def test_huge_weights_are_brought_to_mean_one(classified: HeldOut) -> None:
    weights = weighed(classified, np.linspace(1e307, 1e308, 500)).weights
    assert weights is not None
    assert weights.mean() == pytest.approx(1)
