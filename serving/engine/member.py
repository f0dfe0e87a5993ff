"""The graphs of a bundle at run time: onnxruntime sessions that take its inputs and answer scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contract.bundle import Bundle, FusedSpec, MemberSpec
from ..contract.errors import BundleError, ExecutionError
from ..contract.tensors import Array, DataType, TensorSpec
from .cache import Cache
from .runtime import CPU, GraphOptions, open_session, release_memory

_ORT_TYPES = {
    DataType.BOOL: "tensor(bool)",
    DataType.FP16: "tensor(float16)",
    DataType.FP32: "tensor(float)",
    DataType.FP64: "tensor(double)",
    DataType.BYTES: "tensor(string)",
} | {t: f"tensor({t.lower()})" for t in DataType if t.startswith(("INT", "UINT"))}

_SCORE_TYPES = ("tensor(float)", "tensor(double)")

USUAL = GraphOptions()

COMBINED = "combined"
SCORES = "scores"
"""The outputs of a fused graph."""


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
        options: GraphOptions = USUAL,
        cache: Cache | None = None,
    ) -> None:
        """Open the graph and check it against its declaration.

        Args:
            path: the bundle's folder.
            spec: the member's declaration.
            inputs: the bundle's inputs.
            n_outputs: columns of the score tensor.
            providers: execution providers, the preferred one first.
            fallback: accept CPU where the preferred provider cannot start.
            options: how onnxruntime prepares and runs the graph.
            cache: where large weights lie that processes share.

        Raises:
            BundleError: the graph cannot be loaded or does not take and answer what the bundle declares.
            ConfigurationError: a provider cannot start and `fallback` is off.
        """
        self.spec = spec
        self.n_outputs = n_outputs
        self._session = open_session(
            path / spec.file, providers=providers, fallback=fallback, graph=options, cache=cache
        )
        self._inputs = spec.inputs
        what = f"member {spec.name!r}"
        _check_inputs(what, self._session, [tensor for tensor in inputs if tensor.name in spec.inputs])
        if len(outputs := self._session.get_outputs()) != 1:
            raise BundleError(f"{what}: expected one output, its graph has {[o.name for o in outputs]}")
        if outputs[0].type not in _SCORE_TYPES:
            raise BundleError(
                f"{what}: expected scores of {' or '.join(_SCORE_TYPES)}, its graph answers {outputs[0].type}"
            )
        self._output = [outputs[0].name]

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

    def release(self, rows: Mapping[str, Array]) -> None:
        """Give back the memory that large runs have made the session keep; `rows` is one row of the bundle's inputs."""
        release_memory(self._session, {name: rows[name] for name in self._inputs})


class Fused:
    """The loaded graph of members and combiner in one. Immutable; `run` may be called from any number of threads.

    Attributes:
        members: indices, in the bundle, of the members in it.
    """

    provider = CPU

    def __init__(
        self,
        path: Path,
        spec: FusedSpec,
        bundle: Bundle,
        *,
        options: GraphOptions = USUAL,
        cache: Cache | None = None,
    ) -> None:
        """Open the graph of the bundle at `path`, on the CPU, and check it against its declaration.

        Args:
            path: the bundle's folder.
            spec: the graph's declaration.
            bundle: what it is a graph of.
            options: how onnxruntime prepares and runs the graph.
            cache: where large weights lie that processes share.

        Raises:
            BundleError: the graph cannot be loaded or does not take and answer what the bundle declares.
        """
        self.spec = spec
        names = [member.name for member in bundle.members]
        self.members = tuple(names.index(name) for name in spec.members)
        self._n_outputs = bundle.n_outputs
        self._session = open_session(path / spec.file, graph=options, cache=cache)
        _check_inputs("fused graph", self._session, [tensor for tensor in bundle.inputs if tensor.name in spec.inputs])
        outputs = {output.name: output.type for output in self._session.get_outputs()}
        if outputs != dict.fromkeys((COMBINED, SCORES), "tensor(double)"):
            raise BundleError(f"fused graph: expected the outputs {COMBINED} and {SCORES} in double, it has {outputs}")

    def run(self, inputs: Mapping[str, Array]) -> tuple[Array, Array]:
        """Return the combiner's answer `(n_rows, n_outputs)` and scores `(n_members, n_rows, n_outputs)`, float64.

        Raises:
            ExecutionError: onnxruntime failed, or the graph answered another shape.
        """
        names = self.spec.inputs
        n_rows = len(inputs[names[0]])
        try:
            combined, scores = self._session.run([COMBINED, SCORES], {name: inputs[name] for name in names})
        except Exception as error:  # onnxruntime raises a different class for each of its own status codes
            raise ExecutionError(f"the fused graph failed: {error}") from error
        expected = (n_rows, self._n_outputs), (len(self.members), n_rows, self._n_outputs)
        if (combined.shape, scores.shape) != expected:
            raise ExecutionError(f"the fused graph answered shapes {combined.shape} and {scores.shape}, not {expected}")
        return combined, scores

    def release(self, rows: Mapping[str, Array]) -> None:
        """Give back the memory that large runs have made the session keep; `rows` is one row of the bundle's inputs."""
        release_memory(self._session, {name: rows[name] for name in self.spec.inputs})


def _check_inputs(what: str, session: Any, declared: Sequence[TensorSpec]) -> None:
    """Check that a graph takes exactly the declared inputs.

    Raises:
        BundleError: it takes others, or of another type or rank.
    """
    actual = {node.name: node for node in session.get_inputs()}
    if actual.keys() != (names := {tensor.name for tensor in declared}):
        raise BundleError(f"{what}: its graph takes {sorted(actual)}, declared are {sorted(names)}")
    for tensor in declared:
        node = actual[tensor.name]
        if node.type != _ORT_TYPES[tensor.datatype] or len(node.shape) != len(tensor.shape):
            raise BundleError(
                f"{what}, input {tensor.name!r}: expected {_ORT_TYPES[tensor.datatype]} of shape "
                f"{list(tensor.shape)}, its graph takes {node.type} of shape {node.shape}"
            )
