import numpy as np
import pytest
from numpy.typing import NDArray
from widedeep.export.train.members import choose_members

N_ROWS = 600


def noisy(target: NDArray[np.int64], seed: int, noise: float) -> NDArray[np.float64]:
    """Return probabilities of two classes, the noisier the worse."""
    logit = 2.0 * (2 * target - 1) + noise * np.random.default_rng(seed).normal(size=len(target))
    positive = 1 / (1 + np.exp(-logit))
    return np.stack([1 - positive, positive], axis=1)


@pytest.fixture
def target() -> NDArray[np.int64]:
    return np.random.default_rng(9).integers(0, 2, N_ROWS)


def test_members_that_err_differently_are_taken_and_a_useless_one_is_not(target: NDArray[np.int64]) -> None:
    scores = {"a": noisy(target, 1, 2.0), "b": noisy(target, 2, 2.0), "useless": noisy(1 - target, 3, 9.0)}
    chosen = choose_members(
        scores, target, task="classification", latency_us=dict.fromkeys(scores, 1.0), groups={n: n for n in scores}
    )
    assert set(chosen.names) == {"a", "b"}
    assert all(chosen.reasons[name] for name in chosen.names)


def test_of_level_candidates_the_quicker_one_is_taken(target: NDArray[np.int64]) -> None:
    same = noisy(target, 1, 2.0)
    chosen = choose_members(
        {"slow": same, "quick": same.copy()},
        target,
        task="classification",
        latency_us={"slow": 50.0, "quick": 1.0},
        groups={"slow": "trees", "quick": "trees"},
    )
    assert chosen.names == ("quick",)


def test_a_badly_scaled_candidate_is_judged_as_if_calibrated(target: NDArray[np.int64]) -> None:
    good = noisy(target, 1, 1.0)
    sharpened = good**6 / (good**6).sum(axis=1, keepdims=True)
    chosen = choose_members(
        {"sharp": sharpened, "dull": noisy(target, 2, 4.0)},
        target,
        task="classification",
        latency_us={"sharp": 1.0, "dull": 1.0},
        groups={"sharp": "a", "dull": "b"},
    )
    assert chosen.names[0] == "sharp"


@pytest.mark.parametrize("budget_us", [4.0, 10.0, 25.0])
def test_the_sum_of_latencies_keeps_to_the_budget(target: NDArray[np.int64], budget_us: float) -> None:
    scores = {f"m{i}": noisy(target, i, 1.5 + 0.1 * i) for i in range(8)}
    latency_us = {name: 3.0 * (i + 1) for i, name in enumerate(reversed(scores))}
    chosen = choose_members(
        scores,
        target,
        task="classification",
        latency_us=latency_us,
        groups={name: name for name in scores},
        budget_us=budget_us,
    )
    assert chosen.names
    assert sum(latency_us[name] for name in chosen.names) <= budget_us


def test_no_candidate_within_the_budget_means_no_members(target: NDArray[np.int64]) -> None:
    chosen = choose_members(
        {"a": noisy(target, 1, 1.0)},
        target,
        task="classification",
        latency_us={"a": 5.0},
        groups={"a": "a"},
        budget_us=1.0,
    )
    assert chosen.names == ()


def test_no_more_members_are_taken_than_allowed(target: NDArray[np.int64]) -> None:
    scores = {f"m{i}": noisy(target, i, 2.5) for i in range(12)}
    chosen = choose_members(
        scores,
        target,
        task="classification",
        latency_us=dict.fromkeys(scores, 1.0),
        groups={name: name for name in scores},
        max_members=3,
    )
    assert len(chosen.names) == 3


def test_rows_of_no_weight_do_not_decide(target: NDArray[np.int64]) -> None:
    half = np.arange(N_ROWS) < N_ROWS // 2
    good, bad = noisy(target, 1, 1.0), noisy(1 - target, 2, 1.0)
    first, second = np.where(half[:, None], good, bad), np.where(half[:, None], bad, good)
    chosen = choose_members(
        {"first": first, "second": second},
        target,
        task="classification",
        latency_us={"first": 1.0, "second": 1.0},
        groups={"first": "a", "second": "b"},
        weights=np.where(half, 2.0, 0.0),
    )
    assert chosen.names == ("first",)


def test_a_regression_goes_by_squared_error() -> None:
    rng = np.random.default_rng(0)
    truth = 1000 * rng.normal(size=N_ROWS)
    scores = {name: (truth + 300 * rng.normal(size=N_ROWS))[:, None] for name in ("a", "b")}
    scores["far"] = (truth + 5000)[:, None]
    chosen = choose_members(
        scores, truth, task="regression", latency_us=dict.fromkeys(scores, 1.0), groups={n: n for n in scores}
    )
    assert set(chosen.names) == {"a", "b"}


def test_many_candidates_and_rows_take_seconds_only() -> None:
    rng = np.random.default_rng(0)
    target = rng.integers(0, 10, 50_000)
    base = rng.dirichlet(np.ones(10), 50_000).astype(np.float32)
    scores = {f"m{i}": np.roll(base, i, axis=0) for i in range(20)}
    chosen = choose_members(
        scores, target, task="classification", latency_us=dict.fromkeys(scores, 1.0), groups=dict.fromkeys(scores, "g")
    )
    assert chosen.names


def test_a_member_that_costs_far_more_than_all_others_must_be_worth_it(target: NDArray[np.int64]) -> None:
    scores = {"a": noisy(target, 1, 2.0), "b": noisy(target, 2, 2.0), "slow": noisy(target, 3, 1.8)}
    groups = {name: name for name in scores}
    latency_us = {"a": 1.0, "b": 1.0, "slow": 1.0}
    together = choose_members(scores, target, task="classification", latency_us=latency_us, groups=groups)
    latency_us["slow"] = 500.0
    good = choose_members(scores, target, task="classification", latency_us=latency_us, groups=groups)
    assert set(together.names) == set(good.names) == {"a", "b", "slow"}, (
        "it lowers the loss by more than half a per cent"
    )
    copy = {**scores, "slow": 0.999 * scores["a"] + 0.0005}
    assert "slow" not in choose_members(copy, target, task="classification", latency_us=latency_us, groups=groups).names
