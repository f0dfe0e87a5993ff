from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.export import batches
from widedeep.export.batches import Probe, batched, joined
from widedeep.export.probes import UNSEEN, accepts, make_probes
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

ROWS: dict[str, Array] = {
    "tabular": np.arange(12, dtype=np.float32).reshape(4, 3),
    "city": np.array([["rome"], ["oslo"], ["rome"], ["paris"]], object),
}
SPECS = (
    TensorSpec("tabular", DataType.FP32, (-1, 3)),
    TensorSpec("city", DataType.BYTES, (-1, 1), categories=("lima", "oslo", "paris", "rome")),
)
SINGLE, EVERY = "one value at a threshold", "every value at a threshold"


def by_kind(made: Iterable[Probe]) -> dict[str, Probe]:
    """Join the batches of each kind."""
    batches: dict[str, list[Probe]] = {}
    for probe in made:
        batches.setdefault(probe.kind, []).append(probe)
    return {
        kind: Probe(kind, joined([p.rows for p in parts]), parts[0].optional, parts[-1].coverage)
        for kind, parts in batches.items()
    }


def probes(dtype: type = np.float32, threshold: float = 0.1, *, allow: bool = True) -> dict[str, Probe]:
    datatype = DataType.of(np.zeros(1, dtype))
    specs = (TensorSpec("tabular", datatype, (-1, 3), allow_nan=allow, allow_inf=allow), SPECS[1])
    rows = ROWS | {"tabular": ROWS["tabular"].astype(dtype)}
    return by_kind(make_probes(specs, rows, thresholds={"tabular": {1: np.array([threshold])}}, max_rows=40))


def of(rows: Array, **options: object) -> dict[str, Probe]:
    """Make probes of one input."""
    spec = TensorSpec("x", DataType.of(rows), (-1, *rows.shape[1:]))
    return by_kind(make_probes([spec], {"x": rows}, thresholds={}, max_rows=40, **options))  # type: ignore[arg-type]


def replaced(probe: Probe) -> set[float]:
    return set(probe.rows["tabular"][:, 1].tolist())


@pytest.mark.parametrize("kind", [SINGLE, EVERY])
def test_a_float32_threshold_is_probed_with_both_neighbours(kind: str) -> None:
    t = np.float32(0.1)
    expected = {float(np.nextafter(t, np.float32(-1))), float(t), float(np.nextafter(t, np.float32(1)))}
    assert replaced(probes()[kind]) == expected


@pytest.mark.parametrize("kind", [SINGLE, EVERY])
def test_a_float64_threshold_is_probed_in_steps_of_float64_and_of_float32(kind: str) -> None:
    t, t32 = np.float64(0.1), np.float32(0.1)
    wide = {float(np.nextafter(t, -1)), float(t), float(np.nextafter(t, 1))}
    narrow = {float(np.nextafter(t32, np.float32(-1))), float(t32), float(np.nextafter(t32, np.float32(1)))}
    assert replaced(probes(np.float64)[kind]) == wide | narrow


def test_a_threshold_between_integers_is_probed_with_the_integers_around_it() -> None:
    assert replaced(probes(np.int64, 2.5)[SINGLE]) == {1, 2, 3}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99))
def test_values_around_any_threshold_lie_on_both_sides_of_it(threshold: float) -> None:
    values = replaced(probes(np.float32, threshold)[SINGLE])
    assert min(values) < threshold < max(values)
    assert threshold in values


def test_the_other_columns_of_a_probe_are_those_of_one_real_row() -> None:
    real = {tuple(row) for row in ROWS["tabular"][:, [0, 2]].tolist()}
    assert {tuple(row) for row in probes()[SINGLE].rows["tabular"][:, [0, 2]].tolist()} <= real


def test_every_threshold_of_every_column_is_probed_in_as_many_rows_as_one_column_has_values() -> None:
    thresholds = {"tabular": {0: np.linspace(0, 1, 500), 2: np.linspace(3, 4, 20)}}
    probe = by_kind(make_probes(SPECS, ROWS, thresholds=thresholds, max_rows=40))[EVERY]
    for column, values in thresholds["tabular"].items():
        assert set(values.astype(np.float32)) <= set(probe.rows["tabular"][:, column])
    assert len(probe.rows["tabular"]) <= 3 * 500
    assert probe.coverage == {"thresholds": (520, 520)}


def test_more_thresholds_than_the_limit_are_counted_as_far_as_they_are_probed() -> None:
    many = {"tabular": {0: np.linspace(0, 1, 5000)}}
    made = by_kind(make_probes(SPECS, ROWS, thresholds=many, max_rows=40))
    done, of_all = made[EVERY].coverage["thresholds"]
    assert of_all == 5000
    assert 0 < done < 5000
    assert len(made[EVERY].rows["tabular"]) == 40 * 50
    assert len(made[SINGLE].rows["tabular"]) == 40 * 10


def test_missing_values_are_probed_one_by_one_and_together_where_they_are_allowed() -> None:
    missing = np.isnan(probes()["missing values"].rows["tabular"])
    assert {tuple(row) for row in np.eye(3, dtype=bool).tolist()} <= {tuple(row) for row in missing.tolist()}
    assert missing[-1].all()
    assert "missing values" not in probes(allow=False)


def test_infinities_of_both_signs_are_probed_where_they_are_allowed() -> None:
    assert {np.inf, -np.inf} <= replaced(probes()["infinities"])
    assert "infinities" not in probes(allow=False)


