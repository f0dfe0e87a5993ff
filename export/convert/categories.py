"""Columns of categories: from their values, as requests hold them, to the codes that a booster was trained on.

Boosters number the categories of a pandas column in the order of its dtype and keep the list. The same numbers are
given in the graph; a value that is not on the list is a missing one, as it is for pandas.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .graph import Graph
from .grown import Feature
from .rows import Column, Rows, assemble
from .trained import thresholds_of

Named = Mapping[int, Sequence[Any]]
"""Place of a column -> its categories, strings or numbers, in the order of their codes."""

_ML_DOMAIN = "ai.onnx.ml"
_ML_OPSET = 4


def named_in(rows: Rows, known: Named, library: str) -> Named:
    """Return those of a model's named categories that the rows hold as values; other columns hold the codes already.

    Raises:
        ConversionError: a column holds strings, and the model was trained on numbers there.
    """
    named = {i: known[i] for i, column in enumerate(rows.columns) if i in known and _holds_values(rows, column)}
    for i, column in enumerate(rows.columns):
        if rows.is_text(column) and (i not in named or not all(isinstance(value, str) for value in named[i])):
            raise ConversionError(
                f"{library}: column {column.name!r} holds strings, but the model was trained on numbers there; encode "
                f"them as training did, or train on a pandas column of categories"
            )
    if named and not rows.named:
        raise ConversionError(f"{library}: columns of categories are found by name; pass the rows as a DataFrame")
    return named


def assemble_codes(graph: Graph, rows: Rows, named: Named, *steps: Any) -> str:
    """Add the tensor `(n_rows, n_columns)` of all columns, those named as codes, NaN where a value is not known.

    Args:
        graph: to add to.
        rows: the columns.
        named: which hold values of categories.
        steps: numpy dtypes that the others are cast to in turn; the last is the type of the result.
    """
    pieces, plain = [], list[Column]()
    for i, column in enumerate(rows.columns):
        if i not in named:
            plain.append(column)
            continue
        if plain:
            pieces.append(assemble(graph, rows, *steps, columns=plain))
            plain = []
        values = assemble(graph, rows, columns=[column])
        pieces.append(graph.cast(append_codes(graph, values, named[i]), steps[-1]))
    if plain:
        pieces.append(assemble(graph, rows, *steps, columns=plain))
    return pieces[0] if len(pieces) == 1 else graph.add("Concat", *pieces, axis=1)


def append_codes(graph: Graph, values: str, categories: Sequence[Any]) -> str:
    """Add from values, strings or numbers of any shape, to their places in `categories`, float64, else NaN."""
    graph.opset[_ML_DOMAIN] = max(_ML_OPSET, graph.opset.get(_ML_DOMAIN, 0))
    if isinstance(categories[0], str):
        encoded = [category.encode() for category in categories]
        keys = helper.make_tensor("keys", TensorProto.STRING, [len(encoded)], encoded)
        codes: Any = np.float32  # there is no kernel from strings to float64
    else:
        values = graph.cast(values, np.float64)
        keys = numpy_helper.from_array(np.asarray(categories, np.float64), "keys")
        codes = np.float64
    found = graph.add(
        "LabelEncoder",
        values,
        domain=_ML_DOMAIN,
        keys_tensor=keys,
        values_tensor=numpy_helper.from_array(np.arange(len(categories)).astype(codes), "values"),
        default_tensor=numpy_helper.from_array(np.array([np.nan], codes), "default"),
    )
    return graph.cast(found, np.float64)


def as_trained(rows: Rows, named: Named, arrays: Mapping[str, Array]) -> Any:
    """Return some rows as training had them: an array, or a DataFrame with the categories of training."""
    table = rows.table(arrays)
    if not named:
        return table
    import pandas as pd

    for i, categories in named.items():
        name, known = rows.columns[i].name, pd.Index(list(categories))
        table[name] = pd.Categorical.from_codes(known.get_indexer(table[name].astype(object)), categories=known)
    return table


def numbers_of(rows: Rows, values: Sequence[Array], named: Named) -> dict[str, dict[int, Array]]:
    """Return thresholds or codes of each feature under the tensor and column that feed it, for probes.

    Where a column holds values of categories, they take the place of their codes if they are numbers.

    Raises:
        ConversionError: a column without named categories holds strings.
    """

    def as_held(i: int, of_feature: Array) -> Array:
        if i not in named or not len(of_feature):
            return of_feature
        return np.zeros(0) if rows.is_text(rows.columns[i]) else np.unique(np.asarray(named[i], np.float64))

    return thresholds_of(rows, [as_held(i, of_feature) for i, of_feature in enumerate(values)])


def features_of(rows: Rows, named: Named, places: Sequence[int] | None = None) -> list[Feature]:
    """Return what the features of trees are made of: the columns at `places`, by default all, those named by code."""
    order = range(len(rows.columns)) if places is None else places
    return [Feature(int(i), labels=tuple(named.get(int(i), ()))) for i in order]


def _holds_values(rows: Rows, column: Column) -> bool:
    return rows.is_text(column) or hasattr(rows.dtypes.get(str(column.name)), "categories")
