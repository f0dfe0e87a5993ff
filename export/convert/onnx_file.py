"""An ONNX file that something else wrote: bound to the rows, checked, and brought into the form of every member.

What "native" means is the caller's to say: with `native` the file is compared with the model it was written from.
Without it, it is compared with ONNX's reference evaluator, which proves that the runtime computes what the file says.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from ...serving.contract.bundle import Task
from ...serving.contract.tensors import Array, DataType
from ..batches import Arrays
from ..member import ConversionError
from ..parity import MAX_ROWS, Native
from .graph import Finished, Graph
from .rows import Column, Rows
from .trained import Trained, Wish, adds_up, probabilities

_REFERENCE_ROWS = 64
"""The reference evaluator is plain Python: milliseconds a row even for small graphs."""

_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}

Sources = Mapping[str, str | Column]
"""Graph input -> the tensor that feeds it, or one column of a tensor."""


def read(path: str | Path, rows: Rows, wish: Wish) -> Trained:
    """Read a file; its inputs are bound by name to tensors or columns of the rows, a single one to the only tensor.

    Raises:
        ConversionError: it is no valid ONNX model, an input cannot be bound, or no output holds scores.
    """
    path = Path(path)
    model = _load(path)
    values = _inputs(model)
    sources = _bind(values, rows)
    output = _scores_output(model, wish.output)
    taken = rows.only(list(dict.fromkeys(s.tensor if isinstance(s, Column) else s for s in sources.values())))
    scored = wish.native or _reference(model, output, values, sources)
    first = _first_scores(scored, taken)
    task = wish.task or _task(first, has_classes=wish.classes is not None)
    is_binary = task == "classification" and first.shape[1] == 1

    def native(arrays: Arrays) -> Array:
        scores = np.asarray(scored(arrays)).reshape(len(next(iter(arrays.values()))), -1)
        return probabilities(scores) if is_binary else scores

    def draft() -> Finished:
        graph = Graph({imported.domain: imported.version for imported in model.opset_import})
        fed = {value.name: _fed(graph, value, sources[value.name], rows) for value in values}
        flat = graph.constant([-1, first.shape[1]], np.int64)
        scores = graph.add("Reshape", graph.embed(model, fed)[output], flat)
        if is_binary:
            scores = graph.two_columns(graph.cast(scores, np.float32))
        return graph.finish(scores, first.shape[1] + is_binary)

    return Trained(
        framework=model.producer_name or "onnx",
        version=model.producer_version or "unknown",
        kind=path.name,
        task=task,
        classes=None,
        n_outputs=first.shape[1] + is_binary,
        native=native,
        rows=taken,
        drafts=(draft,),
        max_rows=MAX_ROWS if wish.native else _REFERENCE_ROWS,
    )


def _load(path: Path) -> ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ConversionError(f"{path} does not exist") from None
    except Exception as error:  # a decoding or validation error of onnx, or one of the operating system
        raise ConversionError(f"{path} is no valid ONNX model: {error}") from error
    return model


def _inputs(model: ModelProto) -> list[ValueInfoProto]:
    """Return the inputs to feed; old files list their initializers as inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def _bind(values: list[ValueInfoProto], rows: Rows) -> Sources:
    columns = {column.name: column for column in rows.columns if column.name is not None}
    names = [value.name for value in values]
    if len(names) == 1 and len(rows.specs) == 1:
        sources: dict[str, str | Column] = {names[0]: next(iter(rows.specs))}
    elif missing := [name for name in names if name not in rows.specs and name not in columns]:
        raise ConversionError(
            f"the file takes an input {missing[0]!r}; the rows hold {', '.join(map(repr, rows.specs))}. Name rows as "
            f"the file's inputs, which are {', '.join(map(repr, names))}"
        )
    else:
        sources = {name: name if name in rows.specs else columns[name] for name in names}
    for value in values:
        _check_fit(value, sources[value.name], rows)
    return sources


