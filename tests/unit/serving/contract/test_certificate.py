import numpy as np
from widedeep.serving.contract.certificate import Certificate, has_clear_label, relative_difference, tolerance_of

CERTIFICATE = Certificate(
    rows=10,
    probes=5,
    max_abs_diff=1e-7,
    max_rel_diff=2e-7,
    worst_row=12,
    labels_differ=0,
    tolerance={"CPUExecutionProvider": 1e-5},
    versions={"onnx": "1.0"},
    sizes=(150.0, 1.0),
    worst_kind="zero",
    kinds={"zero": 1, "infinities": 4},
    left_out=2,
    overflowed=3,
    coverage={"splits": (7, 9)},
)


def test_a_certificate_survives_json() -> None:
    assert Certificate.from_json({**CERTIFICATE.to_json(), "added_later": 1}) == CERTIFICATE


def test_a_certificate_of_an_older_bundle_measures_scores_against_one() -> None:
    known = {"rows", "probes", "max_abs_diff", "max_rel_diff", "worst_row", "labels_differ", "tolerance", "versions"}
    old = Certificate.from_json({key: value for key, value in CERTIFICATE.to_json().items() if key in known})
    assert old.sizes == ()
    assert old.coverage == {}


def test_a_provider_without_a_bound_in_the_certificate_has_the_default_one() -> None:
    assert tolerance_of({"CPUExecutionProvider": 1e-3}, "CPUExecutionProvider") == 1e-3
    assert tolerance_of({}, "CPUExecutionProvider") == 1e-5
    assert tolerance_of({}, "SomeExecutionProvider") == 1e-4


def test_differences_are_absolute_below_a_size_and_relative_above() -> None:
    expected, actual = np.array([[0.0, 50.0, 4.0]]), np.array([[0.5, 51.0, 5.0]])
    np.testing.assert_allclose(relative_difference(expected, actual), [[0.5, 0.02, 0.25]])
    np.testing.assert_allclose(relative_difference(expected, actual, (100.0, 100.0, 1.0)), [[0.005, 0.01, 0.25]])


def test_what_is_no_number_differs_by_no_number() -> None:
    differences = relative_difference(np.zeros((1, 2)), np.array([[np.nan, np.inf]]))[0]
    assert np.isnan(differences[0])
    assert differences[1] == np.inf


def test_a_label_is_clear_where_the_two_best_scores_are_apart() -> None:
    scores = np.array([[0.1, 0.4, 0.5], [0.2, 0.4, 0.4]])
    assert has_clear_label(scores, 0.05).tolist() == [True, False]
