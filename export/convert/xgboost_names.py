"""The categories that XGBoost keeps of a pandas column, as pandas spells them."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..member import ConversionError
from .categories import Named
from .rows import Rows


def named_categories(learner: Mapping[str, Any]) -> Named:
    """Return the categories of the features that training had as a pandas column of categories."""
    booster = learner["gradient_booster"]
    encoded = booster.get("gbtree", booster).get("model", {}).get("cats", {}).get("enc", [])
    return {i: values for i, feature in enumerate(encoded) if (values := _category_values(feature))}


def _category_values(feature: Mapping[str, Any]) -> list[Any]:
    values, offsets = feature["values"], feature.get("offsets")
    return _cut(bytes(value % 256 for value in values), offsets) if offsets else list(values)


def _cut(text: bytes, offsets: Sequence[int]) -> list[str]:
    return [text[start:stop].decode(errors="surrogateescape") for start, stop in itertools.pairwise(offsets)]


def as_spelled(kept: Named, rows: Rows) -> Named:
    """Return named categories as pandas spells them: XGBoost counts characters and cuts bytes (measured with 3.2).

    Raises:
        ConversionError: some are not ASCII, and the rows do not have them as training did.
    """
    spelled = dict(kept)
    for i, values in kept.items():
        if all(value.isascii() for value in values if isinstance(value, str)):
            continue
        known = [str(value) for value in rows.known(rows.columns[i]) or ()]
        if _cut("".join(known).encode(), np.cumsum([0, *map(len, known)]).tolist()) != values:
            raise ConversionError(
                f"XGBoost: the categories of feature {rows.columns[i].name!r} are not all ASCII, and XGBoost keeps "
                f"such names only in part; pass rows whose column has the pandas dtype of the training data"
            )
        spelled[i] = known
    return spelled
