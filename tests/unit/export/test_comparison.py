import numpy as np
from widedeep.export.comparison import compare, sizes_of

SURE, TIED = [0.9, 0.1], [0.5 + 2e-7, 0.5 - 2e-7]


def test_every_row_has_its_own_differences() -> None:
    found = compare(
        np.array([[1.0, 2.0], [3.0, 400.0]]), np.array([[1.0, 2.5], [3.0, 401.0]]), task="regression", tolerance=0.1
    )
    np.testing.assert_allclose(found.absolute, [0.5, 1.0])
    np.testing.assert_allclose(found.relative, [0.25, 0.0025])
    assert found.is_over.tolist() == found.differs.tolist() == [True, False]


def test_labels_count_only_for_a_classification_and_where_they_are_no_tie() -> None:
    expected, actual = np.array([SURE, TIED]), np.array([SURE[::-1], TIED[::-1]])
    assert compare(expected, actual, task="classification", tolerance=1).label_differs.tolist() == [True, False]
    assert compare(expected, actual, task="regression", tolerance=1).label_differs.tolist() == [False, False]


def test_nan_is_over_every_tolerance() -> None:
    found = compare(np.array([SURE]), np.array([[np.nan, 0.1]]), task="classification", tolerance=1e9)
    assert found.is_over.tolist() == [True]


def test_sizes_of_a_regression_are_its_medians_and_at_least_one() -> None:
    scores = np.array([[-100.0, 0.1], [300.0, 0.2], [200.0, 9.0]])
    assert sizes_of(scores, "regression") == (200.0, 1.0)
    assert sizes_of(scores, "classification") == (1.0, 1.0)
