"""How rows reach a Keras model: which tensor is which input, and in which structure the model takes them.

A Sequential or functional model says so itself. A subclassed one declares nothing: what it was first called with is
the only trace of it, and a model that was never called takes the rows as they come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array, DataType
from ..member import ConversionError
from .rows import Rows
from .tensorflow_trace import Placeholder

_AUTOMATIC = ("keras_tensor", "input_layer")


@dataclass(frozen=True, slots=True)
class Feed:
    """What a model is fed.

    Attributes:
        rows: the rows of its inputs, in its own order.
        pack: puts one value an input, in that order, into the structure that the model takes.
    """

    rows: Rows
    pack: Callable[[Sequence[Any]], Any]

    def packed(self, arrays: Mapping[str, Array]) -> Any:
        """Return arrays by name in the structure that the model takes."""
        return self.pack([arrays[name] for name in self.rows.specs])

    def placeholders(self) -> list[Placeholder]:
        """Return what a trace takes, in the order of the inputs."""
        return [
            Placeholder(spec.row_shape, as_predicted(np.empty(0, spec.datatype.dtype)).dtype)
            for spec in self.rows.specs.values()
        ]


def as_predicted(array: Array) -> Array:
    """Return rows as `predict` gives them to a model: all floating point numbers as Keras's `floatx`."""
    import keras

    return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" else array


def bind(model: Any, rows: Rows) -> Feed:
    """Find the rows of each input of the model.

    Raises:
        ConversionError: an input has no rows, or rows of another shape.
    """
    feed = _declared(model, rows) if getattr(model, "inputs", None) else _undeclared(model, rows)
    if text := [spec.name for spec in feed.rows.specs.values() if spec.datatype is DataType.BYTES]:
        raise ConversionError(
            f"Keras: input {text[0]!r} holds strings, which ONNX export cannot look up; turn them into numbers before "
            f"the model"
        )
    return feed


def _declared(model: Any, rows: Rows) -> Feed:
    import keras

    structure = getattr(model, "_inputs_struct", None)  # a Sequential model has none
    bound = bind_names(rows, _names(model, structure), [tuple(tensor.shape) for tensor in model.inputs])
    if structure is None:
        return Feed(bound, lambda values: values[0])
    return Feed(bound, lambda values: keras.tree.pack_sequence_as(structure, list(values)))


def bind_names(rows: Rows, names: Sequence[str], shapes: Sequence[tuple[int | None, ...]]) -> Rows:
    """Return the rows of inputs with these names and shapes, in that order; a name that Keras gave is none.

    Raises:
        ConversionError: an input has no rows, or rows of another shape.
    """
    if len(names) == 1 and len(rows.specs) == 1:
        (given,) = rows.specs
        automatic = names[0].startswith(_AUTOMATIC)
        bound = rows.renamed(given, names[0]) if rows.is_array and not automatic else rows
        if not (rows.is_array or automatic or given == names[0]):
            raise ConversionError(f"Keras: the model's input is called {names[0]!r}, the rows hold {given!r}")
    elif missing := [name for name in names if name not in rows.specs]:
        raise ConversionError(
            f"Keras: the model takes an input {missing[0]!r}, the rows hold {_listed(rows)}; name rows as the "
            f"keras.Input, or give the input a name"
        )
    else:
        bound = rows.only(names)
    _check_shapes(bound, shapes)
    return bound


def _names(model: Any, structure: Any) -> list[str]:
    """Return the inputs' names in the model's order: the keys of a dict of inputs, else those of the keras.Input."""
    if not isinstance(structure, dict):
        return [str(tensor.name) for tensor in model.inputs]
    return [str(key) for tensor in model.inputs for key, value in structure.items() if value is tensor]


def _undeclared(model: Any, rows: Rows) -> Feed:
    taken = _first_call(model)
    if isinstance(taken, dict):
        if missing := [name for name in taken if name not in rows.specs]:
            raise ConversionError(
                f"Keras: the model was called with a dict that holds {missing[0]!r}, the rows hold {_listed(rows)}; "
                f"name the rows by the same keys"
            )
        names = list(taken)
        bound = rows.only(names)
        _check_shapes(bound, [_any_size(taken[name]) for name in names])
        return Feed(bound, lambda values: dict(zip(names, values, strict=True)))
    if isinstance(taken, list):
        if len(taken) != len(rows.specs):
            raise ConversionError(
                f"Keras: the model was called with {len(taken)} inputs, the rows hold {_listed(rows)}; pass its inputs "
                f"in their order, by inputs=[...] if the rows hold more"
            )
        _check_shapes(rows, list(map(_any_size, taken)))
        return Feed(rows, list)
    names = list(rows.specs)
    if len(names) == 1:
        _check_shapes(rows, [] if taken is None else [_any_size(taken)])
        return Feed(rows, lambda values: values[0])
    if taken is not None:
        raise ConversionError(
            f"Keras: the model was called with one input, the rows hold {_listed(rows)}; say which: inputs=[...]"
        )
    return Feed(rows, lambda values: dict(zip(names, values, strict=True)))


def _first_call(model: Any) -> Any:
    """Return the shapes that a subclassed model was built with: one, a list or a dict of them; None if unknown."""
    shapes = getattr(model, "_build_shapes_dict", None)
    if not shapes or len(shapes) != 1:
        return None
    (taken,) = shapes.values()
    if isinstance(taken, Mapping):
        flat = all(_is_shape(shape) for shape in taken.values())
        return {str(name): tuple(shape) for name, shape in taken.items()} if flat else None
    if _is_shape(taken):
        return tuple(taken)
    return [tuple(shape) for shape in taken] if all(_is_shape(shape) for shape in taken) else None


def _any_size(shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return a shape that says only how many axes and channels there are: a subclassed model may take other sizes."""
    return (None,) * (len(shape) - 1) + shape[-1:]


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(size is None or isinstance(size, int) for size in value)


def _check_shapes(rows: Rows, shapes: Sequence[tuple[int | None, ...]]) -> None:
    for shape, spec in zip(shapes, rows.specs.values(), strict=False):
        if len(shape) != len(spec.shape) or any(
            want not in {None, got} for want, got in zip(shape[1:], spec.row_shape, strict=True)
        ):
            raise ConversionError(
                f"Keras: input {spec.name!r} has shape {[None, *shape[1:]]} in the model, {list(spec.shape)} in rows"
            )


def _listed(rows: Rows) -> str:
    return ", ".join(map(repr, rows.specs))
