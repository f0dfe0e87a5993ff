"""Evaluation of what real sessions answer, chunk by chunk, against metrics of the same answers as a whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics
from small_ensembles import make, rows, several_values, softmaxes, text_labels, whole_number_labels
from widedeep.export.histograms import histograms_of
from widedeep.serving.batch.evaluation import Evaluator, Tally, describe
from widedeep.serving.batch.scoring import BatchScorer
from widedeep.serving.contract.bundle import Bundle, read_bundle
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.ensemble import Ensemble

N_ROWS = 300


def two_of_ten(path: Path) -> Bundle:
    return make(path, softmaxes(10), LinearPool(np.array([0.5, 0.5])), classes=tuple(range(10)), n_outputs=10)


def columns_of(arrays: dict[str, Array]) -> dict[str, Any]:
    """Return a column for each input, a list a row."""
    return {name: pa.array(list(array.reshape(len(array), -1))) for name, array in arrays.items()}


def evaluated(path: Path, arrays: dict[str, Array], truth: Any, *, chunk_rows: int) -> tuple[Evaluator, Tally]:
    """Score rows as a worker does and return what was counted."""
    bundle = read_bundle(path)
    histograms = histograms_of(bundle.inputs, rows(bundle.inputs, 2000, seed=1))
    evaluator = Evaluator.of_bundle(bundle, label="truth", slices=("half",), histograms=histograms)
    loaded = BatchScorer.load(path, chunk_rows=chunk_rows)
    scorer = BatchScorer(loaded.scorer, chunk_rows=chunk_rows, observed=evaluator.outputs)
    halves = pa.array(["first", "second"] * (N_ROWS // 2))
    batch = pa.RecordBatch.from_pydict({**columns_of(arrays), "truth": truth, "half": halves})
    evaluator.check_schema(batch.schema)
    total = evaluator.tally()

    def observe(*seen: Any) -> None:
        tally = evaluator.tally()
        evaluator.add_batch(tally, *seen)
        total.merge(Tally.from_json(tally.to_json()))

    scored = scorer.score_rows(batch, observe)
    assert not scored.rejected
    return evaluator, total


@pytest.mark.parametrize("bundle", [text_labels, whole_number_labels, two_of_ten])
@pytest.mark.parametrize("chunk_rows", [7, 300])
def test_probabilities_of_every_member_are_judged(
    bundle: Callable[[Path], Bundle], chunk_rows: int, tmp_path: Path
) -> None:
    made = bundle(tmp_path / "bundle")
    arrays = rows(made.inputs, N_ROWS, seed=2)
    truth = np.random.default_rng(0).integers(0, made.n_outputs, N_ROWS)
    labels = pa.array([made.classes[i] for i in truth])
    evaluator, tally = evaluated(tmp_path / "bundle", arrays, labels, chunk_rows=chunk_rows)
    report = evaluator.report(tally)
    answers = Ensemble.load(tmp_path / "bundle").predict(arrays, ["probabilities", "scores/deep", "scores/wide"])
    found = {"probabilities": report["ensemble"], **{f"scores/{name}": of for name, of in report["members"].items()}}
    for name, probabilities in answers.items():
        wide = probabilities.astype(np.float64)
        wide /= wide.sum(axis=1, keepdims=True)
        expected = metrics.log_loss(truth, wide, labels=range(made.n_outputs))
        assert found[name]["log_loss"]["value"] == pytest.approx(expected, rel=1e-5)
        assert found[name]["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, wide.argmax(axis=1)))
    assert [row["n"] for row in report["slices"]["half"]] == [N_ROWS // 2] * 2
    # rows of both draws are of one distribution
    assert report["drift"]["flags"]["drifted"] == 0
    assert "log loss" in describe(report)


def test_several_values_are_judged(tmp_path: Path) -> None:
    made = several_values(tmp_path / "bundle")
    arrays = rows(made.inputs, N_ROWS, seed=2)
    answers = Ensemble.load(tmp_path / "bundle").predict(arrays, ["prediction", "scores/sums", "scores/spread"])
    truth = answers["prediction"] + np.random.default_rng(0).normal(scale=5, size=(N_ROWS, 2))
    evaluator, tally = evaluated(tmp_path / "bundle", arrays, pa.array(list(truth)), chunk_rows=64)
    report = evaluator.report(tally)
    assert report["ensemble"]["rmse"]["value"] == pytest.approx(
        np.sqrt(metrics.mean_squared_error(truth, answers["prediction"])), rel=1e-6
    )
    expected = metrics.r2_score(truth, answers["scores/sums"])
    assert report["members"]["sums"]["r2"]["value"] == pytest.approx(expected, rel=1e-6)


def test_inputs_that_have_drifted_are_flagged(tmp_path: Path) -> None:
    made = text_labels(tmp_path / "bundle")
    arrays = rows(made.inputs, N_ROWS, seed=2)
    arrays["tabular"][:, 1] += np.float32(1.5)
    evaluator, tally = evaluated(tmp_path / "bundle", arrays, pa.nulls(N_ROWS), chunk_rows=64)
    drift = evaluator.report(tally)["drift"]
    assert [column["column"] for column in drift["columns"] if column["flag"] == "drifted"] == ["b"]
