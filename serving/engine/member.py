"""One member at run time: an onnxruntime session that takes the bundle's inputs and answers scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..contract.bundle import MemberSpec
from ..contract.errors import BundleError, ExecutionError
from ..contract.tensors import Array, DataType, TensorSpec
from .runtime import CPU, open_session

_ORT_TYPES = {
    DataType.BOOL: "tensor(bool)",
    DataType.FP16: "tensor(float16)",
    DataType.FP32: "tensor(float)",
    DataType.FP64: "tensor(double)",
    DataType.BYTES: "tensor(string)",
} | {t: f"tensor({t.lower()})" for t in DataType if t.startswith(("INT", "UINT"))}

_SCORE_TYPES = ("tensor(float)", "tensor(double)")


class Member:
    """A loaded member. Immutable; `run` may be called from any number of threads at once."""

    def __init__(
        self,
        path: Path,
        spec: MemberSpec,
        inputs: Sequence[TensorSpec],
        n_outputs: int,
        *,
        providers: Sequence[str] = (CPU,),
        fallback: bool = False,
    ) -> None:
        """Open the graph and check it against its declaration.

        Args:
            path: the bundle's folder.
            spec: the member's declaration.
            inputs: the bundle's inputs.
            n_outputs: columns of the score tensor.
            providers: execution providers, the preferred one first.
            fallback: accept CPU where the preferred provider cannot start.

        Raises:
            BundleError: the graph cannot be loaded or does not take and answer what the bundle declares.
            ConfigurationError: a provider cannot start and `fallback` is off.
        """
        self.spec = spec
        self.n_outputs = n_outputs
        self._session = open_session(path / spec.file, providers=providers, fallback=fallback)
        self._inputs = spec.inputs
        self._check_graph({tensor.name: tensor for tensor in inputs})
        self._output = [self._session.get_outputs()[0].name]

    @property
    def provider(self) -> str:
        """The execution provider in use."""
        return str(self._session.get_providers()[0])

    def run(self, inputs: Mapping[str, Array]) -> Array:
        """Return scores `(n_rows, n_outputs)`, float32 or float64, for the bundle's inputs of some rows.

        Raises:
            ExecutionError: onnxruntime failed, or the graph answered another shape.
        """
        n_rows = len(inputs[self._inputs[0]])
        try:
            scores: Array = self._session.run(self._output, {name: inputs[name] for name in self._inputs})[0]
        except Exception as error:  # onnxruntime raises a different class for each of its own status codes
            raise ExecutionError(f"member {self.spec.name!r} failed: {error}") from error
        if scores.shape != (n_rows, self.n_outputs):
            raise ExecutionError(
                f"member {self.spec.name!r}: expected scores of shape {[n_rows, self.n_outputs]}, "
                f"got {list(scores.shape)}"
            )
        return scores

    def _check_graph(self, declared: Mapping[str, TensorSpec]) -> None:
        name = self.spec.name
        actual = {node.name: node for node in self._session.get_inputs()}
        if actual.keys() != set(self._inputs):
            raise BundleError(f"member {name!r}: its graph takes {sorted(actual)}, declared are {sorted(self._inputs)}")
        for tensor in (declared[key] for key in self._inputs):
            node = actual[tensor.name]
            if node.type != _ORT_TYPES[tensor.datatype] or len(node.shape) != len(tensor.shape):
                raise BundleError(
                    f"member {name!r}, input {tensor.name!r}: expected {_ORT_TYPES[tensor.datatype]} of shape "
                    f"{list(tensor.shape)}, its graph takes {node.type} of shape {node.shape}"
                )
        if len(outputs := self._session.get_outputs()) != 1:
            raise BundleError(f"member {name!r}: expected one output, its graph has {[o.name for o in outputs]}")
        if outputs[0].type not in _SCORE_TYPES:
            raise BundleError(
                f"member {name!r}: expected scores of {' or '.join(_SCORE_TYPES)}, its graph answers {outputs[0].type}"
            )
