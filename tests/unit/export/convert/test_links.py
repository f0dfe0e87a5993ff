from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from scipy.special import expit, softmax
from widedeep.export.convert.graph import Graph
from widedeep.export.convert.links import Link, append_link
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

MARGINS = np.array([[-30.0, -2.0], [-0.5, 0.0], [0.25, 3.0], [8.0, 20.0]])
EXPECTED: dict[Link, Callable[[Array], Any]] = {
    "identity": lambda x: x,
    "sigmoid": expit,
    "softmax": lambda x: softmax(x, axis=1),
    "exp": np.exp,
    "softplus": lambda x: np.log1p(np.exp(x)),
    "signed square": lambda x: np.sign(x) * x**2,
}


def run(margins: Array, link: Link, *, two_columns: bool = False) -> Array:
    graph = Graph()
    spec = TensorSpec("x", DataType.of(margins), (-1, margins.shape[1]))
    scores = append_link(graph, graph.input(spec), link, two_columns=two_columns)
    finished = graph.finish(scores, 2 if two_columns else margins.shape[1])
    answer: Array = ort.InferenceSession(finished.data).run(None, {"x": margins})[0]
    return answer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("link", get_args(Link))
def test_a_link_is_the_function_of_its_name(link: Link, dtype: type) -> None:
    np.testing.assert_allclose(run(MARGINS.astype(dtype), link), EXPECTED[link](MARGINS), rtol=1e-5, atol=1e-7)


def test_one_probability_becomes_those_of_both_classes() -> None:
    scores = run(MARGINS[:, :1], "sigmoid", two_columns=True)
    np.testing.assert_allclose(scores, np.column_stack([1 - expit(MARGINS[:, 0]), expit(MARGINS[:, 0])]), atol=1e-7)
