"""What several members take together: the inputs of a bundle, or of one graph that holds them all."""

from collections.abc import Mapping
from dataclasses import replace

from ..serving.contract.tensors import TensorSpec
from .member import ConversionError, Member


def merged_inputs(members: Mapping[str, Member]) -> tuple[TensorSpec, ...]:
    """Return the union of the members' inputs, in order of first use.

    Where two members share an input, NaN and infinities are legal only if both can take them, a value is a known
    category if any knows it (all, of those that refuse others), and feature names may be missing on one side.

    Raises:
        ConversionError: two members declare an input of one name differently.
    """
    merged: dict[str, tuple[str, TensorSpec]] = {}
    for name, member in members.items():
        for spec in member.inputs:
            owner, known = merged.get(spec.name, (name, spec))
            if (known.datatype, known.shape) != (spec.datatype, spec.shape) or (
                known.feature_names and spec.feature_names and known.feature_names != spec.feature_names
            ):
                raise ConversionError(
                    f"input {spec.name!r}: member {owner!r} takes {_described(known)}, member {name!r} takes "
                    f"{_described(spec)}; convert both from the same rows, or give the inputs different names"
                )
            merged[spec.name] = (
                owner,
                replace(
                    known,
                    feature_names=known.feature_names or spec.feature_names,
                    categories=_categories(known, spec),
                    allow_nan=known.allow_nan and spec.allow_nan,
                    allow_inf=known.allow_inf and spec.allow_inf,
                    closed_categories=known.closed_categories or spec.closed_categories,
                    missing=known.missing if known.missing == spec.missing else None,
                ),
            )
    return tuple(spec for _, spec in merged.values())


def _categories(one: TensorSpec, other: TensorSpec) -> tuple[str, ...]:
    if one.closed_categories and other.closed_categories:
        return tuple(category for category in one.categories if category in set(other.categories))
    if one.closed_categories or other.closed_categories:
        return one.categories if one.closed_categories else other.categories
    return tuple(dict.fromkeys((*one.categories, *other.categories)))


def _described(spec: TensorSpec) -> str:
    features = f" of features {', '.join(spec.feature_names[:4])} ..." if spec.feature_names else ""
    return f"{spec.datatype} {list(spec.shape)}{features}"
