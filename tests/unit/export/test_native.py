from collections.abc import Mapping

import numpy as np
import pytest
from widedeep.export.batches import Probe
from widedeep.export.member import ConversionError
from widedeep.export.native import ask, ask_each
from widedeep.serving.contract.tensors import Array

ROWS = {"x": np.arange(100.0)[:, np.newaxis]}


def refusing(*values: float) -> object:
    """Return a model that scores `x` with itself and refuses some values."""

    def native(rows: Mapping[str, Array]) -> Array:
        if np.isin(rows["x"], values).any():
            raise ValueError("found unknown categories")
        return rows["x"]

    return native


def test_of_an_optional_probe_only_the_refused_rows_are_left_out() -> None:
    has_answer, scores = ask_each(refusing(3, 77), Probe("odd", ROWS, optional=True), 1)  # type: ignore[arg-type]
    assert np.flatnonzero(~has_answer).tolist() == [3, 77]
    np.testing.assert_array_equal(scores[:, 0], np.delete(np.arange(100.0), [3, 77]))


def test_a_model_that_refuses_all_rows_is_not_asked_for_ever() -> None:
    calls = []

    def native(rows: Mapping[str, Array]) -> Array:
        calls.append(len(rows["x"]))
        raise ValueError

    has_answer, scores = ask_each(native, Probe("odd", {"x": np.zeros((8192, 1))}, optional=True), 1)
    assert not has_answer.any()
    assert scores.shape == (0, 1)
    assert len(calls) < 100


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_scores_that_no_score_can_be_are_left_out_of_an_optional_probe(value: float) -> None:
    rows = {"x": np.array([[1.0], [value]])}
    has_answer, _ = ask_each(lambda given: given["x"], Probe("odd", rows, optional=True), 1)
    assert has_answer.tolist() == [True, False]


def test_a_probe_that_is_not_optional_must_be_answered() -> None:
    with pytest.raises(ConversionError, match="cannot score probes with zero: ValueError: found unknown categories"):
        ask_each(refusing(3), Probe("zero", ROWS), 1)  # type: ignore[arg-type]


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ConversionError, match=r"answers \[100, 1\] for the rows; expected \[100, 2\]"):
        ask(lambda rows: rows["x"], ROWS, 2, "the rows")
