"""From batches to a report: what is counted, what merges, and what people read."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from small_bundle import INPUTS, make_bundle, rows
from widedeep.export.histograms import histograms_of, to_bytes
from widedeep.serving.batch.evaluation import Evaluator, Tally, describe, evaluator_of
from widedeep.serving.batch.spec import InputSpec, JobSpec
from widedeep.serving.contract.bundle import Bundle, Samples, read_samples, write_bundle
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

N_ROWS = 120
CLASSES = ("cat", "dog", "owl")
PROBABILITIES = [TensorSpec(name, DataType.FP32, (-1, 3)) for name in ("probabilities", "scores/deep", "scores/wide")]
VALUES = [TensorSpec(name, DataType.FP32, (-1, 2)) for name in ("prediction", "scores/deep", "scores/wide")]
HISTOGRAMS = histograms_of(INPUTS, rows(300, seed=3))


def answers(outputs: list[TensorSpec], n_rows: int) -> dict[str, Array]:
    rng = np.random.default_rng(7)
    out = {}
    for spec in outputs:
        values = rng.normal(size=(n_rows, *spec.row_shape))
        if spec.row_shape == (3,):
            values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        out[spec.name] = values.astype(np.float32)
    return out


def batch_of(n_rows: int) -> Any:
    rng = np.random.default_rng(8)
    labels = rng.choice(np.array([*CLASSES, "cow", None], object), n_rows, p=[0.3, 0.3, 0.3, 0.05, 0.05])
    return pa.RecordBatch.from_pydict(
        {
            "animal": pa.array(labels, pa.string()),
            "both": pa.array(list(rng.normal(size=(n_rows, 2)))),
            "site": pa.array(rng.choice(np.array(["a", "b", None], object), n_rows), pa.string()),
            "year": pa.array(rng.integers(2020, 2023, n_rows)),
        }
    )


BATCH, ROWS = batch_of(N_ROWS), rows(N_ROWS, seed=4)


def classifier(**changes: Any) -> Evaluator:
    arguments = {"classes": CLASSES, "label": "animal", "slices": ("site", "year"), "histograms": HISTOGRAMS, **changes}
    return Evaluator(INPUTS, PROBABILITIES, **arguments)


def regressor(**changes: Any) -> Evaluator:
    return Evaluator(INPUTS, VALUES, **{"label": "both", "slices": ("site",), "histograms": HISTOGRAMS, **changes})


def counted(evaluator: Evaluator, outputs: list[TensorSpec], *, start: int = 0, stop: int = N_ROWS) -> Tally:
    tally = evaluator.tally()
    part = slice(start, stop)
    evaluator.add_batch(
        tally,
        BATCH.slice(start, stop - start),
        {name: array[part] for name, array in ROWS.items()},
        {name: array[part] for name, array in answers(outputs, N_ROWS).items()},
    )
    return tally


def assert_alike(one: Any, other: Any, place: str = "report") -> None:
    """Compare two reports; numbers may differ by rounding."""
    assert type(one) is type(other), place
    if isinstance(one, Mapping):
        assert one.keys() == other.keys(), place
        for key, value in one.items():
            assert_alike(value, other[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for i, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_alike(left, right, f"{place}[{i}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-9), place
    else:
        assert one == other, place


@pytest.mark.parametrize(("make", "outputs"), [(classifier, PROBABILITIES), (regressor, VALUES)])
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_report_of_the_whole_is_that_of_any_split_in_any_order(make: Any, outputs: Any, data: Any) -> None:
    evaluator = make()
    cuts = sorted(data.draw(st.lists(st.integers(0, N_ROWS), max_size=5)))
    edges = [0, *cuts, N_ROWS]
    parts = [
        counted(evaluator, outputs, start=start, stop=stop) for start, stop in itertools.pairwise(edges) if stop > start
    ]
    total = evaluator.tally()
    for part in data.draw(st.permutations(parts)):
        total.merge(Tally.from_json(json.loads(json.dumps(part.to_json()))))
    assert_alike(evaluator.report(total), evaluator.report(counted(evaluator, outputs)))


@pytest.mark.parametrize(("make", "outputs"), [(classifier, PROBABILITIES), (regressor, VALUES)])
def test_the_same_rows_give_the_same_tally_bit_for_bit(make: Any, outputs: Any) -> None:
    evaluator = make()
    first, second = (json.dumps(counted(evaluator, outputs).to_json()) for _ in range(2))
    assert first == second


def test_rows_without_a_known_label_are_counted_and_not_evaluated() -> None:
    labels = BATCH.column("animal").to_pylist()
    report = classifier().report(counted(classifier(), PROBABILITIES))
    assert report["n_rows"] == N_ROWS
    assert report["n_unlabelled"] == labels.count(None) > 0
    assert report["n_unknown_label"] == labels.count("cow") > 0
    assert report["unknown_labels"] == ["cow"]
    assert report["n_evaluated"] == N_ROWS - labels.count(None) - labels.count("cow")
    probabilities = answers(PROBABILITIES, N_ROWS)["probabilities"]
    right = [label == CLASSES[i] for label, i in zip(labels, probabilities.argmax(axis=1), strict=True)]
    assert report["ensemble"]["accuracy"]["value"] == pytest.approx(sum(right) / report["n_evaluated"])


def test_inputs_of_rows_without_a_label_are_compared_all_the_same() -> None:
    tally = counted(classifier(), PROBABILITIES)
    assert tally.counts["input/tabular"].sum() == 3 * N_ROWS


def test_a_slice_has_the_metrics_of_its_rows() -> None:
    evaluator = classifier()
    report = evaluator.report(counted(evaluator, PROBABILITIES))
    sites, labels = BATCH.column("site").to_pylist(), BATCH.column("animal").to_pylist()
    assert {row["value"] for row in report["slices"]["site"]} == {"a", "b", "(missing)"}
    assert {row["value"] for row in report["slices"]["year"]} == {"2020", "2021", "2022"}
    own = [i for i in range(N_ROWS) if sites[i] == "a" and labels[i] in CLASSES]
    alone = classifier(slices=(), histograms=None)
    tally = alone.tally()
    for i in own:
        alone.add_batch(tally, BATCH.slice(i, 1), {}, {k: v[[i]] for k, v in answers(PROBABILITIES, N_ROWS).items()})
    expected = alone.report(tally)
    found = next(row for row in report["slices"]["site"] if row["value"] == "a")
    assert found["n"] == len(own)
    for metric in ("log_loss", "accuracy", "brier"):
        assert_alike(found["ensemble"][metric], expected["ensemble"][metric])
        assert_alike(found["members"]["wide"]["difference"], expected["members"]["wide"]["difference"])


def test_a_member_may_be_called_ensemble() -> None:
    outputs = [*PROBABILITIES[:1], TensorSpec("scores/ensemble", DataType.FP32, (-1, 3)), *PROBABILITIES[2:]]
    evaluator = Evaluator(INPUTS, outputs, classes=CLASSES, label="animal")
    report = evaluator.report(counted(evaluator, outputs))
    assert list(report["members"]) == ["ensemble", "wide"]
    assert report["members"]["ensemble"]["log_loss"] != report["ensemble"]["log_loss"]
    assert report["members"]["ensemble"]["calibration"] != report["ensemble"]["calibration"]


def test_rows_that_all_lack_a_label_leave_no_metrics() -> None:
    evaluator = classifier()
    tally = evaluator.tally()
    batch = pa.RecordBatch.from_pydict({"animal": pa.nulls(N_ROWS), "site": pa.nulls(N_ROWS), "year": pa.nulls(N_ROWS)})
    evaluator.add_batch(tally, batch, ROWS, answers(PROBABILITIES, N_ROWS))
    report = evaluator.report(tally)
    assert report["n_unlabelled"] == N_ROWS
    assert "ensemble" not in report
    assert "120 rows have no label" in describe(report)
    tally.merge(counted(evaluator, PROBABILITIES))
    assert evaluator.report(tally)["n_evaluated"] > 0


def test_one_row_has_values_and_the_intervals_that_can_be_told() -> None:
    evaluator = classifier(slices=(), histograms=None)
    labelled = next(i for i, label in enumerate(BATCH.column("animal").to_pylist()) if label in CLASSES)
    report = evaluator.report(counted(evaluator, PROBABILITIES, start=labelled, stop=labelled + 1))
    assert report["ensemble"]["log_loss"]["value"] > 0
    assert report["ensemble"]["log_loss"]["low"] is None
    assert report["ensemble"]["accuracy"]["low"] is not None
    json.dumps(report, allow_nan=False)
    assert "log loss" in describe(report)


def test_a_report_of_no_rows_is_one_too() -> None:
    for evaluator in (classifier(), regressor()):
        report = evaluator.report(evaluator.tally())
        assert report["n_rows"] == 0
        assert "0 of 0 rows" in describe(report)


def test_a_report_is_json_and_reads_well() -> None:
    evaluator = classifier()
    report = evaluator.report(counted(evaluator, PROBABILITIES))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    text = describe(report)
    for part in ("log loss", "less wide", "confidence (ensemble)", "most mistaken", "site", "against 300 rows"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 110


def test_a_report_of_values_reads_well() -> None:
    evaluator = regressor(histograms=None)
    report = evaluator.report(counted(evaluator, VALUES))
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    text = describe(report)
    for part in ("RMSE", "mean error", "R2", "less deep", "not available"):
        assert part in text
    assert len(report["ensemble"]["outputs"]) == 2


def test_values_that_would_steer_a_terminal_are_shown_as_questions() -> None:
    evaluator = classifier(slices=("site",))
    tally = evaluator.tally()
    batch = pa.RecordBatch.from_pydict({"animal": ["cat", "\x1b[2J"], "site": ["\x1b[31m", "b"]})
    outputs = {name: array[:2] for name, array in answers(PROBABILITIES, N_ROWS).items()}
    evaluator.add_batch(tally, batch, {name: array[:2] for name, array in ROWS.items()}, outputs)
    assert "\x1b" not in describe(evaluator.report(tally))


def test_a_slice_by_an_identifier_keeps_a_bounded_number_of_values() -> None:
    evaluator = classifier(slices=("id",), histograms=None)
    tally = evaluator.tally()
    for start in (0, 60):
        ids = pa.array([f"row {i % 110}" for i in range(start, start + 120)])
        batch = pa.RecordBatch.from_pydict({"animal": ["cat"] * 120, "id": ids})
        evaluator.add_batch(tally, batch, {}, answers(PROBABILITIES, N_ROWS))
    rows_by_value = {row["value"]: row["n"] for row in evaluator.report(tally)["slices"]["id"]}
    assert len(rows_by_value) == 101
    assert sum(rows_by_value.values()) == 240
    assert "(other)" in rows_by_value


SCHEMA = pa.schema(
    [
        pa.field("animal", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("nested", pa.list_(pa.list_(pa.int8()))),
    ]
)


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (
            classifier(label="kind", slices=()),
            r"no column 'kind' to evaluate by; there are \['animal', 'value', 'nested'\]",
        ),
        (classifier(label="nested", slices=()), r"column 'nested' holds list<item: list.*; expected one label a row"),
        (classifier(slices=("nested",)), r"column 'nested' holds .*; expected text, numbers"),
        (regressor(label="value", slices=()), r"column 'value' holds double; expected a list of 2 numbers a row"),
    ],
)
def test_columns_that_never_fit_are_refused_before_the_job(evaluator: Evaluator, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        evaluator.check_schema(SCHEMA)


def test_classes_must_be_known() -> None:
    with pytest.raises(ConfigurationError, match="3 probabilities of 0 classes cannot be evaluated"):
        classifier(classes=())


def test_a_model_of_another_kind_cannot_be_evaluated() -> None:
    with pytest.raises(ConfigurationError, match="expected an output `probabilities` or `prediction`"):
        Evaluator(INPUTS, [TensorSpec("logits", DataType.FP32, (-1, 3))], label="animal")


def job(bundle: str, digest: str, *, label: str = "animal", server: bool = False) -> JobSpec:
    source = InputSpec("rows.parquet", "parquet", BATCH.schema)
    return JobSpec(bundle, "animals", "1", digest, source, "", "out", ("label",), label=label, server=server)


@pytest.fixture
def with_histograms(tmp_path: Path) -> tuple[Path, Bundle]:
    """A bundle whose evidence holds histograms of its inputs."""
    old = make_bundle(tmp_path / "old")
    graphs = {member.name: (tmp_path / "old" / member.file).read_bytes() for member in old.members}
    samples: Samples = read_samples(tmp_path / "old")
    path = tmp_path / "new"
    return path, write_bundle(path, replace(old), graphs, samples, {"inputs.json": to_bytes(HISTOGRAMS)})


def drift_of(evaluator: Evaluator | None) -> bool:
    assert evaluator is not None
    tally = evaluator.tally()
    evaluator.add_batch(tally, BATCH, ROWS, answers(PROBABILITIES, N_ROWS))
    return bool(evaluator.report(tally)["drift"]["available"])


def test_a_job_without_a_label_has_no_evaluator() -> None:
    assert evaluator_of(job("nowhere", "", label=""), "nowhere") is None


def test_drift_is_told_against_the_histograms_in_the_bundle(with_histograms: tuple[Path, Bundle]) -> None:
    path, bundle = with_histograms
    assert drift_of(evaluator_of(job(str(path), bundle.digest), str(path)))


def test_an_older_bundle_is_evaluated_without_drift(bundle_path: Path) -> None:
    assert not drift_of(evaluator_of(job(str(bundle_path), ""), str(bundle_path)))


class Served:
    """What a server says of itself."""

    inputs = INPUTS
    outputs = tuple(PROBABILITIES)
    classes = CLASSES


def test_a_server_is_taken_at_its_word_where_its_bundle_is_not_here(with_histograms: tuple[Path, Bundle]) -> None:
    path, bundle = with_histograms
    served: Any = Served()
    assert not drift_of(evaluator_of(job("animals", "0", server=True), "animals", served))
    assert not drift_of(evaluator_of(job(str(path), "of another", server=True), str(path), served))
    assert drift_of(evaluator_of(job(str(path), bundle.digest, server=True), str(path), served))


def test_a_server_of_which_nothing_is_known_cannot_be_evaluated() -> None:
    with pytest.raises(ConfigurationError, match="animals is not the bundle that the server scores with"):
        evaluator_of(job("animals", "0", server=True), "animals")
