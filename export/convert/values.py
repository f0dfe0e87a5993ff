"""Values in a graph that behave like numpy arrays, so that a formula reads here as it does in the library it is from.

Every operation adds a node and promotes types as numpy does: float32 with a float64 array is float64, with a Python
number it stays float32. What is not an array of numbers, a string column, only passes through. Knows no framework.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from ...serving.contract.tensors import Array
from .graph import Graph
from .trees import ML_DOMAIN

_ML_OPSET = 5

TEXT = np.dtype(object)
"""The type of a value that holds strings."""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor in a graph, rows along the first axis.

    Attributes:
        graph: the graph it is in.
        name: its name there.
        dtype: numpy type of its elements, object for strings.
    """

    graph: Graph
    name: str
    dtype: np.dtype[Any]

    def astype(self, dtype: npt.DTypeLike) -> "Value":
        """Cast, unless it is of that type."""
        kind = np.dtype(dtype)
        return self if kind == self.dtype else self._new(self.graph.cast(self.name, kind), kind)

    def __add__(self, other: Any) -> "Value":
        """Add."""
        return self._arithmetic("Add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Value":
        """Subtract."""
        return self._arithmetic("Sub", other)

    def __rsub__(self, other: Any) -> "Value":
        """Subtract from a constant."""
        return self._lift(other)._arithmetic("Sub", self)

    def __mul__(self, other: Any) -> "Value":
        """Multiply."""
        return self._arithmetic("Mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Value":
        """Divide; integers are divided as floats."""
        return self._arithmetic("Div", other)

    def __rtruediv__(self, other: Any) -> "Value":
        """Divide a constant."""
        return self._lift(other)._arithmetic("Div", self)

    def __pow__(self, exponent: float) -> "Value":
        """Raise to a power."""
        return self * self if exponent == 2 else self._arithmetic("Pow", exponent)

    def __matmul__(self, other: Any) -> "Value":
        """Multiply matrices."""
        return self._arithmetic("MatMul", other)

    def __neg__(self) -> "Value":
        """Change the sign."""
        return self._unary("Neg")

    def __lt__(self, other: Any) -> "Value":
        """Compare."""
        return self._comparison("Less", other)

    def __le__(self, other: Any) -> "Value":
        """Compare."""
        return self._comparison("LessOrEqual", other)

    def __gt__(self, other: Any) -> "Value":
        """Compare."""
        return self._comparison("Greater", other)

    def __ge__(self, other: Any) -> "Value":
        """Compare."""
        return self._comparison("GreaterOrEqual", other)

    def equals(self, other: Any) -> "Value":
        """Compare; NaN equals nothing."""
        return self._comparison("Equal", other)

    def __and__(self, other: "Value") -> "Value":
        """Both of two conditions."""
        return self._new(self.graph.add("And", self.name, other.name), np.bool_)

    def __or__(self, other: "Value") -> "Value":
        """One of two conditions."""
        return self._new(self.graph.add("Or", self.name, other.name), np.bool_)

    def __invert__(self) -> "Value":
        """Negate a condition."""
        return self._unary("Not")

    def exp(self) -> "Value":
        """Return e to the power."""
        return self._unary("Exp")

    def log(self) -> "Value":
        """Return the natural logarithm."""
        return self._unary("Log")

    def sqrt(self) -> "Value":
        """Return the square root."""
        return self._unary("Sqrt")

    def abs(self) -> "Value":
        """Return the size without the sign."""
        return self._unary("Abs")

    def relu(self) -> "Value":
        """Return the elements above zero, zero for the others."""
        return self._unary("Relu")

    def tanh(self) -> "Value":
        """Return the hyperbolic tangent."""
        return self._unary("Tanh")

    def floor(self) -> "Value":
        """Return the next whole number below."""
        return self._unary("Floor")

    def sigmoid(self) -> "Value":
        """Return 1 / (1 + e to the power of minus); onnxruntime's own operator answers 0 for what is very small."""
        return 1.0 / ((-self).exp() + 1.0)

    def softmax(self) -> "Value":
        """Return e to the power, scaled to a sum of one along the last axis."""
        return self._new(self.graph.add("Softmax", self.name, axis=-1), self.dtype)

    def isnan(self) -> "Value":
        """Return whether elements are missing; of a type without NaN none is."""
        if self.dtype.kind != "f":
            return self.equals(self) & ~self.equals(self) if self.dtype.kind != "b" else self & ~self
        return self._new(self.graph.add("IsNaN", self.name), np.bool_)

    def clip(self, least: Any, most: Any) -> "Value":
        """Return the elements within bounds, in their own type; NaN stays."""
        low, high = (self._lift(bound).astype(self.dtype).name for bound in (least, most))
        inside = self.graph.add("Where", self.graph.add("Less", self.name, low), low, self.name)
        return self._new(self.graph.add("Where", self.graph.add("Greater", inside, high), high, inside), self.dtype)

    def where(self, yes: Any, no: Any) -> "Value":
        """Choose by this condition."""
        first, second = self._promoted(yes, no)
        return self._new(self.graph.add("Where", self.name, first.name, second.name), first.dtype)

    def sum(self, axis: int = 1) -> "Value":
        """Sum along an axis, which is kept."""
        axes = self.graph.constant([axis], np.int64)
        return self._new(self.graph.add("ReduceSum", self.name, axes, keepdims=1), self.dtype)

    def max(self, axis: int = 1) -> "Value":
        """Return the largest along an axis, which is kept."""
        return self._new(self.graph.add("ReduceMax", self.name, axes=[axis], keepdims=1), self.dtype)

    def argmax(self, axis: int = 1) -> "Value":
        """Return the place of the first largest along an axis, which is kept."""
        return self._new(self.graph.add("ArgMax", self.name, axis=axis, keepdims=1), np.int64)

    def cumsum(self, axis: int = 1) -> "Value":
        """Return running sums along an axis."""
        return self._new(self.graph.add("CumSum", self.name, self.graph.constant(axis, np.int64)), self.dtype)

    def columns(self, indices: Sequence[int]) -> "Value":
        """Select columns `(n_rows, n)`."""
        return self._new(self.graph.columns(self.name, indices), self.dtype)

    def gather(self, table: Array) -> "Value":
        """Return rows of a constant `(n, ...)` at these places: shape `(*places, ...)`."""
        return self._new(self.graph.add("Gather", self.graph.constant(table), self.name, axis=0), table.dtype)

    def reshape(self, *shape: int) -> "Value":
        """Reshape; 0 keeps an axis, -1 is what is left."""
        return self._new(self.graph.add("Reshape", self.name, self.graph.constant(shape, np.int64)), self.dtype)

    def beside(self, *others: "Value", axis: int = 1) -> "Value":
        """Join with others along an axis, in the type that holds all."""
        parts = self._promoted(self, *others) if others else [self]
        if len(parts) == 1:
            return self
        return self._new(self.graph.add("Concat", *(part.name for part in parts), axis=axis), parts[0].dtype)

    def smallest(self, n: int) -> tuple["Value", "Value"]:
        """Return the n smallest along axis 1, ascending, and their places; of equal ones the first."""
        count = self.graph.constant([n], np.int64)
        values, places = self.graph.add_several("TopK", self.name, count, n_outputs=2, axis=1, largest=0, sorted=1)
        return self._new(values, self.dtype), self._new(places, np.int64)

    def lookup(self, keys: Sequence[Any], values: Sequence[int], default: int) -> "Value":
        """Return the whole number that stands for each string or whole number, `default` for one not among `keys`."""
        self.graph.opset[ML_DOMAIN] = max(_ML_OPSET, self.graph.opset.get(ML_DOMAIN, 0))
        is_text = self.dtype == TEXT
        if not keys:
            keys, values = ["" if is_text else 0], [default]
        attributes = {f"keys_{'strings' if is_text else 'int64s'}": list(keys), "values_int64s": list(values)}
        source = self if is_text else self.astype(np.int64)
        name = self.graph.add("LabelEncoder", source.name, domain=ML_DOMAIN, default_int64=default, **attributes)
        return self._new(name, np.int64)

    def _arithmetic(self, op: str, other: Any) -> "Value":
        left, right = self._promoted(self, other, floats=op == "Div")
        return left._new(self.graph.add(op, left.name, right.name), left.dtype)

    def _comparison(self, op: str, other: Any) -> "Value":
        left, right = self._promoted(self, other)
        return self._new(self.graph.add(op, left.name, right.name), np.bool_)

    def _unary(self, op: str) -> "Value":
        return self._new(self.graph.add(op, self.name), self.dtype)

    def _promoted(self, *operands: Any, floats: bool = False) -> list["Value"]:
        """Return operands in the type that numpy would compute in."""
        kinds = [operand.dtype if isinstance(operand, Value | np.ndarray) else operand for operand in operands]
        is_text = any(isinstance(kind, np.dtype) and kind == TEXT for kind in kinds)
        dtype = TEXT if is_text else np.result_type(*kinds)
        if floats and dtype.kind != "f":
            dtype = np.dtype(np.float64)
        return [self._lift(operand, dtype).astype(dtype) for operand in operands]

    def _lift(self, operand: Any, dtype: npt.DTypeLike | None = None) -> "Value":
        if isinstance(operand, Value):
            return operand
        weak = isinstance(operand, int | float) and not isinstance(operand, np.generic)
        array = np.asarray(operand, (dtype or np.result_type(self.dtype, operand)) if weak else dtype)
        return self._new(self.graph.constant(array), array.dtype)

    def _new(self, name: str, dtype: npt.DTypeLike) -> "Value":
        return Value(self.graph, name, np.dtype(dtype))


def side_by_side(parts: Sequence[Value]) -> Value:
    """Join values, at least one, along their columns."""
    return parts[0].beside(*parts[1:])


def total(parts: Sequence[Value]) -> Value:
    """Add values, at least one, in order."""
    return reduce(add, parts)
