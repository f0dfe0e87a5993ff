"""Real bundles in real onnxruntime sessions."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from small_bundle import make_bundle, rows, softmax_graph
from widedeep.serving.contract.bundle import Bundle, Samples, read_bundle, read_samples, write_bundle
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.errors import BundleError, ConfigurationError, InvalidInput
from widedeep.serving.contract.tensors import DataType
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.pool import Pool
from widedeep.serving.engine.runtime import CPU, ort

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def ensemble(bundle_path: Path) -> Ensemble:
    return Ensemble.load(bundle_path, pool=Pool(2))


def rewrite(
    source: Path,
    target: Path,
    *,
    graphs: dict[str, bytes] | None = None,
    outputs: Change = lambda _: None,
    inputs: Change = lambda _: None,
    **changes: Any,
) -> Path:
    """Write the bundle at `source` once more with other graphs, golden rows or declarations."""
    bundle, samples = read_bundle(source), read_samples(source)
    kept = {member.name: (source / member.file).read_bytes() for member in bundle.members}
    golden = Samples(dict(samples.inputs), dict(samples.outputs))
    inputs(golden.inputs)  # type: ignore[arg-type]  # a dict, made above
    outputs(golden.outputs)  # type: ignore[arg-type]  # a dict, made above
    write_bundle(target, replace(bundle, **changes), kept | (graphs or {}), golden)
    return target


def test_a_bundle_answers_its_golden_rows_and_tells_the_differences(bundle_path: Path, ensemble: Ensemble) -> None:
    differences = ensemble.verify(read_samples(bundle_path))
    assert differences.keys() == {"probabilities", "scores/deep", "scores/wide"}
    assert max(differences.values()) <= 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_batch_is_its_rows_one_by_one(ensemble: Ensemble, n_rows: int, seed: int) -> None:
    batch = rows(n_rows, seed)
    outputs = ["probabilities", "scores/deep", "scores/wide"]
    together = ensemble.predict(batch, outputs)
    for row in np.random.default_rng(seed).integers(0, n_rows, 5):
        alone = ensemble.predict({name: array[row : row + 1] for name, array in batch.items()}, outputs)
        for name in outputs:
            np.testing.assert_allclose(together[name][row], alone[name][0], atol=1e-6)


def test_many_threads_get_the_same_answer_as_one(ensemble: Ensemble) -> None:
    batches = [rows(50, seed) for seed in range(6)]
    alone = [ensemble.predict(batch)["probabilities"] for batch in batches]
    answers: dict[int, list[Any]] = {i: [] for i in range(len(batches))}

    def ask(i: int) -> None:
        for _ in range(20):
            answers[i].append(ensemble.predict(batches[i])["probabilities"])

    threads = [threading.Thread(target=ask, args=(i,)) for i in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for i, expected in enumerate(alone):
        assert len(answers[i]) == 20
        np.testing.assert_allclose(answers[i], [expected] * 20, atol=1e-6)


def test_a_member_without_weight_runs_only_when_its_scores_are_asked_for(bundle_path: Path, tmp_path: Path) -> None:
    one = LinearPool(np.array([1.0, 0.0]))

    def deep_alone(outputs: dict[str, Any]) -> None:
        outputs["probabilities"] = outputs["scores/deep"]
        outputs["label"] = np.array(["cat", "dog", "owl"], object)[outputs["scores/deep"].argmax(axis=1)][:, None]

    ensemble = Ensemble.load(rewrite(bundle_path, tmp_path / "b", combiner=one, outputs=deep_alone))
    ran: list[int] = []

    def run(*outputs: str) -> set[int]:
        ran.clear()
        ensemble.execute(rows(3), 3, outputs, observe=lambda member, *_: ran.append(member))
        return set(ran)

    assert run("probabilities", "label") == {0}
    assert run("scores/wide") == {1}
    assert run("probabilities", "scores/wide") == {0, 1}


def test_every_run_is_observed_with_its_rows(ensemble: Ensemble) -> None:
    seen: list[tuple[int, int, float]] = []
    ensemble.execute(rows(700), 700, ["label"], observe=lambda *run: seen.append(run))
    for member in (0, 1):
        assert sum(n_rows for index, n_rows, _ in seen if index == member) == 700
    assert all(seconds >= 0 for *_, seconds in seen)


def test_an_unknown_output_is_refused_with_those_there_are(ensemble: Ensemble) -> None:
    with pytest.raises(InvalidInput, match="unknown output 'odds'; the bundle has 'probabilities', 'label'"):
        ensemble.predict(rows(1), ["odds"])


@pytest.mark.parametrize("output", ["label", "scores/deep"])
def test_a_row_without_a_finite_score_is_refused_since_its_label_would_be_a_guess(
    ensemble: Ensemble, output: str
) -> None:
    batch = rows(3)
    batch["image"][1, 0, 0] = np.nan
    with pytest.raises(
        InvalidInput, match=r"row 1: member 'deep' has no score for these values, but \[nan, nan, nan\]"
    ):
        ensemble.predict(batch, [output])
    assert ensemble.predict(batch, ["scores/wide"])["scores/wide"].shape == (3, 3)


def shift(name: str) -> Change:
    def change(outputs: dict[str, Any]) -> None:
        outputs[name] = outputs[name] + np.float32(1e-3)

    return change


def spoil(name: str) -> Change:
    def change(outputs: dict[str, Any]) -> None:
        outputs[name] = np.full_like(outputs[name], np.nan)

    return change


def relabel(outputs: dict[str, Any]) -> None:
    outputs["label"] = np.roll(np.array(["cat", "dog", "owl"], object), 1)[outputs["probabilities"].argmax(axis=1)][
        :, None
    ]


def flatten(name: str) -> Change:
    return lambda outputs: outputs.update({name: outputs[name].reshape(-1)})


def spell_out(outputs: dict[str, Any]) -> None:
    outputs["scores/wide"] = outputs["scores/wide"].astype(str).astype(object)


def cut(outputs: dict[str, Any]) -> None:
    outputs["probabilities"] = outputs["probabilities"][:, :2]


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (shift("scores/wide"), "golden output 'scores/wide' differs by 0.001; the tolerance here is 1e-05"),
        (shift("probabilities"), "golden output 'probabilities' differs by 0.001"),
        (spoil("scores/deep"), "golden output 'scores/deep' differs by nan"),
        (relabel, r"golden label of row \d was '\w+' and is now '\w+'"),
        (lambda outputs: outputs.pop("scores/deep"), "samples hold the outputs .* the bundle has"),
        (cut, r"'probabilities': expected float32 of shape \[5, 3\], the samples hold float32 of shape \[5, 2\]"),
        (flatten("probabilities"), r"'probabilities': expected float32 of shape \[5, 3\], .* of shape \[15\]"),
        (flatten("label"), r"'label': expected object of shape \[5, 1\], the samples hold object of shape \[5\]"),
        (spell_out, r"'scores/wide': expected float32 .*, the samples hold object"),
    ],
)
def test_a_bundle_that_does_not_answer_its_golden_rows_is_refused(
    bundle_path: Path, tmp_path: Path, outputs: Change, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Ensemble.load(rewrite(bundle_path, tmp_path / "b", outputs=outputs))


def test_golden_scores_are_measured_by_the_sizes_that_the_certificates_state(bundle_path: Path, tmp_path: Path) -> None:
    members = read_bundle(bundle_path).members
    large = tuple(replace(m, certificate=replace(m.certificate, sizes=(150.0, 150.0, 150.0))) for m in members)
    for name in ("scores/wide", "probabilities"):
        Ensemble.load(rewrite(bundle_path, tmp_path / "large", members=large, outputs=shift(name)))
        with pytest.raises(BundleError, match=r"differs by 0\.001"):
            Ensemble.load(rewrite(bundle_path, tmp_path / "unit", outputs=shift(name)))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda inputs: inputs.pop("image"), r"samples\.npz: missing input 'image'"),
        (lambda inputs: inputs.update(image=inputs["image"][:0], tabular=inputs["tabular"][:0]), "has no rows"),
        (lambda inputs: inputs.update(image=inputs["image"].astype(np.float64)), "expected datatype FP32, got FP64"),
    ],
)
def test_golden_rows_that_do_not_fit_the_inputs_are_refused(
    bundle_path: Path, tmp_path: Path, inputs: Change, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Ensemble.load(rewrite(bundle_path, tmp_path / "b", inputs=inputs))


def test_another_graph_of_the_same_shape_is_found_out(bundle_path: Path, tmp_path: Path) -> None:
    other = softmax_graph("image", (2, 4), 3, seed=1234)
    with pytest.raises(BundleError, match=r"golden output '.*' differs by"):
        Ensemble.load(rewrite(bundle_path, tmp_path / "b", graphs={"deep": other}))


def test_a_tie_may_be_labelled_either_way(bundle_path: Path, tmp_path: Path) -> None:
    equal = {"deep": constant_graph("image", [2, 4], 0.0), "wide": constant_graph("tabular", [3], 0.0)}

    def tie(outputs: dict[str, Any]) -> None:
        for name in ("probabilities", "scores/deep", "scores/wide"):
            outputs[name] = np.full((5, 3), 1 / 3, np.float32)
        outputs["label"] = np.full((5, 1), "owl", object)

    ensemble = Ensemble.load(rewrite(bundle_path, tmp_path / "b", graphs=equal, outputs=tie))
    assert ensemble.predict(rows(1))["label"].shape == (1, 1)


def constant_graph(
    name: str, row_shape: list[int], weight: float, *, dtype: int = TensorProto.FLOAT, n_outputs: int = 3
) -> bytes:
    """Return a graph that answers softmax of its rows times equal weights: the same for every class."""
    size = int(np.prod(row_shape))
    weights = np.full((size, n_outputs), weight, helper.tensor_dtype_to_np_dtype(dtype))
    nodes = [
        helper.make_node("Reshape", [name, "flat"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info(name, dtype, ["n_rows", *row_shape])],
        [helper.make_tensor_value_info("scores", dtype, ["n_rows", n_outputs])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([-1, size]), "flat")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return model.SerializeToString()


def external_graph() -> bytes:
    model = onnx.load_from_string(softmax_graph("image", (2, 4), 3, seed=0))
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, location="../../../secret")
    tensor.ClearField("raw_data")
    return model.SerializeToString()


def text_scores() -> bytes:
    model = onnx.load_from_string(softmax_graph("image", (2, 4), 3, seed=0))
    model.graph.node[-1].output[0] = "z2"
    model.graph.node.append(helper.make_node("Cast", ["z2"], ["scores"], to=TensorProto.STRING))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING
    return model.SerializeToString()


def two_outputs() -> bytes:
    model = onnx.load_from_string(softmax_graph("image", (2, 4), 3, seed=0))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n_rows", 3]))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (external_graph, r"deep\.onnx: tensor .* keeps its data in another file; a member must be one file"),
        (lambda: b"no model", r"deep\.onnx is not an ONNX model"),
        (lambda: softmax_graph("picture", (2, 4), 3, 0), r"takes \['picture'\], declared are \['image'\]"),
        (lambda: softmax_graph("image", (8,), 3, 0), r"input 'image': expected tensor\(float\) of shape \[-1, 2, 4\]"),
        (lambda: constant_graph("image", [2, 4], 0.0, dtype=TensorProto.DOUBLE), r"its graph takes tensor\(double\)"),
        (
            lambda: softmax_graph("image", (2, 4), 2, 0),
            r"'deep': expected scores of shape \[1, 3\], got \[1, 2\]",
        ),
        (text_scores, r"'deep': expected scores of tensor\(float\) or .*, its graph answers tensor\(string\)"),
        (two_outputs, r"member 'deep': expected one output, its graph has \['scores', 'z'\]"),
    ],
)
def test_a_graph_that_does_not_fit_its_declaration_is_refused(
    bundle_path: Path, tmp_path: Path, graph: Callable[[], bytes], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Ensemble.load(rewrite(bundle_path, tmp_path / "b", graphs={"deep": graph()}))


def test_a_provider_that_is_not_offered_is_refused(bundle_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="execution provider NoSuchProvider is not in this onnxruntime"):
        Ensemble.load(bundle_path, providers={"deep": ["NoSuchProvider"]})


def test_with_fallback_a_provider_that_is_not_offered_gives_way_to_the_cpu(bundle_path: Path) -> None:
    ensemble = Ensemble.load(bundle_path, providers={"": ["NoSuchProvider"]}, fallback=True)
    assert [member.provider for member in ensemble.members] == [CPU, CPU]


def test_providers_of_other_bundles_members_are_passed_over(bundle_path: Path) -> None:
    ensemble = Ensemble.load(bundle_path, providers={"trees": ["NoSuchProvider"]})
    assert [member.provider for member in ensemble.members] == [CPU, CPU]


@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="needs a machine without CUDA")
def test_a_provider_that_is_offered_but_cannot_start_is_refused(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    with pytest.raises(ConfigurationError, match=r"deep\.onnx: .*CUDAExecutionProvider could not start"):
        Ensemble.load(bundle_path, providers={"": ["CUDAExecutionProvider"]})
    ensemble = Ensemble.load(bundle_path, providers={"": ["CUDAExecutionProvider"]}, fallback=True)
    assert {member.provider for member in ensemble.members} == {CPU}


def test_text_inputs_reach_a_member_as_they_are(tmp_path: Path) -> None:
    bundle = text_bundle(tmp_path / "text")
    ensemble = Ensemble.load(tmp_path / "text")
    words = np.array([["red"], ["blau"], ["größe"]], object)
    np.testing.assert_allclose(ensemble.predict({"colour": words})["prediction"], [[1.0], [2.0], [3.0]])
    assert bundle.task == "regression"


def text_bundle(path: Path) -> Bundle:
    """Write a regression on one text column: red is 1, blau is 2, whatever else is 3."""
    node = helper.make_node(
        "LabelEncoder",
        ["colour"],
        ["scores"],
        domain="ai.onnx.ml",
        keys_strings=["red", "blau"],
        values_floats=[1.0, 2.0],
        default_float=3.0,
    )
    graph = helper.make_graph(
        [node],
        "text",
        [helper.make_tensor_value_info("colour", TensorProto.STRING, ["n_rows", 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    base = make_bundle(path.with_name("base"))
    bundle = replace(
        base,
        task="regression",
        classes=(),
        n_outputs=1,
        inputs=(replace(base.inputs[0], name="colour", datatype=DataType.BYTES, shape=(-1, 1)),),
        members=(replace(base.members[0], inputs=("colour",)),),
        combiner=LinearPool(np.ones(1), normalize=False),
    )
    expected = np.array([[1.0], [3.0]], np.float32)
    samples = Samples(
        {"colour": np.array([["red"], ["none"]], object)}, {"prediction": expected, "scores/deep": expected}
    )
    return write_bundle(path, bundle, {"deep": model.SerializeToString()}, samples)