def _check_fit(value: ValueInfoProto, source: str | Column, rows: Rows) -> None:
    spec = rows.specs[source.tensor if isinstance(source, Column) else source]
    given = (-1, 1) if isinstance(source, Column) else spec.shape
    kind = value.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]
    if dims and dims[0] is not None:
        raise ConversionError(
            f"the file's input {value.name!r} is for {dims[0]} rows; export it with a dynamic first axis"
        )
    if kind.HasField("shape") and (
        len(dims) != len(given) or any(want not in {None, got} for want, got in zip(dims[1:], given[1:], strict=True))
    ):
        raise ConversionError(
            f"the file's input {value.name!r} has shape {dims}, the rows' {spec.name!r} {list(given)}"
        )
    if (kind.elem_type == TensorProto.STRING) != (spec.datatype is DataType.BYTES):
        raise ConversionError(
            f"the file's input {value.name!r} is of {TensorProto.DataType.Name(kind.elem_type)}, the rows' "
            f"{spec.name!r} is {spec.datatype}"
        )


def _fed(graph: Graph, value: ValueInfoProto, source: str | Column, rows: Rows) -> str:
    """Declare the input that feeds a graph input, picked and cast as needed."""
    spec = rows.specs[source.tensor if isinstance(source, Column) else source]
    fed = graph.input(spec)
    if isinstance(source, Column):
        fed = graph.columns(fed, [source.index])
    wanted = value.type.tensor_type.elem_type
    if wanted == TensorProto.STRING or spec.datatype.dtype == helper.tensor_dtype_to_np_dtype(wanted):
        return fed
    return graph.cast(fed, helper.tensor_dtype_to_np_dtype(wanted))


def _scores_output(model: ModelProto, wished: str | None) -> str:
    outputs = {value.name: value.type for value in model.graph.output}
    if wished is not None and wished not in outputs:
        raise ConversionError(f"the file has no output {wished!r}; it has {', '.join(map(repr, outputs))}")
    floats = [name for name, kind in outputs.items() if kind.tensor_type.elem_type in _FLOATS]
    if wished is None and len(floats) != 1:
        kinds = ", ".join(f"{name!r} ({kind.WhichOneof('value')})" for name, kind in outputs.items())
        raise ConversionError(
            f"expected one output of floats with the scores, the file has {kinds}; name one with output=..., and write "
            f"scikit-learn models with zipmap=False"
        )
    return wished or floats[0]


def _reference(model: ModelProto, output: str, values: list[ValueInfoProto], sources: Sources) -> Native:
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(model)
    except Exception as error:  # whatever it lacks
        raise ConversionError(f"ONNX's reference evaluator cannot run the file ({error}); pass native=...") from error

    def scored(arrays: Arrays) -> Array:
        fed = {}
        for value in values:
            source = sources[value.name]
            array = arrays[source.tensor][:, [source.index]] if isinstance(source, Column) else arrays[source]
            kind = value.type.tensor_type.elem_type
            fed[value.name] = (
                array if kind == TensorProto.STRING else array.astype(helper.tensor_dtype_to_np_dtype(kind))
            )
        return np.asarray(next(iter(evaluator.run([output], fed))))

    return scored


def _first_scores(scored: Native, rows: Rows) -> Array:
    """Return the scores of a few rows, which tell how many there are."""
    few = {name: array[:8] for name, array in rows.arrays.items()}
    try:
        scores = np.asarray(scored(few))
    except Exception as error:  # the reference evaluator's or the caller's
        raise ConversionError(
            f"the file's native scores cannot be computed: {type(error).__name__}: {error}; pass native=... that takes "
            f"{{name: rows}} and returns scores"
        ) from error
    if scores.ndim not in {1, 2} or len(scores) != len(next(iter(few.values()))):
        raise ConversionError(f"expected scores (n_rows, n_outputs), got {list(scores.shape)}")
    return scores.reshape(len(scores), -1)


def _task(scores: Array, *, has_classes: bool) -> Task:
    return "classification" if has_classes or adds_up(scores) else "regression"
