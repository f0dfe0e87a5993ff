import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from widedeep.export.probes import UNSEEN, Probe, accepts_nan, make_probes
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

ROWS: dict[str, Array] = {
    "tabular": np.arange(12, dtype=np.float32).reshape(4, 3),
    "city": np.array([["rome"], ["oslo"], ["rome"], ["paris"]], object),
}
SPECS = (
    TensorSpec("tabular", DataType.FP32, (-1, 3)),
    TensorSpec("city", DataType.BYTES, (-1, 1), categories=("oslo", "paris", "rome")),
)


def probes(dtype: type = np.float32, threshold: float = 0.1, *, allow_nan: bool = True) -> dict[str, Probe]:
    specs = (TensorSpec("tabular", DataType.of(np.zeros(1, dtype)), (-1, 3), allow_nan=allow_nan), SPECS[1])
    rows = ROWS | {"tabular": ROWS["tabular"].astype(dtype)}
    made = make_probes(specs, rows, {"tabular": {1: np.array([threshold])}}, max_rows=40)
    return {probe.kind: probe for probe in made}


def replaced(probe: Probe) -> set[float]:
    return set(probe.rows["tabular"][:, 1].tolist())


def test_a_float32_threshold_is_probed_with_both_neighbours() -> None:
    t = np.float32(0.1)
    expected = {float(np.nextafter(t, np.float32(-1))), float(t), float(np.nextafter(t, np.float32(1)))}
    assert replaced(probes()["one value at a threshold"]) == expected


def test_a_float64_threshold_is_probed_in_steps_of_float64_and_of_float32() -> None:
    t, t32 = np.float64(0.1), np.float32(0.1)
    wide = {float(np.nextafter(t, -1)), float(t), float(np.nextafter(t, 1))}
    narrow = {float(np.nextafter(t32, np.float32(-1))), float(t32), float(np.nextafter(t32, np.float32(1)))}
    assert replaced(probes(np.float64)["one value at a threshold"]) == wide | narrow


def test_a_threshold_between_integers_is_probed_with_the_integers_around_it() -> None:
    assert replaced(probes(np.int64, 2.5)["one value at a threshold"]) == {1, 2, 3}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99))
def test_values_around_any_threshold_lie_on_both_sides_of_it(threshold: float) -> None:
    values = replaced(probes(np.float32, threshold)["one value at a threshold"])
    assert min(values) < threshold < max(values)
    assert threshold in values


def test_the_other_columns_of_a_probe_are_those_of_one_real_row() -> None:
    real = {tuple(row) for row in ROWS["tabular"][:, [0, 2]].tolist()}
    assert {tuple(row) for row in probes()["one value at a threshold"].rows["tabular"][:, [0, 2]].tolist()} <= real


def test_missing_values_are_probed_one_by_one_and_together_where_they_are_allowed() -> None:
    missing = np.isnan(probes()["missing values"].rows["tabular"])
    assert {tuple(row) for row in np.eye(3, dtype=bool).tolist()} <= {tuple(row) for row in missing.tolist()}
    assert missing[-1].all()
    assert "missing values" not in probes(allow_nan=False)


def test_an_unseen_category_is_optional_since_a_model_may_refuse_it() -> None:
    probe = probes()["an unseen category"]
    assert UNSEEN in set(probe.rows["city"].ravel().tolist())
    assert probe.optional
    assert not probes()["missing values"].optional


def test_numbers_between_whole_ones_are_probed_where_a_float_column_holds_only_such() -> None:
    spec = TensorSpec("x", DataType.FP32, (-1, 3), allow_nan=False)
    rows = {"x": np.array([[1, 2, 0.5], [3, np.nan, 4]], np.float32)}
    (probe,) = (p for p in make_probes([spec], rows, {}, 40) if "whole" in p.kind)
    assert probe.optional
    assert set(np.unique(probe.rows["x"][:, 0])) == {1, 1.25, 3, 3.25}
    assert {2, 2.25} <= set(np.unique(probe.rows["x"][:, 1]))
    assert set(np.unique(probe.rows["x"][:, 2])) == {0.5, 4}
    whole = TensorSpec("x", DataType.INT64, (-1, 2))
    assert not any("whole" in p.kind for p in make_probes([whole], {"x": np.array([[1, 2], [3, 4]])}, {}, 40))


def test_values_of_several_rows_are_combined_within_their_columns() -> None:
    mixed = probes()["values of several rows"].rows["tabular"]
    for column in range(3):
        assert set(mixed[:, column]) <= set(ROWS["tabular"][:, column])
    assert not {tuple(row) for row in mixed.tolist()} <= {tuple(row) for row in ROWS["tabular"].tolist()}


def test_at_most_the_given_number_of_thresholds_is_probed() -> None:
    many = {"tabular": {0: np.linspace(0, 1, 500)}}
    made = {probe.kind: probe for probe in make_probes(SPECS, ROWS, many, max_rows=40)}
    assert len(made["one value at a threshold"].rows["tabular"]) == 40


def test_probes_repeat_and_leave_the_rows_alone() -> None:
    before = ROWS["tabular"].copy()
    first, second = probes(), probes()
    np.testing.assert_array_equal(ROWS["tabular"], before)
    for kind, probe in first.items():
        np.testing.assert_array_equal(probe.rows["tabular"], second[kind].rows["tabular"])


def test_a_model_that_raises_or_answers_nan_does_not_accept_missing_values() -> None:
    def raises(_: object) -> Array:
        raise ValueError("Input X contains NaN")

    assert not accepts_nan(raises, SPECS[0], ROWS)
    assert not accepts_nan(lambda rows: rows["tabular"], SPECS[0], ROWS)
    assert accepts_nan(lambda rows: np.nan_to_num(rows["tabular"]), SPECS[0], ROWS)
