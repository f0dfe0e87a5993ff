import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from widedeep.serving.contract.combiner import (
    Combiner,
    Float64Array,
    LinearPool,
    LogPool,
    MeanPool,
    combiner_from_json,
    softmax,
    weights_by_member,
)
from widedeep.serving.contract.errors import BundleError

N_MEMBERS, N_ROWS, N_OUTPUTS = 3, 4, 5

logits = arrays(np.float64, (N_MEMBERS, N_ROWS, N_OUTPUTS), elements=st.floats(-20, 20))
weights = arrays(np.float64, N_MEMBERS, elements=st.floats(0.01, 10))


def combiners(w: Float64Array) -> list[Combiner]:
    linear = LinearPool(w, temperatures=w)
    by_class = LinearPool(np.outer(w, np.arange(1.0, N_OUTPUTS + 1)))
    log = LogPool(w, bias=np.linspace(-1, 1, N_OUTPUTS))
    stacked = LogPool(np.random.default_rng(0).normal(size=(N_OUTPUTS, N_MEMBERS, N_OUTPUTS)), clip=1e-3)
    return [linear, by_class, log, stacked, MeanPool((linear, log, stacked))]


@given(logits, weights)
def test_every_combiner_answers_on_the_simplex(z: Float64Array, w: Float64Array) -> None:
    for combiner in combiners(w):
        answer = combiner(softmax(z))
        assert answer.shape == (N_ROWS, N_OUTPUTS)
        assert (answer >= 0).all()
        np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-9)


@given(logits, weights)
def test_a_batch_is_its_rows_one_by_one(z: Float64Array, w: Float64Array) -> None:
    scores = softmax(z)
    for combiner in combiners(w):
        single = np.concatenate([combiner(scores[:, i : i + 1]) for i in range(N_ROWS)])
        np.testing.assert_allclose(combiner(scores), single, atol=1e-12)


@given(logits, weights)
def test_json_keeps_a_combiner_exactly(z: Float64Array, w: Float64Array) -> None:
    for combiner in combiners(w):
        again = combiner_from_json(combiner.to_json())
        np.testing.assert_array_equal(again(softmax(z)), combiner(softmax(z)))


@given(logits)
def test_members_without_weight_cannot_change_the_answer(z: Float64Array) -> None:
    scores = softmax(z)
    w = np.array([1.0, 0.0, 2.0])
    stacked = np.zeros((N_OUTPUTS, N_MEMBERS, N_OUTPUTS))
    stacked[:, 2] = np.eye(N_OUTPUTS)
    spoilt = scores.copy()
    spoilt[1] = np.nan
    for combiner, used in [
        (LinearPool(w), (0, 2)),
        (LogPool(w), (0, 2)),
        (LogPool(stacked), (2,)),
        (MeanPool((LinearPool(w), LogPool(stacked))), (0, 2)),
    ]:
        assert combiner.used == used
        np.testing.assert_array_equal(combiner(spoilt), combiner(scores))


def test_a_linear_pool_is_the_weighted_mean() -> None:
    scores = softmax(np.random.default_rng(1).normal(size=(2, N_ROWS, N_OUTPUTS)))
    np.testing.assert_allclose(LinearPool(np.array([3.0, 1.0]))(scores), 0.75 * scores[0] + 0.25 * scores[1])


def test_a_log_pool_with_equal_weights_is_the_geometric_mean() -> None:
    scores = softmax(np.random.default_rng(1).normal(size=(2, N_ROWS, N_OUTPUTS)))
    geometric = np.sqrt(scores[0] * scores[1])
    expected = geometric / geometric.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(LogPool(np.array([0.5, 0.5]))(scores), expected)


def test_a_temperature_undoes_a_scaling_of_logits() -> None:
    z = np.random.default_rng(2).normal(size=(1, N_ROWS, N_OUTPUTS))
    np.testing.assert_allclose(LinearPool(np.ones(1), temperatures=np.array([4.0]))(softmax(4 * z)), softmax(z[0]))


def test_a_regression_pool_is_not_normalised() -> None:
    scores = np.array([[[2.0], [-4.0]], [[6.0], [0.0]]])
    np.testing.assert_allclose(LinearPool(np.array([0.5, 1.0]), normalize=False)(scores), [[7.0], [-2.0]])


def test_a_pool_without_any_weight_answers_uniformly() -> None:
    scores = softmax(np.zeros((2, 3, 4)))
    np.testing.assert_allclose(LinearPool(np.zeros(2))(scores), np.full((3, 4), 0.25))
    np.testing.assert_allclose(LogPool(np.zeros(2))(scores), np.full((3, 4), 0.25))


def test_rows_without_any_probability_become_uniform() -> None:
    np.testing.assert_allclose(LinearPool(np.ones(1))(np.zeros((1, 1, 4))), [[0.25] * 4])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "vote"}, "unknown kind 'vote'; expected linear_pool, log_pool or mean_pool"),
        ({"kind": "linear_pool", "weights": [1.0]}, "normalize"),
        ({"kind": "linear_pool", "weights": [float("nan")], "normalize": True}, "weights must be finite"),
        ({"kind": "linear_pool", "weights": [1.0], "temperatures": [0.0], "normalize": True}, "positive temperatures"),
        ({"kind": "log_pool", "coefficients": [[1.0]], "clip": 0.1}, "1 or 3 axes"),
        ({"kind": "log_pool", "coefficients": [1.0], "clip": 0}, "clip must lie between"),
        ({"kind": "mean_pool", "combiners": []}, "at least one combiner"),
    ],
)
def test_damaged_parameters_are_refused(data: dict[str, object], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        combiner_from_json(data)


def test_one_weight_a_member_shows_its_part_in_any_combiner() -> None:
    by_member = LinearPool(np.array([0.7, -0.3]))
    by_class = LinearPool(np.array([[0.2, -0.4], [0.6, 0.6]]))
    stacked = LogPool(np.array([[[1.0, 0.0], [0.0, 3.0]], [[1.0, 0.0], [0.0, 3.0]]]))  # (outputs, members, outputs)
    np.testing.assert_allclose(weights_by_member(by_member), [0.7, -0.3])
    np.testing.assert_allclose(weights_by_member(by_class), [0.3, 0.6])
    np.testing.assert_allclose(weights_by_member(LogPool(np.array([2.0, 1.0]))), [2.0, 1.0])
    np.testing.assert_allclose(weights_by_member(stacked), [0.5, 1.5])
    np.testing.assert_allclose(weights_by_member(MeanPool((by_class, stacked))), [7 / 24, 17 / 24])
