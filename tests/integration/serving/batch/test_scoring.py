"""The core of batch scoring on small real ensembles."""

import itertools
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_ensembles import BUNDLES, rows, several_values, text_labels, texts_and_opsets
from table_rows import columns_of
from widedeep.serving.batch import local
from widedeep.serving.batch.scoring import BatchScorer, chunk_rows_of, without_row
from widedeep.serving.contract.bundle import Bundle
from widedeep.serving.contract.errors import BundleError, InvalidInput
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.outputs import all_outputs


def table(arrays: dict[str, Array], scorer: BatchScorer, **more: Any) -> Any:
    return pa.record_batch(columns_of(scorer.scorer.inputs, arrays) | more)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("animals") / "7"
    text_labels(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(path: Path) -> BatchScorer:
    return BatchScorer.load(path, keep=["id"])


def batch_of(scorer: BatchScorer, n_rows: int, seed: int = 0) -> Any:
    return table(rows(scorer.scorer.inputs, n_rows, seed), scorer, id=pa.array([f"row{i}" for i in range(n_rows)]))


@pytest.mark.parametrize("make", BUNDLES)
def test_every_output_of_every_kind_of_bundle_equals_what_the_server_answers(
    make: Callable[[Path], Bundle], tmp_path: Path
) -> None:
    bundle = make(tmp_path / "1")
    scorer = BatchScorer.load(tmp_path / "1", outputs=all_outputs(bundle))
    arrays = rows(bundle.inputs, 300)
    answer = scorer.score(table(arrays, scorer))
    expected = Ensemble.load(tmp_path / "1").predict(arrays, all_outputs(bundle))
    for name, values in expected.items():
        got = np.array(answer.column(name).to_pylist()).reshape(values.shape)
        if values.dtype.kind == "f":
            np.testing.assert_allclose(got, values, rtol=0, atol=1e-6)
        else:
            assert got.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("unit_s", "expected"),
    [
        pytest.param(1e-3, 2, id="a run of two rows is long"),
        pytest.param(0.1e-3, 4, id="one of four is the first long one"),
        pytest.param(1e-6, 8, id="none is long"),
    ],
)
def test_members_run_as_few_rows_at_once_as_cost_little_and_take_long(
    unit_s: float, expected: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {rows: unit_s * cost for rows, cost in {1: 2.0, 2: 2.08, 4: 4.0, 8: 8.2}.items()}
    monkeypatch.setattr(local, "timed", lambda *_: seconds)
    assert set(local.LocalScorer.load(path).member_rows.values()) == {expected}


@pytest.mark.parametrize("own_bytes", [1 << 20, 0])
def test_threads_answer_what_one_answers_with_sessions_of_their_own_and_with_shared_ones(
    own_bytes: int, path: Path, scorer: BatchScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_OWN_BYTES", own_bytes)
    several = local.LocalScorer.load(path)
    several.open_for(3)
    arrays = [rows(several.inputs, 500, seed) for seed in range(20)]
    outputs = [spec.name for spec in several.outputs]
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(lambda inputs: several.score(inputs, outputs), arrays))
    for inputs, answer in zip(arrays, answers, strict=True):
        for name, values in scorer.scorer.score(inputs, outputs).items():
            np.testing.assert_array_equal(answer[name], values)


def test_a_bundle_that_changed_since_it_was_loaded_is_not_opened_for_further_threads(tmp_path: Path) -> None:
    text_labels(tmp_path / "1")
    loaded = local.LocalScorer.load(tmp_path / "1")
    shutil.rmtree(tmp_path / "1")
    several_values(tmp_path / "1")
    with pytest.raises(BundleError, match="expected the bundle with digest"):
        loaded.open_for(2)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 400), max_size=6), chunk_rows=st.integers(1, 400))
def test_a_row_has_the_same_bits_in_whatever_batch_it_comes(
    path: Path, scorer: BatchScorer, cuts: list[int], chunk_rows: int
) -> None:
    whole = batch_of(scorer, 400)
    other = BatchScorer(scorer.scorer, keep=["id"], chunk_rows=chunk_rows)
    places = sorted({0, 400, *cuts})
    parts = [other.score(whole.slice(a, b - a)) for a, b in itertools.pairwise(places)]
    assert (
        pa.Table.from_batches(parts)
        .combine_chunks()
        .equals(pa.Table.from_batches([scorer.score(whole)]).combine_chunks())
    )


def test_answers_carry_the_bundle_in_their_metadata_and_on_request_in_every_row(path: Path) -> None:
    scorer = BatchScorer.load(path, bundle_columns=True, outputs=["label"], prefix="animal_")
    identity = scorer.scorer.identity
    assert (identity.name, identity.version, len(identity.digest)) == ("test", "7", 64)
    answer = scorer.score(batch_of(scorer, 3))
    assert answer.schema.names == [
        "animal_label",
        "animal_bundle_name",
        "animal_bundle_version",
        "animal_bundle_digest",
    ]
    assert answer.column(3).to_pylist() == [identity.digest] * 3
    assert answer.schema.metadata == {
        b"widedeep.bundle": b"test",
        b"widedeep.version": b"7",
        b"widedeep.digest": identity.digest.encode(),
    }


