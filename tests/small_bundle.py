"""Small real bundles, made of ONNX graphs that are built here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from widedeep.serving.contract.bundle import Bundle, FusedSpec, MemberSpec, Samples, write_bundle
from widedeep.serving.contract.certificate import Certificate
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.outputs import outputs_of
from widedeep.serving.engine.runtime import ort

CERTIFICATE = Certificate(rows=64, probes=0, max_abs_diff=0.0, max_rel_diff=0.0, worst_row=0, labels_differ=0)
INPUTS = (
    TensorSpec("image", DataType.FP32, (-1, 2, 4)),
    TensorSpec("tabular", DataType.FP32, (-1, 3), feature_names=("a", "b", "c"), allow_nan=False),
)


def softmax_graph(name: str, row_shape: tuple[int, ...], n_outputs: int, seed: int) -> bytes:
    """Return a graph that flattens its input and answers softmax(x @ w), w drawn from `seed`."""
    size = int(np.prod(row_shape))
    weights = np.random.default_rng(seed).normal(size=(size, n_outputs)).astype(np.float32)
    nodes = [
        helper.make_node("Reshape", [name, "flat"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["scores"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "softmax",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n_rows", *row_shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", n_outputs])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([-1, size]), "flat")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def rows(n_rows: int, seed: int = 0) -> dict[str, Array]:
    """Return random rows of the small bundle's inputs."""
    rng = np.random.default_rng(seed)
    return {spec.name: rng.normal(size=(n_rows, *spec.row_shape)).astype(np.float32) for spec in INPUTS}


def fused_graph(bundle: Bundle, graphs: Mapping[str, bytes]) -> tuple[FusedSpec, bytes]:
    """Return the fused graph that a bundle of these member graphs can carry, with a certificate that proves nothing."""
    from widedeep.export.fused_graph import combined_graph  # takes half a second, which few tests need to wait

    models = {member.name: ModelProto.FromString(graphs[member.name]) for member in bundle.used_members}
    finished = combined_graph(bundle, models)
    return FusedSpec(tuple(models), finished.inputs, finished.opset, CERTIFICATE), finished.data


def make_bundle(
    path: Path,
    *,
    name: str = "animals",
    seed: int = 0,
    classes: tuple[str, ...] = ("cat", "dog", "owl"),
    fused: bool = False,
) -> Bundle:
    """Write a bundle of two members, `deep` on image and `wide` on tabular, with weights 0.6 and 0.4.

    With `fused` it carries their fused graph.
    """
    graphs = {
        "deep": softmax_graph("image", (2, 4), len(classes), seed),
        "wide": softmax_graph("tabular", (3,), len(classes), seed + 1),
    }
    bundle = Bundle(
        name=name,
        task="classification",
        inputs=INPUTS,
        classes=classes,
        n_outputs=len(classes),
        members=(
            MemberSpec("deep", ("image",), {"framework": "test", "class": "Softmax"}, {"": 17}, CERTIFICATE),
            MemberSpec("wide", ("tabular",), {"framework": "test", "class": "Softmax"}, {"": 17}, CERTIFICATE),
        ),
        combiner=LinearPool(np.array([0.6, 0.4])),
    )
    golden = rows(5, seed=99)
    scores = [
        ort.InferenceSession(graphs[member.name]).run(None, {i: golden[i] for i in member.inputs})[0]
        for member in bundle.members
    ]
    samples = Samples(golden, outputs_of(bundle, np.asarray(scores, np.float64)))
    if not fused:
        return write_bundle(path, bundle, graphs, samples)
    spec, graph = fused_graph(bundle, graphs)
    return write_bundle(path, replace(bundle, fused=spec), graphs, samples, fused=graph)
