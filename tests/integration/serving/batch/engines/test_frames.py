"""Record batches of users' own data sets, row by row in their places."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from engine_work import table
from small_ensembles import text_labels
from widedeep.serving.batch.engines.frames import FrameOptions, FrameScorer
from widedeep.serving.contract.bundle import read_description
from widedeep.serving.contract.errors import InvalidInput

N = 300
BAD = (0, 17, 18, 299)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("animals") / "1"
    text_labels(folder)
    return folder


@pytest.fixture(scope="module")
def batch(path: Path) -> Any:
    return batch_of(path, BAD)


def batch_of(path: Path, bad_rows: tuple[int, ...] = ()) -> Any:
    return table(read_description(path).inputs, N, bad_rows).to_batches()[0]


def test_a_row_that_cannot_be_scored_fails_the_batch(path: Path, batch: Any) -> None:
    with pytest.raises(InvalidInput, match="column 'a'"):
        FrameScorer.load(str(path), FrameOptions()).score(batch)


def test_or_it_gets_nulls_and_a_reason_in_its_place(path: Path, batch: Any) -> None:
    options = FrameOptions(
        ["label", "probabilities", "scores/wide"], ["id"], "p_", bundle_columns=True, on_error="null"
    )
    scorer = FrameScorer.load(str(path), options)
    answer = scorer.score(batch)
    assert answer.schema == scorer.schema(batch.schema)
    assert answer.column("id").to_pylist() == list(range(N))
    rejected = np.isin(np.arange(N), BAD)
    for name in answer.schema.names[1:-1]:
        assert np.array(answer.column(name).is_null()).tolist() == rejected.tolist(), name
    reasons = answer.column("p_error").to_pylist()
    assert [row for row, reason in enumerate(reasons) if reason] == list(BAD)
    assert reasons[17] == "input 'tabular': NaN in column 'a', but a member cannot take missing values there"
    whole = FrameScorer.load(str(path), options).score(batch_of(path))
    good = pa.array(np.flatnonzero(~rejected))
    assert answer.take(good).equals(whole.take(good))


def test_a_batch_without_rows_and_one_of_bad_rows_alone_are_answered(path: Path, batch: Any) -> None:
    scorer = FrameScorer.load(str(path), FrameOptions(on_error="null"))
    assert scorer.score(batch.slice(0, 0)).num_rows == 0
    assert scorer.score(batch.slice(17, 2)).column("label").null_count == 2


def test_a_kept_column_of_the_name_error_is_refused_unless_a_prefix_tells_them_apart(path: Path, batch: Any) -> None:
    named = batch.rename_columns(["error", *batch.schema.names[1:]])
    with pytest.raises(InvalidInput, match="two columns 'error'"):
        FrameScorer.load(str(path), FrameOptions(keep=["error"], on_error="null")).score(named)
    FrameScorer.load(str(path), FrameOptions(keep=["error"], prefix="p_", on_error="null")).score(named)