def test_unseen_and_empty_strings_are_optional_since_a_model_may_refuse_them() -> None:
    probe = probes()["an unseen category"]
    assert {UNSEEN, ""} <= set(probe.rows["city"].ravel().tolist())
    assert probe.optional
    assert not probes()["missing values"].optional


def test_unseen_strings_are_not_probed_where_they_are_refused() -> None:
    spec = TensorSpec("city", DataType.BYTES, (-1, 1), categories=("oslo", "paris", "rome"), closed_categories=True)
    assert "an unseen category" not in by_kind(make_probes([spec], ROWS, thresholds={}, max_rows=40))


def test_every_category_is_probed_that_the_rows_do_not_show() -> None:
    assert "lima" in probes()["every known category"].rows["city"]


def test_numeric_categories_are_probed_and_numbers_between_below_and_above_them() -> None:
    made = of(np.array([[0.0], [7.0]]), categories={"x": {0: np.array([0.0, 3.0, 7.0])}})
    assert {0, 3, 7} == set(made["every category"].rows["x"].ravel().tolist())
    odd = set(made["numbers that are no category"].rows["x"].ravel().tolist())
    assert {3.5, 2.75, -1, 8, 1e15} <= odd
    assert not odd & {0, 3, 7}
    whole = of(np.array([[0], [7]], np.int8), categories={"x": {0: np.array([0.0, 7.0])}})
    assert set(whole["numbers that are no category"].rows["x"].ravel().tolist()) == {-1, 1, 8, 39}


def test_numbers_between_whole_ones_are_probed_where_a_float_column_holds_only_such() -> None:
    probe = of(np.array([[1, 2, 0.5], [3, np.nan, 4]], np.float32))["numbers between whole ones"]
    assert probe.optional
    assert set(np.unique(probe.rows["x"][:, 0])) == {1, 1.25, 3, 3.25}
    assert {2, 2.25} <= set(np.unique(probe.rows["x"][:, 1]))
    assert set(np.unique(probe.rows["x"][:, 2])) == {0.5, 4}
    assert "numbers between whole ones" not in of(np.array([[1, 2], [3, 4]]))


def test_each_column_goes_far_below_and_above_its_own_rows() -> None:
    far = of(np.array([[0.0, 100.0], [1.0, 300.0], [np.nan, np.inf]]))["values far outside the rows"]
    assert far.optional
    assert {-10, 11} <= set(far.rows["x"][:, 0])
    assert {-1900, 2300} <= set(far.rows["x"][:, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint64, np.float16, np.float32, np.float64])
def test_the_ends_of_every_datatype_are_probed(dtype: type) -> None:
    values = set(of(np.array([[0], [1]], dtype))["extremes of the datatype"].rows["x"].ravel().tolist())
    limits = np.finfo(dtype) if np.issubdtype(dtype, np.floating) else np.iinfo(dtype)
    assert {limits.min, limits.max} <= values


def test_values_of_several_rows_are_combined_within_their_columns() -> None:
    mixed = probes()["values of several rows"].rows["tabular"]
    for column in range(3):
        assert set(mixed[:, column]) <= set(ROWS["tabular"][:, column])
    assert not {tuple(row) for row in mixed.tolist()} <= {tuple(row) for row in ROWS["tabular"].tolist()}


def test_probes_repeat_and_leave_the_rows_alone() -> None:
    before = ROWS["tabular"].copy()
    first, second = probes(), probes()
    np.testing.assert_array_equal(ROWS["tabular"], before)
    for kind, probe in first.items():
        np.testing.assert_array_equal(probe.rows["tabular"], second[kind].rows["tabular"])


def test_probes_come_in_batches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_BYTES", 64 * 12)
    images = np.random.default_rng(0).random((30, 3), np.float32)
    thresholds = {"x": {0: np.linspace(0, 1, 100)}}
    made = list(
        make_probes([TensorSpec("x", DataType.FP32, (-1, 3))], {"x": images}, thresholds=thresholds, max_rows=400)
    )
    assert max(len(probe.rows["x"]) for probe in made if not probe.kind.startswith("many")) == 64


@given(st.lists(st.integers(0, 40), max_size=8))
def test_batching_keeps_every_row_in_order(sizes: list[int]) -> None:
    bounds = list(pairwise(np.cumsum([0, *sizes]).tolist()))
    pieces = [{"x": np.arange(start, stop)} for start, stop in bounds]
    made = [probe.rows["x"] for probe in batched("kind", pieces)]
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, int), *made]), np.arange(sum(sizes)))


def test_a_model_that_raises_or_answers_nan_does_not_accept_missing_values() -> None:
    def raises(_: object) -> Array:
        raise ValueError("Input X contains NaN")

    assert not accepts(raises, SPECS[0], ROWS, np.nan)
    assert not accepts(lambda rows: rows["tabular"], SPECS[0], ROWS, np.nan)
    assert accepts(lambda rows: np.nan_to_num(rows["tabular"]), SPECS[0], ROWS, np.nan)


def test_a_model_that_cannot_take_an_infinity_in_one_column_does_not_accept_infinities() -> None:
    def native(rows: dict[str, Array]) -> Array:
        return np.where(rows["tabular"][:, 2:] == -np.inf, np.nan, 0.0) * (rows["tabular"][:, :1] < np.inf)

    assert not accepts(native, SPECS[0], ROWS, np.inf, -np.inf)  # type: ignore[arg-type]
    assert accepts(lambda rows: np.tanh(rows["tabular"]), SPECS[0], ROWS, np.inf, -np.inf)
