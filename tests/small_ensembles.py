"""Small real ensembles: labels of text and of whole numbers, two classes, values, text inputs and mixed opsets."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import parser
from small_bundle import CERTIFICATE, softmax_graph
from widedeep.serving.contract.bundle import Bundle, MemberSpec, Samples, write_bundle
from widedeep.serving.contract.combiner import Combiner, LinearPool, LogPool, MeanPool
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.member import Member
from widedeep.serving.engine.outputs import outputs_of

IMAGE = TensorSpec("image", DataType.FP32, (-1, 2, 4), allow_nan=False, allow_inf=False)
TABULAR = TensorSpec("tabular", DataType.FP32, (-1, 3), feature_names=("a", "b", "c"), allow_nan=False, allow_inf=False)
CITY = TensorSpec("city", DataType.BYTES, (-1, 1), categories=("rome", "oslo"))
ANIMALS = ("cat", "dog", "ibex")
MIXED = MeanPool((LinearPool(np.array([0.6, 0.4])), LogPool(np.array([0.9, 0.4]), temperatures=np.array([2.0, 0.7]))))

Rows = Mapping[str, Array]

BY_CITY = """
    <ir_version: 8, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
    by_city (float[n, 3] tabular, string[n, 1] city) => (float[n, 3] scores) <int64[1] axes = {1}> {
        known = ai.onnx.ml.LabelEncoder<keys_strings = ["rome", "oslo"], values_floats = [2.0, -1.0]>(city)
        mean = ReduceMean<keepdims = 1>(tabular, axes)
        moved = Mul(tabular, known)
        away = Sub(moved, mean)
        scores = Softmax<axis = 1>(away)
    }
"""
SUMS = """
    <ir_version: 8, opset_import: ["" : 13]>
    sums (float[n, 3] tabular) => (float[n, 2] scores) <int64[2] columns = {0, 2}, float hundred = {100}> {
        some = Gather<axis = 1>(tabular, columns)
        scores = Mul(some, hundred)
    }
"""
SPREAD = """
    <ir_version: 8, opset_import: ["" : 17]>
    spread (float[n, 3] tabular) => (float[n, 2] scores) {
        most = ReduceMax<axes = [1], keepdims = 1>(tabular)
        least = ReduceMin<axes = [1], keepdims = 1>(tabular)
        scores = Concat<axis = 1>(most, least)
    }
"""


def text_graph(text: str) -> bytes:
    data: bytes = parser.parse_model(text).SerializeToString()
    return data


def rows(inputs: Sequence[TensorSpec], n_rows: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)

    def drawn(spec: TensorSpec) -> Array:
        if spec.datatype is DataType.BYTES:
            return np.array(rng.choice(["rome", "oslo", "bonn"], (n_rows, 1)), object)
        return np.asarray(rng.normal(size=(n_rows, *spec.row_shape)), np.float32)

    return {spec.name: drawn(spec) for spec in inputs}


def make(
    path: Path,
    graphs: Mapping[str, tuple[bytes, Sequence[TensorSpec]]],
    combiner: Combiner,
    *,
    classes: tuple[str, ...] | tuple[int, ...] = ANIMALS,
    n_outputs: int = 3,
) -> Bundle:
    """Write a bundle of these graphs with five golden rows."""
    inputs = tuple({spec.name: spec for _, specs in graphs.values() for spec in specs}.values())
    members = tuple(
        MemberSpec(name, tuple(spec.name for spec in specs), {"class": "Test"}, {"": 17}, CERTIFICATE)
        for name, (_, specs) in graphs.items()
    )
    task: Any = "classification" if classes else "regression"
    bundle = Bundle("test", task, inputs, classes, n_outputs, members, combiner)
    golden = rows(inputs, 5, seed=99)
    scores = np.empty((len(members), 5, n_outputs))
    for i, member in enumerate(members):
        file = path.parent / member.file
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(graphs[member.name][0])
        scores[i] = Member(path.parent, member, inputs, n_outputs).run(golden)
    data = {name: graph for name, (graph, _) in graphs.items()}
    return write_bundle(path, bundle, data, Samples(golden, outputs_of(bundle, scores)))


def softmaxes(n_outputs: int) -> dict[str, tuple[bytes, Sequence[TensorSpec]]]:
    return {
        "deep": (softmax_graph("image", (2, 4), n_outputs, 0), [IMAGE]),
        "wide": (softmax_graph("tabular", (3,), n_outputs, 1), [TABULAR]),
    }


def text_labels(path: Path) -> Bundle:
    return make(path, softmaxes(3), MIXED)


def whole_number_labels(path: Path) -> Bundle:
    return make(path, softmaxes(3), LinearPool(np.array([[0.6, 0.2, 0.1], [0.4, 0.8, 0.9]])), classes=(7, 3, -1))


def two_classes(path: Path) -> Bundle:
    return make(path, softmaxes(2), LogPool(np.array([0.6, 0.7])), classes=("no", "yes"), n_outputs=2)


def several_values(path: Path) -> Bundle:
    graphs = {"sums": (text_graph(SUMS), [TABULAR]), "spread": (text_graph(SPREAD), [TABULAR])}
    return make(path, graphs, LinearPool(np.array([0.3, 1.2]), normalize=False), classes=(), n_outputs=2)


def texts_and_opsets(path: Path) -> Bundle:
    graphs = softmaxes(3) | {"by_city": (text_graph(BY_CITY), [TABULAR, CITY])}
    return make(path, graphs, LinearPool(np.array([0.2, 0.3, 0.5])))


BUNDLES: list[Callable[[Path], Bundle]] = [
    text_labels,
    whole_number_labels,
    two_classes,
    several_values,
    texts_and_opsets,
]
