"""Boosters of XGBoost, LightGBM and scikit-learn's histograms inside scikit-learn models.

Their own modules read them; here they get features in the type in which their library compares, and what is built on
them (calibration, stacking) gets margins and probabilities that are not rounded on the way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from .sklearn_bent import as_compared, unbent
from .sklearn_linear import two_columns
from .sklearn_table import Table, codes
from .sklearn_walk import Method, Walk
from .trees import Trees
from .values import Value, side_by_side


def boosted(walk: Walk, model: Any, table: Table, method: Method, module: str) -> Value:
    """Write a booster of XGBoost, LightGBM or scikit-learn's histograms.

    Raises:
        ConversionError: what it does is not converted; the message names it.
    """
    if (preprocessor := getattr(model, "_preprocessor", None)) is not None:
        table = walk.transform(preprocessor, table)
    parsed = import_module(f".{module}", __package__).parse(model)
    named = _named(parsed, model, table, module)
    x = _features(model, table, named, module)
    _saw(walk, parsed, table, named)
    if parsed.link not in {"sigmoid", "softmax"} or not hasattr(model, "classes_"):
        walk.multiplies |= not isinstance(parsed.trees, Trees)
        return Value(walk.graph, walk.graph.cast(parsed.append(walk.graph, x.name), np.float64), np.dtype(np.float64))
    margin = _margin(walk, parsed, x, table, module)
    if method == "decision_function":
        return margin
    if method == "predict":
        place = (margin > 0.0).astype(np.int64) if len(model.classes_) == 2 else margin.argmax()
        return place.gather(np.asarray(model.classes_))
    if parsed.link == "softmax":
        return margin.softmax()
    return two_columns((margin * float(getattr(parsed, "steepness", 1.0))).sigmoid())


def _named(parsed: Any, model: Any, table: Table, module: str) -> Mapping[int, Sequence[Any]]:
    """Return the columns of a DataFrame that hold values of categories -> those, in the order of their codes."""
    if not table.is_frame or module == "histogram":
        return {}
    own = [i for i, column in enumerate(table.columns) if column.known is not None or column.is_text]
    if module == "lightgbm":
        return dict(zip(own, model.booster_.pandas_categorical or [], strict=False))
    return {i: parsed.named[i] for i in own if i in parsed.named}


def _features(model: Any, table: Table, named: Mapping[int, Sequence[Any]], module: str) -> Value:
    """Return features as the library of a booster would compare them."""
    who, dtype = type(model).__name__, np.float32 if module == "xgboost" else np.float64
    if named:
        columns = []
        for i, column in enumerate(table.columns):
            if i not in named:
                columns.append(Table((column,)).array(who).astype(dtype))
                continue
            place = codes(column, np.array(list(named[i]), object), who)
            columns.append((place < np.int64(0)).where(np.nan, place.astype(np.float64)).astype(dtype))
        return side_by_side(columns)
    x = table.array(who)
    if module == "lightgbm" and not table.is_frame and x.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
        x = x.astype(np.float32)  # an array of integers goes through float32 in LightGBM
    if module == "xgboost" and table.is_sparse:  # what a sparse matrix leaves out is missing there
        return x.equals(0).where(np.asarray(np.nan, dtype), x.astype(dtype))
    return x.astype(dtype)


def _saw(walk: Walk, parsed: Any, table: Table, named: Mapping[int, Sequence[Any]]) -> None:
    """Note where a booster branches; categories by their values, not by their codes."""
    thresholds, known = list(parsed.thresholds()), list(parsed.categories())
    for i, values in named.items():
        is_text = any(isinstance(value, str) for value in values)
        known[i] = np.zeros(0) if is_text else np.unique(np.asarray(list(values), np.float64))
        thresholds[i] = np.zeros(0)
    walk.saw_thresholds(table.origins, thresholds)
    walk.saw_categories(table.origins, known)
    if isinstance(parsed.trees, Trees):
        places = parsed.columns.features if hasattr(parsed, "columns") else None
        walk.saw_trees(table.origins, parsed.trees, places=places, labels=named)


def _margin(walk: Walk, parsed: Any, x: Value, table: Table, module: str) -> Value:
    """Write a booster's scores before its link."""
    is_plain = isinstance(parsed.trees, Trees) and module != "lightgbm" and np.isnan(getattr(parsed, "missing", np.nan))
    if is_plain and not any(len(c) for c in parsed.trees.categories(table.width)):
        trees, seen = unbent(parsed.trees, x, table.origins, as_compared(x.dtype))
        if trees is not parsed.trees:
            raw = Value(walk.graph, trees.append(walk.graph, seen.name), np.dtype(np.float64))
            return raw + np.asarray(parsed.base, np.float64).reshape(1, -1)
    walk.multiplies |= not isinstance(parsed.trees, Trees)
    options = {"two_columns": False} if hasattr(parsed, "two_columns") else {}
    return Value(walk.graph, replace(parsed, link="identity", **options).append(walk.graph, x.name), x.dtype)
