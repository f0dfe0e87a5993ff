from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from widedeep.export import parity
from widedeep.export.batches import Probe
from widedeep.export.member import ConversionError, ParityError
from widedeep.export.parity import Claim, gather, prove
from widedeep.export.probes import Bases
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.errors import ConfigurationError
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec

WEIGHTS = np.array([[1.0, -1.0], [0.5, 0.25]], np.float32)
SPEC = TensorSpec("x", DataType.FP32, (-1, 2), allow_nan=False, allow_inf=False)
ROWS = {"x": np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)}


def graph(*, softmax: bool = True, weights: Array = WEIGHTS, rows: str | int = "n_rows", output: int = 2) -> bytes:
    """Return softmax(x @ weights), or the product itself."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"])]
    nodes.append(helper.make_node("Softmax" if softmax else "Identity", ["z"], ["scores"]))
    built = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [rows, output])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def product(rows: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    return np.asarray(rows["x"].astype(np.float64) @ WEIGHTS.astype(np.float64))


def softmax(rows: Mapping[str, Array]) -> npt.NDArray[np.float64]:
    exp = np.exp(product(rows))
    return np.asarray(exp / exp.sum(axis=1, keepdims=True))


CLASSIFIER = Claim(inputs=(SPEC,), task="classification", n_outputs=2, native=softmax, rows=ROWS, thresholds={})
REGRESSION = replace(CLASSIFIER, task="regression", native=product)


def certify(claim: Claim, data: bytes, **options: Any) -> Certificate:
    return prove(data, claim, gather(claim), **options)


def test_a_faithful_graph_gets_a_certificate_of_all_that_was_compared() -> None:
    certificate = certify(CLASSIFIER, graph())
    assert certificate.rows == 300
    assert certificate.probes > 300
    assert certificate.labels_differ == 0
    assert 0 < certificate.max_abs_diff < 1e-6
    assert 0 <= certificate.worst_row < certificate.rows + certificate.probes
    assert {"onnx", "onnxruntime", "numpy"} == set(certificate.versions)
    assert certificate.worst_kind in {"a real row", *certificate.kinds}
    assert sum(certificate.kinds.values()) == certificate.probes
    assert certificate.sizes == (1.0, 1.0)


def test_one_row_of_many_over_the_tolerance_fails_and_is_named_with_its_values() -> None:
    def native(rows: Mapping[str, Array]) -> Array:
        scores = softmax(rows)
        scores[(rows["x"] == ROWS["x"][123]).all(axis=1)] += [[2e-5, -2e-5]]
        return scores

    x = ROWS["x"][123]
    with pytest.raises(ParityError, match=r"1 of \d+ rows differ by more than 1e-05 .* row 123 by 2e-05") as caught:
        certify(replace(CLASSIFIER, native=native), graph())
    assert f"x=[{x[0]:.9g}, {x[1]:.9g}]" in str(caught.value)


def test_the_tolerance_of_large_values_is_relative() -> None:
    claim = replace(REGRESSION, native=lambda rows: 1e6 * product(rows) + 3)
    offset = certify(
        replace(claim, native=lambda rows: 1e6 * product(rows)), graph(softmax=False, weights=1e6 * WEIGHTS)
    )
    assert offset.max_abs_diff > 1e-5 > offset.max_rel_diff


def test_values_near_zero_are_measured_against_the_typical_size_of_a_regression() -> None:
    large, noise = 1e6 * WEIGHTS, np.where(np.arange(2000) % 2, 0.3, -0.3)[:, None]

    def native(rows: Mapping[str, Array]) -> Array:
        return 1e6 * product(rows) + noise[: len(rows["x"])]

    certificate = certify(replace(REGRESSION, native=native), graph(softmax=False, weights=large))
    assert certificate.max_abs_diff > 0.2
    with pytest.raises(ParityError):
        certify(replace(REGRESSION, native=lambda rows: 1e6 * product(rows) + 100), graph(softmax=False, weights=large))


def test_one_huge_value_does_not_widen_the_tolerance_of_the_others() -> None:
    def native(rows: Mapping[str, Array]) -> Array:
        return product(rows) + np.where((rows["x"] == ROWS["x"][0]).all(axis=1), 1e9, 1e-4)[:, None]

    with pytest.raises(ParityError, match="rows differ by more than 1e-05"):
        certify(replace(REGRESSION, native=native), graph(softmax=False))


def test_a_nan_of_the_graph_is_a_difference() -> None:
    with pytest.raises(ParityError, match="graph"):
        certify(REGRESSION, graph(softmax=False, weights=np.array([[np.nan, 1], [1, 1]])))


def test_a_label_may_differ_only_where_the_two_best_scores_tie() -> None:
    def near_tie(margin: float) -> Claim:
        def native(rows: Mapping[str, Array]) -> Array:
            first = np.where(rows["x"][:, 0] > 0, 0.7, 0.5 - margin / 2)
            return np.stack([first, 1 - first], axis=1)

        return replace(CLASSIFIER, native=native)

    # The graph answers 0.7 or exactly a half, whose label is the first class; natively the second is a hair ahead.
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "one"], ["first"]),
        helper.make_node("Greater", ["first", "threshold"], ["positive"]),
        helper.make_node("Where", ["positive", "sure", "even"], ["scores"]),
    ]
    constants = {"zero": np.array([0]), "one": np.array([1]), "threshold": np.float32(0)}
    constants |= {"sure": np.array([[0.7, 0.3]], np.float32), "even": np.array([[0.5, 0.5]], np.float32)}
    built = helper.make_graph(
        nodes,
        "tie",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n_rows", 2])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    data = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    assert certify(near_tie(5e-7), data).labels_differ == 0
    with pytest.raises(ParityError, match="differ in the label"):
        certify(near_tie(5e-6), data)


def test_a_graph_for_a_fixed_number_of_rows_fails() -> None:
    with pytest.raises(ConversionError, match="fails on rows 0 to 0"):
        certify(CLASSIFIER, graph(rows=300))


def test_a_graph_with_other_inputs_or_outputs_fails() -> None:
    named = replace(SPEC, name="y")
    claim = replace(CLASSIFIER, inputs=(named,), rows={"y": ROWS["x"]}, native=lambda rows: softmax({"x": rows["y"]}))
    with pytest.raises(ConversionError, match=r"takes \['x'\], declared are \['y'\]"):
        certify(claim, graph())
    with pytest.raises(ConversionError, match=r"answers \[1, 3\] for 1 rows; expected \[1, 2\]"):
        certify(CLASSIFIER, graph(weights=np.ones((2, 3)), output=3))


def test_bytes_that_are_no_graph_fail() -> None:
    with pytest.raises(ConversionError, match="is not valid ONNX"):
        certify(CLASSIFIER, b"not a graph")


def test_scores_that_hardly_vary_prove_nothing() -> None:
    claim = replace(CLASSIFIER, native=lambda rows: np.full((len(rows["x"]), 2), 0.5))
    with pytest.raises(ConversionError, match="vary by only 0 over the 300 rows given"):
        gather(claim)
    with pytest.raises(ConversionError, match=r"over the 1 rows given.* at least two rows"):
        gather(replace(CLASSIFIER, rows={"x": ROWS["x"][:1]}))


def test_scores_that_are_no_probabilities_are_refused_with_a_way_out() -> None:
    with pytest.raises(ConversionError, match=r"no probabilities.* end the model with a softmax"):
        gather(replace(CLASSIFIER, native=product))


def test_a_model_that_cannot_score_the_rows_is_refused_in_its_own_words() -> None:
    def native(rows: Mapping[str, Array]) -> Array:
        raise ValueError("expected 5 features")

    with pytest.raises(ConversionError, match="cannot score the rows given: ValueError: expected 5 features"):
        gather(replace(CLASSIFIER, native=native))
    with pytest.raises(ConversionError, match=r"answers \[nan, nan\] for the rows given, row 0"):
        gather(replace(REGRESSION, native=lambda rows: np.full((len(rows["x"]), 2), np.nan)))


def test_more_rows_than_the_cap_are_drawn_evenly() -> None:
    evidence = gather(replace(CLASSIFIER, max_rows=100))
    assert len(evidence.real.scores) == 100
    np.testing.assert_array_equal(evidence.real.rows["x"][[0, 99]], ROWS["x"][[0, -1]])


def test_large_rows_are_compared_in_smaller_numbers() -> None:
    assert len(gather(replace(CLASSIFIER, max_bytes=20 * 8)).real.scores) == 20
    assert len(gather(replace(CLASSIFIER, max_bytes=1)).real.scores) == 16


def test_a_further_provider_must_be_there() -> None:
    with pytest.raises(ConfigurationError, match="NoSuchExecutionProvider is not in this onnxruntime"):
        certify(CLASSIFIER, graph(), providers=["NoSuchExecutionProvider"])


def test_a_provider_on_the_cpu_is_proven_once_however_often_it_is_named() -> None:
    certificate = certify(CLASSIFIER, graph(), providers=["CPUExecutionProvider", "CPUExecutionProvider"])
    assert certificate.tolerance["CPUExecutionProvider"] == 1e-5


def test_the_worst_row_is_told_by_the_names_of_its_features() -> None:
    named = replace(CLASSIFIER, inputs=(replace(SPEC, feature_names=("age", "income")),))
    with pytest.raises(ParityError, match=r"for x=\[age=[-\d.]+, income=[-\d.]+\]"):
        certify(named, graph(weights=WEIGHTS * 1.1))


def test_where_the_answers_part_is_told_if_the_model_can_find_it() -> None:
    seen: list[Any] = []

    def locate(row: Mapping[str, Array], data: bytes) -> str:
        seen.append((row, data))
        return "layer 'dense_2'"

    wrong = graph(weights=WEIGHTS * 1.1)
    with pytest.raises(ParityError, match=r"They part in layer 'dense_2'\. Way out"):
        certify(replace(CLASSIFIER, locate=locate), wrong)
    ((row, data),) = seen
    assert row["x"].shape == (1, 2)
    assert data == wrong
    assert certify(replace(CLASSIFIER, locate=locate), graph()).labels_differ == 0
    assert len(seen) == 1


def test_a_search_for_the_cause_that_fails_does_not_hide_the_difference() -> None:
    def locate(row: Mapping[str, Array], data: bytes) -> str:
        raise RuntimeError("no such node")

    with pytest.raises(ParityError, match="the converted graph is not the model"):
        certify(replace(CLASSIFIER, locate=locate), graph(weights=WEIGHTS * 1.1))


def test_where_only_the_graphs_arithmetic_overflows_the_row_counts_as_unanswered() -> None:
    """Two columns of the largest number make infinity less infinity in float32 and a number in float64."""
    weights = np.array([[4.0, -4.0], [4.0, 0.25]])

    def native(rows: Mapping[str, Array]) -> Array:
        z = rows["x"].astype(np.float64) @ weights
        exp = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(exp / exp.sum(axis=1, keepdims=True))

    certificate = certify(replace(CLASSIFIER, native=native), graph(weights=weights))
    assert certificate.overflowed > 0
    assert certificate.left_out == 0


def test_a_graph_without_a_number_for_a_row_within_reach_fails() -> None:
    far = np.array([[3e37, -3e37], [0.5, 0.25]])
    with pytest.raises(ParityError, match="values far outside the rows"):
        certify(
            replace(CLASSIFIER, native=lambda rows: (rows["x"][:, :1] > 0) * [[1.0, -1.0]] + [[0.0, 1.0]]),
            graph(weights=far),
        )


def test_probes_of_the_models_own_are_compared_and_their_coverage_is_stated() -> None:
    odd = {"x": np.full((7, 2), 3.25, np.float32)}

    def reach(inputs: object, bases: Bases, max_rows: int) -> Iterator[Probe]:
        assert len(bases.doubt) == len(bases.rows["x"]) > 300
        yield Probe("of its own", odd, coverage={"splits": (3, 4)})

    def native(rows: Mapping[str, Array]) -> Array:
        return softmax(rows) + (rows["x"] == 3.25).all(axis=1)[:, np.newaxis] * [[1e-3, -1e-3]]

    claim = replace(CLASSIFIER, reach=reach)
    certificate = certify(claim, graph())
    assert certificate.kinds["of its own"] == 7
    assert certificate.coverage == {"splits": (3, 4)}
    with pytest.raises(ParityError, match=r"7 of \d+ rows .* Worst is probe \d+ \(of its own\)"):
        certify(replace(claim, native=native), graph())


def test_many_probes_are_made_anew_and_compared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = gather(CLASSIFIER)
    monkeypatch.setattr(parity, "KEPT_BYTES", 1000)
    anew = gather(CLASSIFIER)
    assert kept.kept
    assert anew.kept is None
    assert prove(graph(), CLASSIFIER, anew) == prove(graph(), CLASSIFIER, kept)


def test_a_graph_that_answers_in_another_type_fails() -> None:
    built = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["scores"], to=TensorProto.DOUBLE)],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n_rows", 2])],
        [helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["n_rows", 2])],
    )
    data = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()
    with pytest.raises(ConversionError, match=r"answers \{'scores': 'tensor\(double\)'\}; expected one output of FP32"):
        certify(replace(REGRESSION, native=lambda rows: rows["x"]), data)


def test_a_graph_that_is_not_valid_onnx_fails_though_it_loads() -> None:
    model = onnx.load_from_string(graph())
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises(ConversionError, match="not valid ONNX"):
        certify(CLASSIFIER, model.SerializeToString())


def test_a_regression_that_no_fp32_score_can_hold_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"the model answers [\d.]+e\+39, and scores are served in FP32"):
        gather(replace(REGRESSION, native=lambda rows: 1e39 * product(rows)))
