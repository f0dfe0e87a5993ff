"""Tallies: slices of bounded size, and the way through JSON."""

import itertools
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from widedeep.serving.batch.evaluation.moments import Moments
from widedeep.serving.batch.evaluation.tally import MAX_VALUES, OTHER, Slices, Tally, kept, places

MANY = [f"v{i:03}" for i in range(MAX_VALUES + 30)]


def sliced(values: list[str]) -> Slices:
    """Return the slices of rows with these values, whose one column is the number in the value."""
    told = kept(set(values))
    columns = np.array([[float(value[1:]) for value in values]])
    return Slices(told, Moments.of(columns, np.array(places(values, told), np.int64), len(told)))


def test_the_first_values_in_their_order_are_told_apart() -> None:
    assert kept({"b", "a"}) == ("a", "b")
    assert kept(set(MANY)) == (*MANY[:MAX_VALUES], OTHER)
    assert kept({"b", OTHER}) == ("b", OTHER)


@given(st.lists(st.sampled_from(MANY), min_size=1), st.lists(st.sampled_from(MANY), min_size=1))
def test_slices_of_the_whole_are_the_merge_of_slices_of_the_parts(first: list[str], second: list[str]) -> None:
    whole, merged = sliced(first + second), sliced(first)
    merged.merge(sliced(second))
    assert merged.values == whole.values
    np.testing.assert_array_equal(merged.moments.n, whole.moments.n)
    np.testing.assert_allclose(merged.moments.mean, whole.moments.mean)
    np.testing.assert_allclose(merged.moments.m2, whole.moments.m2, atol=1e-8)


def test_the_order_in_which_many_values_are_met_does_not_matter() -> None:
    parts = [MANY[100:], MANY[:70], MANY[40:110] * 2]
    found = []
    for order in itertools.permutations(parts):
        merged = sliced(order[0])
        for part in order[1:]:
            merged.merge(sliced(part))
        found.append(merged)
    for other in found[1:]:
        assert other.values == found[0].values
        np.testing.assert_array_equal(other.moments.n, found[0].moments.n)
        np.testing.assert_allclose(other.moments.mean, found[0].moments.mean)


def make_tally() -> Tally:
    rng = np.random.default_rng(0)
    tally = Tally(
        {"counts": rng.integers(0, 1 << 40, (3, 4)), "sums": rng.normal(size=5)},
        {"rows": Moments.of(rng.normal(size=(3, 20)))},
        {"city": sliced(MANY[:4])},
    )
    tally.add_labels(["b", "a"])
    return tally


def test_every_number_comes_back_from_json_bit_for_bit() -> None:
    tally = make_tally()
    text = json.dumps(tally.to_json(), allow_nan=False)
    again = Tally.from_json(json.loads(text))
    for name, array in tally.counts.items():
        assert again.counts[name].dtype == array.dtype
        np.testing.assert_array_equal(again.counts[name], array)
    for one, other in ((again.moments["rows"], tally.moments["rows"]),):
        assert (one.n.tolist(), one.mean.tolist(), one.m2.tolist()) == (
            *(other.n.tolist(), other.mean.tolist(), other.m2.tolist()),
        )
    assert again.slices["city"].values == tally.slices["city"].values
    assert json.dumps(again.to_json()) == text


def test_a_result_without_a_tally_is_one_of_no_rows() -> None:
    tally = Tally.from_json({})
    tally.merge(make_tally())
    assert tally.to_json() == make_tally().to_json()


def test_what_is_merged_is_left_as_it_is() -> None:
    total, part = Tally(), make_tally()
    before = part.to_json()
    total.merge(part)
    total.merge(part)
    assert part.to_json() == before
    assert total.counts["counts"].tolist() == (2 * part.counts["counts"]).tolist()
    assert total.moments["rows"].n.tolist() == [40]


def test_a_few_unknown_labels_are_kept_as_examples() -> None:
    one, other = Tally(), Tally()
    one.add_labels(["h", "g", "f", "a"])
    other.add_labels(["b", "c", "d", "e"])
    one.merge(other)
    assert one.unknown_labels == ("a", "b", "c", "d", "e")


def test_histograms_of_many_bins_stay_small() -> None:
    scores = np.zeros((6, 2, 4096), np.int64)
    scores[:, :, 1900:2200] = np.random.default_rng(0).integers(0, 50, (6, 2, 300))
    assert len(json.dumps(Tally({"scores": scores}).to_json())) < 8000


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.array(7), np.zeros((2, 0), np.int64)])
def test_arrays_without_numbers_or_axes_come_back(array: np.ndarray) -> None:
    again = Tally.from_json(Tally({"x": array}).to_json()).counts["x"]
    assert (again.shape, again.dtype) == (array.shape, array.dtype)