def test_probabilities_are_lists_whose_elements_are_named_by_the_classes(scorer: BatchScorer) -> None:
    field = scorer.schema(batch_of(scorer, 1).schema).field("probabilities")
    assert field.type == pa.list_(pa.float32(), 3)
    assert field.metadata == {b"elements": b'["cat", "dog", "ibex"]'}


def test_kept_columns_come_first_and_unchanged(scorer: BatchScorer) -> None:
    answer = scorer.score(batch_of(scorer, 4))
    assert answer.schema.names == ["id", "probabilities", "label"]
    assert answer.column("id").to_pylist() == ["row0", "row1", "row2", "row3"]


def test_a_batch_without_rows_is_answered_by_one(scorer: BatchScorer) -> None:
    answer = scorer.score(batch_of(scorer, 2).slice(0, 0))
    assert answer.num_rows == 0
    assert answer.schema == scorer.score(batch_of(scorer, 2)).schema


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=st.sets(st.integers(0, 49)))
def test_exactly_the_bad_rows_are_rejected_and_all_others_scored_as_ever(scorer: BatchScorer, bad: set[int]) -> None:
    good = batch_of(scorer, 50)
    column = good.column("b").to_pylist()
    for row in bad:
        column[row] = None
    place = good.schema.get_field_index("b")
    spoilt = good.set_column(place, "b", pa.array(column, pa.float32()))
    scored = scorer.score_rows(spoilt)
    assert [row.index for row in scored.rejected] == sorted(bad)
    keep = [i for i in range(50) if i not in bad]
    assert scored.predictions.equals(scorer.score(good).take(pa.array(keep, pa.int64())))
    for row in scored.rejected:
        assert row.reason.startswith("input 'tabular': NaN in column 'b', but a member cannot take missing values")


def test_a_member_that_has_no_score_for_a_row_rejects_that_row_alone(tmp_path: Path) -> None:
    several_values(tmp_path / "1")
    scorer = BatchScorer.load(tmp_path / "1")
    arrays = rows(scorer.scorer.inputs, 9)
    arrays["tabular"][5] = 3e38
    scored = scorer.score_rows(table(arrays, scorer))
    assert [row.index for row in scored.rejected] == [5]
    assert "has no score for these values" in scored.rejected[0].reason
    assert not scored.rejected[0].reason.startswith("row")


def test_text_is_bound_from_plain_and_dictionary_columns_alike(tmp_path: Path) -> None:
    texts_and_opsets(tmp_path / "1")
    scorer = BatchScorer.load(tmp_path / "1")
    batch = table(rows(scorer.scorer.inputs, 20), scorer)
    place = batch.schema.get_field_index("city")
    coded = batch.set_column(place, "city", batch.column("city").dictionary_encode())
    assert scorer.score(coded).equals(scorer.score(batch))


def test_a_missing_column_is_refused_before_any_row_is_read(scorer: BatchScorer) -> None:
    with pytest.raises(InvalidInput, match=r"input 'tabular': column 'b' is missing; expected the columns 'a', 'b'"):
        scorer.columns(["a", "c", "image", "id"])
    with pytest.raises(InvalidInput, match=r"there is no column 'id' to keep; there are 'a', 'b', 'c', 'image'"):
        scorer.columns(["a", "b", "c", "image"])


def test_a_kept_column_named_like_an_output_is_refused(path: Path) -> None:
    scorer = BatchScorer.load(path, keep=["label"])
    batch = batch_of(scorer, 1).rename_columns({"id": "label"})
    with pytest.raises(InvalidInput, match=r"two columns 'label'.*prefix"):
        scorer.schema(batch.schema)
    assert BatchScorer.load(path, keep=["label"], prefix="p_").score(batch).schema.names == [
        "label",
        "p_probabilities",
        "p_label",
    ]


def test_an_unknown_output_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"unknown output 'scores/none'; the bundle has 'probabilities', 'label'"):
        BatchScorer.load(path, outputs=["scores/none"])


def test_a_damaged_bundle_is_refused(tmp_path: Path) -> None:
    text_labels(tmp_path / "1")
    (tmp_path / "1" / "members" / "deep.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"deep.onnx has changed"):
        BatchScorer.load(tmp_path / "1")


@pytest.mark.parametrize(("size", "expected"), [(1, 8192), (128, 8192), (1 << 20, 1), (64 * 64 * 3, 85)])
def test_chunks_take_about_four_mebibytes(size: int, expected: int) -> None:
    assert chunk_rows_of([TensorSpec("x", DataType.FP32, (-1, size))]) == expected


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("input 'x': NaN in row 0, column 'b', but", "input 'x': NaN in column 'b', but"),
        ("input 'x': NaN in row 0, but a member", "input 'x': NaN, but a member"),
        ("row 0: member 'a' has no score", "member 'a' has no score"),
        ("expected FP32, got 'x' (str) in row 0", "expected FP32, got 'x' (str)"),
        ("FP32 cannot hold 1e99 (float) of row 0", "FP32 cannot hold 1e99 (float)"),
        ("'x' in row 0 is no category", "'x' is no category"),
        ("row 0 is not UTF-8", "row 0 is not UTF-8"),
        ("'in row 01'", "'in row 01'"),
    ],
)
def test_the_reason_of_a_row_that_stood_alone_does_not_number_it(reason: str, expected: str) -> None:
    assert without_row(reason) == expected
