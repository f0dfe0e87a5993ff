"""Which bins the rows of a bundle give."""

import json

import numpy as np
import pytest
from widedeep.export import histograms as module
from widedeep.export.histograms import MAX_ROWS, histograms_of, to_bytes
from widedeep.serving.contract.histograms import BELOW, MAX_TEXT, MAX_VALUES, MISSING, N_BINS
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

FLOAT = TensorSpec("x", DataType.FP32, (-1, 1))
TEXT = TensorSpec("t", DataType.BYTES, (-1, 1), missing="?")


def counts_of(values: Array) -> Array:
    return histograms_of([FLOAT], {"x": values[:, None].astype(np.float32)}).numeric["x"].counts[0]


def test_bins_of_many_values_hold_equal_numbers_of_rows() -> None:
    counts = counts_of(np.random.default_rng(0).permutation(10_000))
    assert counts[BELOW + 1 : -1].tolist() == [500] * N_BINS


def test_few_values_have_a_bin_each() -> None:
    counts = counts_of(np.repeat([3.0, 7.0, -1.0], [5, 1, 2]))
    assert counts[BELOW + 1 : BELOW + 4].tolist() == [2, 5, 1]


def test_a_value_that_many_rows_have_is_alone_in_its_bin_as_far_as_it_can() -> None:
    values = np.concatenate([np.zeros(900), np.linspace(1, 2, 100)])
    counts = counts_of(values)
    assert counts[BELOW + 1] == 900
    assert counts.sum() == 1000


def test_missing_values_are_counted_apart() -> None:
    counts = counts_of(np.array([np.nan, 1.0, np.nan]))
    assert counts[MISSING] == 2
    assert counts_of(np.full(4, np.nan))[MISSING] == 4


def test_infinities_have_bins_and_stay_json() -> None:
    made = histograms_of([FLOAT], {"x": np.array([[-np.inf], [0], [np.inf]], np.float32)})
    column = json.loads(to_bytes(made))["numeric"]["x"][0]
    assert (column["least"], column["most"]) == ("-inf", "inf")


def test_the_most_frequent_texts_are_listed_and_the_rest_counted() -> None:
    cells = [f"v{i:03}" for i in range(MAX_VALUES + 20)] + ["v119"] * 3 + ["?"] * 7
    found = histograms_of([TEXT], {"t": np.array(cells, object)[:, None]}).text["t"][0]
    assert next(iter(found.values.items())) == ("v119", 4)
    assert (len(found.values), found.rest, found.missing) == (MAX_VALUES, 20, 7)


def test_long_texts_are_told_apart_by_their_beginning() -> None:
    cells = np.array(["a" * 500, "a" * 600, "b"], object)[:, None]
    found = histograms_of([TEXT], {"t": cells}).text["t"][0]
    assert found.values == {"a" * MAX_TEXT: 2, "b": 1}


def test_of_many_rows_some_are_looked_at_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 100)
    made = histograms_of([FLOAT], {"x": np.arange(10_000, dtype=np.float32)[:, None]})
    assert made.n_rows == 100
    assert made.numeric["x"].counts.sum() == 100
    assert (made.numeric["x"].least[0], made.numeric["x"].most[0]) == (0, 9999)
    assert MAX_ROWS == 100_000


def test_the_file_of_a_wide_input_stays_small() -> None:
    spec = TensorSpec("x", DataType.FP32, (-1, 200))
    rows = np.random.default_rng(0).normal(size=(1000, 200)).astype(np.float32)
    assert len(to_bytes(histograms_of([spec], {"x": rows}))) < 200 * 450
