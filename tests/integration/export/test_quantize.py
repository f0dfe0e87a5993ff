"""Int8 members: real nets on real digits, judged by the ensemble that they serve in."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from widedeep import export
from widedeep.export.convert.graph import OPSET, Graph
from widedeep.export.int8_graph import int8_graph, jittered
from widedeep.export.member import Member
from widedeep.export.weights.catalogue import BEST_SINGLE
from widedeep.export.weights.held_out import HeldOut
from widedeep.export.weights.learner import Learner
from widedeep.export.weights.metrics import metrics_of
from widedeep.serving.contract.bundle import read_bundle, read_samples
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.engine.runtime import ort
from widedeep.serving.report import describe_bundle

N_TRAIN, N_SCORED = 1000, 1300
"""Rows to train on; rows up to which the combination is learned; the others are held out for int8."""


def dense_net(net: Any) -> bytes:
    """Return a trained MLP of scikit-learn as a float32 graph, as deep learning libraries write theirs."""
    graph = Graph()
    value = graph.input(TensorSpec("pixels", DataType.FP32, (-1, 64)))
    for weights, bias in zip(net.coefs_, net.intercepts_, strict=True):
        product = graph.add("MatMul", value, graph.constant(weights, np.float32))
        value = graph.add("Add", product, graph.constant(bias, np.float32))
        if bias is not net.intercepts_[-1]:
            value = graph.add("Relu", value)
    return graph.finish(graph.add("Softmax", value, axis=1) if hasattr(net, "classes_") else value, bias.size).data


def weighing(*weights: float) -> Learner:
    """Return a learner that gives the members these weights; its name keeps any other from being compared."""

    def fit(held_out: HeldOut, _seed: int) -> LinearPool:
        return LinearPool(np.array(weights), normalize=held_out.task == "classification")

    return Learner(BEST_SINGLE.name, fit)


class Digits:
    """A net and a linear model as members, classifiers of digits or regressors of two of their properties."""

    def __init__(self, *, is_classification: bool) -> None:
        pixels, labels = load_digits(return_X_y=True)
        self.rows = np.asarray(pixels / 16, np.float32)
        ink = self.rows.reshape(-1, 8, 8)
        self.target = labels if is_classification else np.stack([ink[:, :4].sum((1, 2)), labels], axis=1)
        net_class, linear = (MLPClassifier, LogisticRegression()) if is_classification else (MLPRegressor, Ridge())
        net = net_class(hidden_layer_sizes=(64, 32), learning_rate_init=0.01, max_iter=30, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: no matter
            self.models = [model.fit(self.rows[:N_TRAIN], self.target[:N_TRAIN]) for model in (net, linear)]
        self.ask = "predict_proba" if is_classification else "predict"
        linear_member = export.convert(linear, self.rows[:400], input_name="pixels")
        deep = replace(linear_member, graph=dense_net(net), source={"class": "MLP"}, opset={"": OPSET})
        np.testing.assert_allclose(
            ort.InferenceSession(deep.graph).run(None, {"pixels": self.rows})[0], self.scores(net, self.rows), atol=1e-3
        )
        self.members = {"deep": deep, "linear": linear_member}

    def scores(self, model: Any, rows: Array) -> Array:
        return np.asarray(getattr(model, self.ask)(rows))

    @property
    def held_out(self) -> dict[str, Array]:
        return {"pixels": self.rows[N_SCORED:]}

    @property
    def dim(self) -> dict[str, Array]:
        """Rows so dark that real ones leave the ranges measured on them."""
        return {"pixels": self.rows[:N_TRAIN] * np.float32(0.05)}

    def int8(self, *members: str, bound: float = 0.01) -> export.Int8:
        return export.Int8(members or ("deep",), self.held_out, self.target[N_SCORED:], bound)

    def build(self, path: Path, **changes: Any) -> export.Built:
        part = slice(N_TRAIN, N_SCORED)
        arguments: dict[str, Any] = {
            "name": "digits",
            "members": self.members,
            "scores": {
                name: self.scores(model, self.rows[part]) for name, model in zip(self.members, self.models, strict=True)
            },
            "target": self.target[part],
            "rows": {"pixels": self.rows[:N_TRAIN]},
            "learners": [weighing(0.7, 0.3)],
            "n_folds": 2,
        }
        return export.build(path, **(arguments | changes))


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits(is_classification=True)


@pytest.fixture(scope="module")
def built(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.build(tmp_path_factory.mktemp("built") / "int8", int8=digits.int8()).path


def test_the_figures_in_the_bundle_are_those_of_the_ensembles_served(
    digits: Digits, built: Path, tmp_path: Path
) -> None:
    digits.build(tmp_path / "float")
    ensembles = {"before": Ensemble.load(tmp_path / "float"), "after": Ensemble.load(built)}
    names = ["probabilities", "label", "scores/deep"]
    answers = {name: ensemble.predict(digits.held_out, names) for name, ensemble in ensembles.items()}
    loss = {
        name: metrics_of(answer["probabilities"], digits.target[N_SCORED:], "classification")["log_loss"]
        for name, answer in answers.items()
    }
    deep, linear = read_bundle(built).members
    assert linear.quantization is None
    assert deep.quantization is not None
    assert deep.quantization.loss_before == pytest.approx(loss["before"], rel=1e-5)
    assert deep.quantization.loss_after == pytest.approx(loss["after"], rel=1e-5)
    assert 0 < abs(loss["after"] - loss["before"]) < 0.01
    assert deep.quantization.labels_differ == (answers["before"]["label"] != answers["after"]["label"]).sum()
    difference = np.abs(answers["before"]["scores/deep"] - answers["after"]["scores/deep"]).max()
    assert deep.quantization.max_abs_diff == pytest.approx(difference, rel=1e-5)
    assert (deep.quantization.calibration_rows, deep.quantization.held_out_rows) == (512, len(digits.rows) - N_SCORED)


def test_an_int8_member_keeps_the_certificate_of_its_float_graph(digits: Digits, built: Path) -> None:
    assert read_bundle(built).members[0].certificate == digits.members["deep"].certificate


def test_inner_layers_are_int8_of_seven_bits_and_the_last_layer_and_softmax_stay_in_float(built: Path) -> None:
    graph = onnx.load(built / "members/deep.onnx").graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {array.shape: array for array in constants.values() if array.ndim == 2}
    assert {shape: array.dtype.name for shape, array in weights.items()} == {
        (64, 64): "int8",
        (64, 32): "int8",
        (32, 10): "float32",
    }
    assert np.abs(weights[64, 64].astype(int)).max() in range(60, 65)
    maker = {output: node for node in graph.node for output in node.output}
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    assert maker[softmax.input[0]].op_type != "DequantizeLinear"


def test_integer_kernels_answer_as_the_same_graph_in_float_does(digits: Digits, built: Path) -> None:
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    file = str(built / "members/deep.onnx")
    fused, unfused = ort.InferenceSession(file), ort.InferenceSession(file, plain)
    answers = [session.run(None, digits.held_out)[0] for session in (fused, unfused)]
    # Some rows may round to the other side somewhere; products that overflow would move nearly all of them.
    assert np.median(np.abs(answers[0] - answers[1])) < 1e-6
    assert np.abs(answers[0] - answers[1]).max() < 0.05


def test_the_same_build_gives_the_same_digest(digits: Digits, built: Path, tmp_path: Path) -> None:
    again = digits.build(tmp_path / "again", int8=digits.int8())
    assert again.bundle.digest == read_bundle(built).digest


def test_golden_outputs_are_those_of_the_int8_graph(built: Path) -> None:
    ensemble, samples = Ensemble.load(built), read_samples(built)
    np.testing.assert_array_equal(
        ensemble.predict(samples.inputs, ["scores/deep"])["scores/deep"], samples.outputs["scores/deep"]
    )


def test_golden_rows_pass_on_a_machine_that_rounds_otherwise(built: Path) -> None:
    samples, deep = read_samples(built), read_bundle(built).members[0]
    for seed in range(100, 104):  # none of those by which the tolerance was measured
        other = ort.InferenceSession(jittered((built / deep.file).read_bytes(), 2.0**-22, seed))
        difference = np.abs(other.run(None, dict(samples.inputs))[0] - samples.outputs["scores/deep"]).max()
        assert difference <= deep.tolerance("CPUExecutionProvider") < 0.02


def test_inspect_shows_what_int8_costs(built: Path) -> None:
    quantization = read_bundle(built).members[0].quantization
    assert quantization is not None
    text = describe_bundle(read_bundle(built))
    assert "Members in int8\nstatic QDQ, U8 activations, S8 weights" in text
    assert f"{quantization.loss_before:.6g}" in text
    assert f"{quantization.loss_after:.6g}" in text


def test_a_loss_above_the_bound_is_refused_with_both_figures_and_nothing_is_written(
    digits: Digits, tmp_path: Path
) -> None:
    with pytest.raises(
        export.ConversionError,
        match=r"int8 of 'deep': the ensemble's log loss on 497 held-out rows rises from 0\.\d+ to \d\.\d+, above",
    ):
        digits.build(tmp_path / "bundle", rows=digits.dim, int8=digits.int8())
    assert list(tmp_path.iterdir()) == []


def test_a_regression_is_bounded_by_a_share_of_the_squared_error_of_each_output(tmp_path: Path) -> None:
    digits = Digits(is_classification=False)
    digits.build(tmp_path / "float")
    quantization = digits.build(tmp_path / "int8", int8=digits.int8(bound=0.5)).bundle.members[0].quantization
    truth = digits.target[N_SCORED:]
    before, after = (
        np.square(Ensemble.load(tmp_path / name).predict(digits.held_out)["prediction"] - truth).mean(axis=0)
        for name in ("float", "int8")
    )
    assert quantization is not None
    assert (after <= 1.5 * before).all()
    np.testing.assert_allclose(
        [quantization.loss_before, quantization.loss_after], [before.mean(), after.mean()], rtol=1e-4
    )
    with pytest.raises(export.ConversionError, match=r"squared error of output \d on 497 held-out rows rises from"):
        digits.build(tmp_path / "tight", rows=digits.dim, int8=digits.int8(bound=0.5))
    assert not (tmp_path / "tight").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": ("linear",)}, r"member 'linear' \(LogisticRegression\): "),
        ({"members": ("boosted",)}, "no member 'boosted'; there are 'deep', 'linear'"),
        ({"members": ()}, "int8 names no member"),
        ({"bound": -0.1}, "expected a bound of 0 or more, got -0.1"),
        ({"rows": {"pixels": np.zeros((5, 64), np.float32)}, "target": [0] * 5}, "at least 32 held-out rows, got 5"),
        ({"target": [0] * 5}, "497 held-out rows with the truth of 5"),
    ],
)
def test_what_int8_cannot_be_is_refused_by_name(
    digits: Digits, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(export.ConversionError, match=message):
        digits.build(tmp_path / "bundle", int8=replace(digits.int8(), **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_member_without_weight_cannot_be_judged_by_the_ensemble(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(export.ConversionError, match="the combiner gives member 'deep' no weight"):
        digits.build(tmp_path / "bundle", learners=[weighing(0, 1)], int8=digits.int8())


def test_a_fused_file_of_int8_members_answers_as_the_ensemble(built: Path, tmp_path: Path) -> None:
    certificate = export.fuse(built, tmp_path / "fused.onnx", member_scores=True).certificate
    assert certificate.max_abs_diff < 1e-5


def test_a_bundle_of_int8_members_carries_its_fused_graph(built: Path) -> None:
    fused = read_bundle(built).fused
    assert fused is not None
    assert "deep" in fused.members
    assert fused.certificate.max_abs_diff < 1e-12


def test_convolutions_become_int8_with_their_batch_normalisation_folded() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(8, 1, 3, 3)),
        "scale": rng.uniform(0.5, 2, 8),
        "bias": rng.normal(size=8),
        "mean": rng.normal(size=8),
        "var": rng.uniform(0.5, 2, 8),
        "head": rng.normal(size=(8, 3)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "head"], ["z"]),
        helper.make_node("Softmax", ["z"], ["scores"], axis=1),
    ]
    spec = TensorSpec("image", DataType.FP32, (-1, 1, 6, 6))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n_rows", 1, 6, 6])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", 3])],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8).SerializeToString()
    rows = {"image": rng.normal(size=(64, 1, 6, 6)).astype(np.float32)}
    finished = int8_graph(data, [spec], 3, rows)
    kinds = {node.op_type for node in onnx.load_from_string(finished.data).graph.node}
    assert "QuantizeLinear" in kinds
    assert "BatchNormalization" not in kinds
    answers = [ort.InferenceSession(each).run(None, rows)[0] for each in (data, finished.data)]
    np.testing.assert_allclose(answers[1], answers[0], atol=0.05)


def test_a_member_in_int8_already_is_refused(digits: Digits, built: Path, tmp_path: Path) -> None:
    bundle = read_bundle(built)
    deep: Member = replace(digits.members["deep"], quantization=bundle.members[0].quantization)
    with pytest.raises(export.ConversionError, match="member 'deep' is in int8 already"):
        digits.build(tmp_path / "bundle", members=digits.members | {"deep": deep}, int8=digits.int8())
