"""Transformers of scikit-learn that look values up or fill them in, and those that put columns together.

An encoder is asked itself what it makes of every category, and the graph holds its answers as a table: whatever drop,
infrequent categories, smoothing or unknown values mean to it, the graph means the same.

Source: sklearn/preprocessing/_encoders.py, _target_encoder.py, _discretization.py, impute/_base.py, compose.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...serving.contract.tensors import Array
from ..member import ConversionError
from .sklearn_table import Part, Table, codes, is_missing, joined
from .sklearn_walk import Transform, Walk
from .values import TEXT, Value, side_by_side

_UNSEEN = "widedeep-unseen-category"


def encoder(walk: Walk, step: Any, table: Table) -> Table:
    """Write a OneHotEncoder, OrdinalEncoder or TargetEncoder."""
    who = type(step).__name__
    walk.saw_categories(table.origins, [_numbers_of(categories) for categories in step.categories_])
    answers = _answers(step)
    made = []
    for column, categories, answer in zip(table.columns, step.categories_, answers, strict=True):
        place = codes(column, categories, who)
        known, unknown = answer
        if unknown is None:
            walk.refuses(place.equals(np.int64(-1)))
            unknown = np.zeros_like(known[0])
        if known.shape[1]:
            rows = np.concatenate([known, unknown[np.newaxis]])
            at = place.equals(np.int64(-1)).where(np.int64(len(known)), place)
            made.append((at.reshape(-1).gather(rows), known.shape[1]))
    value = side_by_side([part for part, _ in made])
    origins = (None,) * sum(width for _, width in made)
    return Table((Part(value, origins),), is_sparse=bool(getattr(step, "sparse_output", False)))


def bins(walk: Walk, step: Any, table: Table) -> Table:
    """Write a KBinsDiscretizer."""
    x = table.numbers("KBinsDiscretizer")
    if step.dtype is not None:
        x = x.astype(step.dtype)
    walk.saw_thresholds(table.origins, [edges[1:-1] for edges in step.bin_edges_])
    parts = []
    for i, edges in enumerate(step.bin_edges_):
        inner = np.asarray(edges[1:-1], np.float64)
        column = x.columns([i])
        place = (column >= inner[np.newaxis]).astype(np.int64).sum() if len(inner) else column.isnan().astype(np.int64)
        if step.encode == "ordinal":
            parts.append(place.astype(x.dtype))
        else:
            parts.append(place.reshape(-1).gather(np.eye(len(edges) - 1, dtype=x.dtype)))
    widths = [1 if step.encode == "ordinal" else len(edges) - 1 for edges in step.bin_edges_]
    made = Part(side_by_side(parts), (None,) * sum(widths))
    return Table((made,), is_sparse=step.encode == "onehot")


def simple_imputer(_: Walk, step: Any, table: Table) -> Table:
    """Write a SimpleImputer of numbers or strings, its indicator too."""
    statistics = np.asarray(step.statistics_, object)
    kept = [i for i, value in enumerate(statistics) if step.keep_empty_features or not is_missing(value)]
    is_text = any(part.is_text for part in table.parts)
    columns = table.columns if is_text else _array_columns(table, step)
    masks = [_missing(column, step.missing_values) for column in columns]
    filled = [_filled(columns[i], masks[i], statistics[i], step.missing_values) for i in kept]
    out = joined([Table((part,)) for part in filled]) if is_text else _one(filled, table)
    if step.indicator_ is None or not len(step.indicator_.features_):
        return out
    marks = _marks(step.indicator_, masks)
    if is_text:
        raise ConversionError("SimpleImputer(add_indicator=True) of strings is not converted; fill them only")
    return joined([out, Table((marks,))], is_sparse=table.is_sparse)


def missing_indicator(_: Walk, step: Any, table: Table) -> Table:
    """Write a MissingIndicator."""
    masks = [_missing(column, step.missing_values) for column in table.columns]
    return Table((_marks(step, masks),))


def pipeline(walk: Walk, step: Any, table: Table) -> Table:
    """Write one step after the other."""
    for _, inner in step.steps:
        table = walk.transform(inner, table)
    return table


def columns(walk: Walk, step: Any, table: Table) -> Table:
    """Write a ColumnTransformer."""
    parts = []
    for name, inner, _ in step.transformers_:
        places = np.arange(table.width)[step._transformer_to_input_indices[name]]
        if (isinstance(inner, str) and inner == "drop") or not np.size(places):
            continue
        part = walk.transform(inner, table.select(np.atleast_1d(places).tolist()))
        parts.append(_weighted(part, (step.transformer_weights or {}).get(name), name))
    return _stacked(parts, is_sparse=bool(step.sparse_output_))


def union(walk: Walk, step: Any, table: Table) -> Table:
    """Write a FeatureUnion."""
    parts = [_weighted(walk.transform(inner, table), weight, name) for name, inner, weight in step._iter()]
    return _stacked(parts, is_sparse=any(part.is_sparse for part in parts))


def _answers(step: Any) -> list[tuple[Array, Array | None]]:
    """Return for each column what the encoder makes of every category `(n_categories, n_made)` and of an unseen one.

    For an unseen one, None where the encoder refuses it.
    """
    widths = _widths(step)
    place, out = 0, []
    for column, categories in enumerate(step.categories_):
        rows = [[known[0] for known in step.categories_] for _ in categories]
        for row, category in zip(rows, categories.tolist(), strict=True):
            row[column] = category
        made = slice(place, place + widths[column])
        unseen = [known[0] for known in step.categories_]
        unseen[column] = _unseen(categories)
        try:
            unknown = _transformed(step, [unseen])[0, made]
        except ValueError:
            unknown = None
        out.append((_transformed(step, rows)[:, made], unknown))
        place = made.stop
    return out


def _widths(step: Any) -> list[int]:
    if hasattr(step, "_n_features_outs"):
        return [int(width) for width in step._n_features_outs]
    is_multiclass = getattr(step, "target_type_", "") == "multiclass"
    return [len(step.classes_) if is_multiclass else 1] * len(step.categories_)


def _transformed(step: Any, rows: Sequence[Sequence[object]]) -> Array:
    """Return what an encoder makes of rows, each column in the type of its categories."""
    import pandas as pd
    from sklearn import config_context

    frame = {
        f"{i}": pd.Series([row[i] for row in rows], dtype=_dtype(categories, [row[i] for row in rows]))
        for i, categories in enumerate(step.categories_)
    }
    with warnings.catch_warnings(), config_context(transform_output="default"):
        warnings.simplefilter("ignore")  # of feature names that training did not have, and of unknown categories
        table = pd.DataFrame(frame)
        if hasattr(step, "feature_names_in_"):
            table.columns = step.feature_names_in_
        made = step.transform(table)
    return np.asarray(made.toarray() if hasattr(made, "toarray") else made)


def _dtype(categories: Array, values: Sequence[object]) -> Any:
    if categories.dtype.kind in "OUS":
        return object
    whole = categories.dtype.kind in "biu" and all(isinstance(v, int | bool) for v in values)
    return categories.dtype if whole else np.float64 if categories.dtype.kind != "f" else categories.dtype


def _unseen(categories: Array) -> object:
    numbers = _numbers_of(categories)
    if not len(numbers):
        return _UNSEEN
    return float(np.nanmax(np.abs(numbers)) * 2 + 7) if categories.dtype.kind == "f" else int(numbers.max()) + 1


def _numbers_of(categories: Array) -> Array:
    """Return the categories that are numbers, ascending."""
    known = [category for category in categories.tolist() if not is_missing(category)]
    return np.zeros(0) if any(isinstance(category, str) for category in known) else np.sort(np.array(known, np.float64))


def _array_columns(table: Table, step: Any) -> list[Part]:
    """Return columns of numbers in the type in which a SimpleImputer takes them."""
    any_type = step.strategy in {"most_frequent", "constant"}
    array = table.array("SimpleImputer") if any_type else table.numbers("SimpleImputer")
    return Table((Part(array, table.origins),)).columns


def _missing(column: Part, missing_values: Any) -> Value:
    """Return whether the cells of a column count as missing, `(n_rows, 1)`."""
    if not column.is_text:
        value = column.value
        return value.isnan() if is_missing(missing_values) else value.equals(np.asarray(missing_values, value.dtype))
    if is_missing(missing_values):
        keys = [column.missing] if column.missing is not None else []
        if column.known is not None:
            known = [str(key) for key in column.known]
            return column.value.lookup([*known, *keys], [*[0] * len(known), *[1] * len(keys)], 1).astype(np.bool_)
    else:
        keys = [str(missing_values)]
    return column.value.lookup(keys, [1] * len(keys), 0).astype(np.bool_)


def _filled(column: Part, mask: Value, fill: Any, missing_values: Any) -> Part:
    if column.is_text:
        if not isinstance(fill, str):
            raise ConversionError(f"SimpleImputer fills a column of strings with {fill!r}; fill it with a string")
        return Part(mask.where(np.asarray(fill, object), column.value), column.origins)
    dtype = column.value.dtype

    def forward(values: Array) -> Array:
        gone = np.isnan(values) if is_missing(missing_values) else values == missing_values
        return np.where(gone, np.asarray(fill, dtype), values)

    origins = tuple(None if o is None else o.behind(lambda values: values, forward) for o in column.origins)
    return Part(mask.where(np.asarray(fill, dtype), column.value), origins)


def _one(parts: Sequence[Part], table: Table) -> Table:
    """Return columns of one type as one part."""
    if not parts:
        raise ConversionError("SimpleImputer: no column had a value in training; drop them before")
    value = side_by_side([part.value for part in parts])
    return Table((Part(value, tuple(part.origins[0] for part in parts)),), is_sparse=table.is_sparse)


def _marks(indicator: Any, masks: Sequence[Value]) -> Part:
    chosen = [masks[i] for i in indicator.features_]
    if not chosen:
        raise ConversionError("MissingIndicator: no column had a missing value in training; leave it out")
    return Part(side_by_side(chosen), (None,) * len(chosen))


def _weighted(part: Table, weight: Any, name: str) -> Table:
    return part if weight is None else part.made(part.numbers(name) * float(weight), part.width)


def _stacked(parts: Sequence[Table], *, is_sparse: bool) -> Table:
    """Return what several transformers made, side by side, as one array unless it still holds strings."""
    if not parts:
        raise ConversionError("a ColumnTransformer or FeatureUnion keeps no column; keep at least one")
    out = joined(parts, is_sparse=is_sparse)
    if any(part.value.dtype == TEXT for part in out.parts):
        return replace(out, is_frame=False)
    return Table((Part(out.array("a ColumnTransformer"), out.origins),), is_sparse=is_sparse)


TRANSFORMS: Mapping[str, Transform] = {
    "OneHotEncoder": encoder,
    "OrdinalEncoder": encoder,
    "TargetEncoder": encoder,
    "KBinsDiscretizer": bins,
    "SimpleImputer": simple_imputer,
    "MissingIndicator": missing_indicator,
    "Pipeline": pipeline,
    "ColumnTransformer": columns,
    "FeatureUnion": union,
}
