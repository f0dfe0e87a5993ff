"""Ensembles as one ONNX file, scored by a plain runtime, against the bundle's own answers."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from small_bundle import softmax_graph
from small_ensembles import ANIMALS, BUNDLES, IMAGE, TABULAR, Rows, make, rows, softmaxes, text_labels, texts_and_opsets
from widedeep import export
from widedeep.export.convert.graph import Graph
from widedeep.export.fused_graph import fused_graph
from widedeep.serving.contract.bundle import Bundle, read_bundle
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.combiner import LinearPool, LogPool
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.runtime import ort


def scored(file: Path, given: Rows, names: Sequence[str]) -> dict[str, Array]:
    return dict(zip(names, ort.InferenceSession(str(file)).run(list(names), dict(given)), strict=True))


def by_the_reference(file: Path, given: Rows, names: Sequence[str]) -> dict[str, Array]:
    return dict(zip(names, ReferenceEvaluator(onnx.load(file)).run(list(names), dict(given)), strict=True))


def check_same(answers: Rows, expected: Rows) -> None:
    assert answers.keys() == expected.keys()
    for name, value in expected.items():
        if name == "label":
            assert answers[name].tolist() == value.tolist()
        else:
            np.testing.assert_allclose(answers[name], value, rtol=1e-6, atol=1e-6)
            assert answers[name].dtype == value.dtype


@pytest.mark.parametrize("bundle_of", BUNDLES)
def test_a_plain_runtime_answers_as_the_ensemble_does(bundle_of: Callable[[Path], Bundle], tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle")
    fused = export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx", member_scores=True)
    given, names = rows(bundle.inputs, 40), [spec.name for spec in fused.outputs]
    check_same(scored(fused.path, given, names), Ensemble.load(tmp_path / "bundle").predict(given, names))


def test_the_reference_evaluator_answers_alike(tmp_path: Path) -> None:
    bundle = text_labels(tmp_path / "bundle")
    fused = export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")
    given = rows(bundle.inputs, 20)
    check_same(
        by_the_reference(fused.path, given, ["probabilities", "label"]),
        Ensemble.load(tmp_path / "bundle").predict(given),
    )


def test_the_file_declares_what_the_bundle_does(tmp_path: Path) -> None:
    texts_and_opsets(tmp_path / "bundle")
    session = ort.InferenceSession(str(export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx").path))
    assert {node.name: (node.type, node.shape) for node in (*session.get_inputs(), *session.get_outputs())} == {
        "image": ("tensor(float)", ["n_rows", 2, 4]),
        "tabular": ("tensor(float)", ["n_rows", 3]),
        "city": ("tensor(string)", ["n_rows", 1]),
        "probabilities": ("tensor(float)", ["n_rows", 3]),
        "label": ("tensor(string)", ["n_rows", 1]),
    }


def test_the_file_tells_where_it_comes_from_and_what_was_compared(tmp_path: Path) -> None:
    bundle = text_labels(tmp_path / "bundle")
    fused = export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx", rows=rows(bundle.inputs, 30))
    told = {entry.key: entry.value for entry in onnx.load(fused.path).metadata_props}
    assert told["widedeep.digest"] == bundle.digest
    assert json.loads(told["widedeep.classes"]) == list(ANIMALS)
    assert [TensorSpec.from_json(spec) for spec in json.loads(told["widedeep.inputs"])] == [IMAGE, TABULAR]
    certificate = Certificate.from_json(json.loads(told["widedeep.certificate"]))
    assert certificate == fused.certificate
    assert certificate.rows == 5 + 30
    assert certificate.probes > 100
    assert 0 <= certificate.max_abs_diff < 1e-6


def test_members_that_the_combiner_does_not_use_are_left_out_and_their_inputs_still_taken(tmp_path: Path) -> None:
    make(tmp_path / "bundle", softmaxes(3), LinearPool(np.array([0.0, 1.0])))
    fused = export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")
    graph = onnx.load(fused.path).graph
    assert [node.op_type for node in graph.node].count("MatMul") == 1
    assert [value.name for value in graph.input] == ["image", "tabular"]
    given = rows([IMAGE, TABULAR], 10)
    names = ["probabilities", "label"]
    check_same(scored(fused.path, given, names), Ensemble.load(tmp_path / "bundle").predict(given))


def test_the_same_bundle_gives_the_same_bytes(tmp_path: Path) -> None:
    text_labels(tmp_path / "bundle")
    first, second = (export.fuse(tmp_path / "bundle", tmp_path / f"{i}.onnx") for i in range(2))
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_file_that_answers_otherwise_is_refused_and_what_stood_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_labels(tmp_path / "bundle")
    (tmp_path / "fused.onnx").write_bytes(b"older")

    def with_other_weights(bundle: Bundle, *args: Any, **kwargs: Any) -> Any:
        return fused_graph(replace(bundle, combiner=LinearPool(np.array([0.6, 0.4001]))), *args, **kwargs)

    monkeypatch.setattr(import_module("widedeep.export.fuse"), "fused_graph", with_other_weights)
    with pytest.raises(
        export.ConversionError, match=r"fused graph is not the ensemble: \d+ of 5 rows .*'probabilities'"
    ):
        export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")
    assert (tmp_path / "fused.onnx").read_bytes() == b"older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "fused.onnx", "members"]


def test_a_file_that_would_be_too_large_is_refused_before_a_graph_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text_labels(tmp_path / "bundle")
    monkeypatch.setattr(import_module("widedeep.export.fused_graph"), "MOST_BYTES", 100)
    with pytest.raises(export.ConversionError, match="ends at 2 GiB"):
        export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")


def test_an_ensemble_whose_answers_do_not_vary_proves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "bundle", softmaxes(3), LogPool(np.array([1e-9, 1e-9])))
    with pytest.raises(export.ConversionError, match="agreement would prove nothing"):
        export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")


def test_an_input_with_the_name_of_an_output_is_refused(tmp_path: Path) -> None:
    label = replace(IMAGE, name="label")
    graphs = {"deep": (softmax_graph("label", (2, 4), 3, 0), [label])}
    make(tmp_path / "bundle", graphs, LinearPool(np.array([1.0])))
    with pytest.raises(export.ConversionError, match="input 'label' has a name that the fused graph needs"):
        export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")


def test_a_combiner_that_uses_no_member_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "bundle", softmaxes(3), LinearPool(np.array([0.0, 0.0])))
    with pytest.raises(export.ConversionError, match="the combiner uses no member"):
        export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx")


def test_the_graph_is_built_without_any_file(tmp_path: Path) -> None:
    bundle = text_labels(tmp_path / "bundle")
    graphs = {member.name: onnx.load(tmp_path / "bundle" / member.file) for member in bundle.members}
    finished = fused_graph(read_bundle(tmp_path / "bundle"), graphs)
    assert finished.inputs == ("image", "tabular")
    given = rows(bundle.inputs, 4)
    answer = ort.InferenceSession(finished.data).run(["probabilities"], given)[0]
    np.testing.assert_allclose(answer, Ensemble.load(tmp_path / "bundle").predict(given)["probabilities"], atol=1e-6)


def test_forests_of_the_older_tree_operators_share_a_file_with_newer_trees(tmp_path: Path) -> None:
    from skl2onnx import to_onnx

    given, labels = load_iris(return_X_y=True)
    given = np.asarray(given, np.float32)
    forest = RandomForestClassifier(5, random_state=0).fit(given, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated names between skl2onnx and numpy
        old = to_onnx(forest, given[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    graph = Graph({"": 17, "ai.onnx.ml": 3})
    tabular = TensorSpec("tabular", DataType.FP32, (-1, 4))
    older = graph.finish(graph.embed(old, {"X": graph.input(tabular)})["probabilities"], 3)
    newer = export.convert(HistGradientBoostingClassifier(max_iter=3).fit(given, labels), given)
    assert (older.opset["ai.onnx.ml"], newer.opset["ai.onnx.ml"]) == (3, 5)
    graphs = {"older": (older.data, [tabular]), "newer": (newer.graph, [tabular])}
    make(tmp_path / "bundle", graphs, LinearPool(np.array([0.5, 0.5])))
    fused = export.fuse(tmp_path / "bundle", tmp_path / "fused.onnx", rows={"tabular": given})
    check_same(
        scored(fused.path, {"tabular": given}, ["probabilities", "label"]),
        Ensemble.load(tmp_path / "bundle").predict({"tabular": given}),
    )
