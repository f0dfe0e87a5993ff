import numpy as np
import pytest
from widedeep.serving.client.prediction import Prediction, joined


def answer(first: int, n_rows: int) -> Prediction:
    rows = np.arange(first, first + n_rows, dtype=np.float32)
    outputs = {"label": rows.astype(np.int64)[:, None], "scores/deep": np.stack([rows, -rows], axis=1)}
    return Prediction(outputs, "digits", "3", "id-1")


def test_labels_have_one_axis() -> None:
    np.testing.assert_array_equal(answer(5, 2).label, [5, 6])


def test_scores_are_found_by_their_member() -> None:
    assert list(answer(0, 2).scores) == ["deep"]


def test_an_output_that_was_not_asked_for_is_missed_by_name() -> None:
    with pytest.raises(KeyError, match="no output 'probabilities' in this answer; it holds 'label', 'scores/deep'"):
        _ = answer(0, 1).probabilities


def test_its_length_is_its_rows() -> None:
    assert len(answer(0, 3)) == 3


def test_parts_are_joined_in_their_order() -> None:
    whole = joined([answer(0, 2), answer(2, 3)])
    np.testing.assert_array_equal(whole.label, range(5))
    assert whole.scores["deep"].shape == (5, 2)
    assert (whole.model, whole.version, whole.request_id) == ("digits", "3", "id-1")
