from collections.abc import Callable, Mapping

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from widedeep.export.combiner_graph import LEAST_OPSET, append, stack
from widedeep.export.convert.graph import Graph, declared
from widedeep.serving.contract.combiner import Combiner, LinearPool, LogPool, MeanPool
from widedeep.serving.contract.tensors import Array, DataType, TensorSpec
from widedeep.serving.engine.runtime import ort

N_MEMBERS, N_OUTPUTS = 3, 4
RNG = np.random.default_rng(0)
TEMPERATURES = np.array([0.5, 1.0, 2.5])
LINEAR = LinearPool(np.array([0.2, 0.5, 0.3]))
GEOMETRIC = LogPool(np.array([0.7, 0.1, 0.4]))
FULL = LogPool(RNG.normal(size=(N_OUTPUTS, N_MEMBERS, N_OUTPUTS)), bias=RNG.normal(size=N_OUTPUTS))

COMBINERS: Mapping[str, Combiner] = {
    "linear pool": LINEAR,
    "linear pool with a negative weight": LinearPool(np.array([1.4, -0.9, 0.2])),
    "linear pool by class": LinearPool(RNG.uniform(0, 1, (N_MEMBERS, N_OUTPUTS))),
    "linear pool of tempered members": LinearPool(np.array([0.2, 0.5, 0.3]), temperatures=TEMPERATURES),
    "linear pool that is not normalised": LinearPool(np.array([2.0, -1.5, 0.3]), normalize=False),
    "linear pool without the second member": LinearPool(np.array([0.4, 0.0, 0.6]), temperatures=TEMPERATURES),
    "log pool": GEOMETRIC,
    "log pool with a bias": LogPool(np.array([0.7, 0.1, 0.4]), bias=RNG.normal(size=N_OUTPUTS)),
    "log pool that clips high": LogPool(np.array([0.7, 0.1, 0.4]), temperatures=TEMPERATURES, clip=0.05),
    "stacking": FULL,
    "stacking of tempered members": LogPool(FULL.coefficients, temperatures=TEMPERATURES),
    "mean of all kinds": MeanPool((LINEAR, GEOMETRIC, FULL)),
    "mean with a part that uses no member": MeanPool((LINEAR, LogPool(np.zeros(3), bias=np.arange(4.0)))),
    "mean of means": MeanPool((MeanPool((LINEAR, GEOMETRIC)), FULL)),
}

Run = Callable[[bytes, Mapping[str, Array]], Array]


def in_onnxruntime(data: bytes, fed: Mapping[str, Array]) -> Array:
    answer: Array = ort.InferenceSession(data).run(None, dict(fed))[0]
    return answer


def in_the_reference(data: bytes, fed: Mapping[str, Array]) -> Array:
    return np.asarray(next(iter(ReferenceEvaluator(onnx.load_from_string(data)).run(None, dict(fed)))))


def scores() -> Array:
    drawn = RNG.dirichlet(np.full(N_OUTPUTS, 0.2), (N_MEMBERS, 50))
    drawn[:, 0] = 0.0  # rows of zeros, of certainty and of a tie
    drawn[:, 1] = [1.0, 0.0, 0.0, 0.0]
    drawn[:, 2] = 0.25
    return np.asarray(drawn)


def written(combiner: Combiner) -> bytes:
    graph = Graph({"": LEAST_OPSET})
    specs = {i: TensorSpec(f"member_{i}", DataType.FP64, (-1, N_OUTPUTS)) for i in combiner.used}
    together = stack(graph, [graph.input(spec) for spec in specs.values()], combiner.used, N_OUTPUTS)
    answer = append(graph, combiner, together)
    combined = TensorSpec("combined", DataType.FP64, (-1, N_OUTPUTS))
    return graph.finish_as("combiner", {answer: declared(combined)}).data


@pytest.mark.parametrize("run", [in_onnxruntime, in_the_reference])
@pytest.mark.parametrize("name", COMBINERS)
def test_a_combiner_answers_in_a_graph_as_it_does_in_the_server(name: str, run: Run) -> None:
    combiner, given = COMBINERS[name], scores()
    fed = {f"member_{i}": given[i] for i in combiner.used}
    np.testing.assert_allclose(run(written(combiner), fed), combiner(given), rtol=1e-12, atol=1e-15)
