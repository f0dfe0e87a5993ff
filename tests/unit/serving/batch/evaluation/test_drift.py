"""Drift of inputs against histograms that export made of real-looking rows."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from widedeep.export.histograms import histograms_of
from widedeep.serving.batch.evaluation.drift import Drift, ks, psi
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

TABULAR = TensorSpec("tabular", DataType.FP32, (-1, 4), feature_names=("age", "income", "flag", "visits"))
CITY = TensorSpec("city", DataType.BYTES, (-1, 1), missing="")
IMAGE = TensorSpec("image", DataType.FP32, (-1, 6, 6, 1))
COUNT = TensorSpec("count", DataType.INT64, (-1, 1))
SPECS = (TABULAR, CITY, IMAGE, COUNT)


def rows(n_rows: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 12, n_rows)
    age[rng.random(n_rows) < 0.05] = np.nan
    tabular = np.stack(
        [age, rng.lognormal(10, 1, n_rows), rng.integers(0, 2, n_rows), rng.poisson(3, n_rows)], axis=1
    ).astype(np.float32)
    return {
        "tabular": tabular,
        "city": rng.choice(np.array(["rome", "oslo", "bonn", ""], object), (n_rows, 1), p=[0.5, 0.3, 0.15, 0.05]),
        "image": rng.normal(rng.normal(0.5, 0.1, (n_rows, 1, 1, 1)), 0.2, (n_rows, 6, 6, 1)).astype(np.float32),
        "count": rng.poisson(20, (n_rows, 1)).astype(np.int64),
    }


def compared(now: Mapping[str, Array], n_then: int = 5000, specs: tuple[TensorSpec, ...] = SPECS) -> dict[str, Any]:
    drift = Drift(specs, histograms_of(specs, rows(n_then, seed=0)))
    return drift.report(drift.count(now))


def by_column(report: Mapping[str, Any]) -> dict[str, Any]:
    return {column["column"]: column for column in report["columns"]}


@pytest.mark.parametrize("n_rows", [50, 300, 5000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_of_the_same_kind_have_not_drifted(n_rows: int, seed: int) -> None:
    report = compared(rows(n_rows, seed))
    assert report["flags"] == {"drifted": 0, "moderate": 0, "stable": 8}
    for column in report["columns"]:
        assert column["psi"] < max(0.02, 2.5 * column["psi_by_chance"])


@pytest.mark.parametrize("n_rows", [60, 400, 4000])
def test_what_chance_makes_is_exceeded_in_at_most_one_case_of_twenty(n_rows: int) -> None:
    spec, rng = TensorSpec("x", DataType.FP64, (-1, 1)), np.random.default_rng(0)
    drift = Drift([spec], histograms_of([spec], {"x": rng.normal(size=(5000, 1))}))
    found: dict[str, list[bool]] = {"psi": [], "ks": []}
    for _ in range(400):
        column = drift.report(drift.count({"x": rng.normal(size=(n_rows, 1))}))["columns"][0]
        for name, exceeded in found.items():
            exceeded.append(column[name] > column[f"{name}_by_chance"])
    # More than 34 of 400 would come of a twentieth in one case of 1,000.
    assert 0.005 < np.mean(found["psi"]) < 0.085
    assert np.mean(found["ks"]) < 0.085


def test_a_shift_is_flagged_and_the_worst_column_comes_first() -> None:
    now = rows(2000, seed=1)
    now["tabular"][:, 0] += 12
    now["tabular"][:, 1] *= 1.5
    report = compared(now)
    names = [column["column"] for column in report["columns"]]
    assert names[:2] == ["age", "income"]
    assert [column["flag"] for column in report["columns"][:3]] == ["drifted", "moderate", "stable"]
    assert report["flags"] == {"drifted": 1, "moderate": 1, "stable": 6}
    # A normal distribution moved by one standard deviation is at most 0.383 apart from itself.
    assert by_column(report)["age"]["ks"] == pytest.approx(0.383, abs=0.04)


def test_values_that_have_gone_missing_are_told() -> None:
    now = rows(2000, seed=1)
    now["tabular"][:600, 0] = np.nan
    now["city"][:600, 0] = ""
    report = by_column(compared(now))
    for name in ("age", "city"):
        assert report[name]["flag"] == "drifted"
        assert report[name]["missing_then"] == pytest.approx(0.05, abs=0.015)
        assert report[name]["missing_now"] == pytest.approx(0.3 + 0.7 * 0.05, abs=0.015)


def test_values_outside_the_range_are_told_even_of_a_constant() -> None:
    spec = TensorSpec("x", DataType.FP32, (-1, 2))
    then = np.zeros((1000, 2), np.float32)
    then[:, 1] = np.linspace(0, 1, 1000)
    drift = Drift([spec], histograms_of([spec], {"x": then}))
    now = then.copy()
    now[:400, 0], now[:100, 1], now[100:200, 1] = 1.0, -0.5, np.inf
    report = by_column(drift.report(drift.count({"x": now})))
    assert report["x[0]"]["outside_range"] == 0.4
    assert report["x[0]"]["flag"] == "drifted"
    assert report["x[1]"]["outside_range"] == pytest.approx(0.2)


def test_unseen_categories_are_told() -> None:
    now = rows(1000, seed=1)
    now["city"][:250, 0] = "lima"
    column = by_column(compared(now))["city"]
    assert column["unseen"] == pytest.approx(0.25 / (1 - column["missing_now"]), abs=1e-9)
    assert column["flag"] == "drifted"
    assert column["changed_most"][0]["value"] == "rome"
    assert column["changed_most"][0]["now"] < column["changed_most"][0]["then"]


def test_of_many_categories_none_is_called_unseen_unless_all_are_declared() -> None:
    open_spec = TensorSpec("code", DataType.BYTES, (-1, 1))
    codes = np.array([f"c{i % 300}" for i in range(3000)], object)[:, None]
    declared = TensorSpec("code", DataType.BYTES, (-1, 1), categories=tuple(f"c{i}" for i in range(300)))
    now = {"code": np.array(["c299", "c299", "new", "c0"], object)[:, None]}
    for spec, unseen in ((open_spec, None), (declared, 0.25)):
        drift = Drift([spec], histograms_of([spec], {"code": codes}))
        assert drift.report(drift.count(now))["columns"][0]["unseen"] == unseen


@pytest.mark.parametrize(("change", "flagged"), [("brighter", "image: mean"), ("blurred", "image: standard deviation")])
def test_images_that_look_otherwise_are_flagged(change: str, flagged: str) -> None:
    now = rows(1000, seed=1)
    image = now["image"]
    if change == "brighter":
        now["image"] = image + np.float32(0.15)
    else:
        mean = image.mean(axis=(1, 2, 3), keepdims=True)
        now["image"] = mean + (image - mean) / 2
    report = compared(now)
    assert [column["column"] for column in report["columns"] if column["flag"] != "stable"] == [flagged]


def test_counts_of_the_whole_are_the_sum_of_those_of_the_parts() -> None:
    drift = Drift(SPECS, histograms_of(SPECS, rows(500, seed=0)))
    now = rows(700, seed=1)
    whole = drift.count(now)
    parts = [
        drift.count({name: array[part] for name, array in now.items()}) for part in (slice(0, 99), slice(99, None))
    ]
    for name, counts in whole.items():
        np.testing.assert_array_equal(counts, parts[0][name] + parts[1][name])
        assert counts.sum() == 700 * (counts.shape[0] if counts.ndim == 2 else 1)


def test_nothing_is_said_where_no_inputs_were_counted() -> None:
    assert Drift(SPECS, histograms_of(SPECS, rows(10, seed=0))).report({}) == {"available": False}


def test_the_index_is_what_its_formula_says() -> None:
    then, now = np.array([0, 49_999, 29_999, 19_999]), np.array([0, 29_999, 29_999, 39_999])
    index, _ = psi(then, now)
    assert index == pytest.approx(-0.2 * math.log(0.3 / 0.5) + 0.2 * math.log(0.4 / 0.2), rel=1e-4)
    assert psi(then, np.zeros(4, np.int64)) == (0.0, 0.0)


def test_an_empty_cell_counts_as_the_least_share_or_half_a_row() -> None:
    large, _ = psi(np.array([10**7, 0]), np.array([9 * 10**6, 10**6]))
    assert large == pytest.approx(-0.1 * math.log(0.9) + (0.1 - 1e-4) * math.log(0.1 / 1e-4), rel=1e-4)
    small, _ = psi(np.array([10, 10]), np.array([20, 0]))
    p, q = 0.5, 0.5 / 21
    assert small == pytest.approx((q - p) * math.log(q / p) + (p - q) * math.log((1 - q) / p))


def test_the_distance_is_the_largest_between_distribution_functions() -> None:
    assert ks(np.array([10, 10, 0]), np.array([0, 10, 10]))[0] == pytest.approx(0.5)
