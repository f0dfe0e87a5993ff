"""Several graphs at one version of every operator set, so that they can stand in one file.

A file imports each domain once, and operators change their meaning between versions (from 18 on a mean takes its axes
as an input). Raising the import alone would be silently wrong: where an operator in use has changed, the graph is
rewritten, and where that is not known how, refused by name.
"""

from collections.abc import Mapping

import onnx
import onnx.inliner
from onnx import ModelProto, version_converter

from ..member import ConversionError
from .graph import walk
from .tree_upgrade import TREE_ENSEMBLES, upgrade_trees
from .trees import ML_DOMAIN

_ONLY_WIDENED = {"LabelEncoder": 2, **dict.fromkeys(TREE_ENSEMBLES, 1)}
"""Operator of ai.onnx.ml -> the version since which later ones only added attributes, so that graphs read the same."""


def aligned(models: Mapping[str, ModelProto], least: Mapping[str, int]) -> dict[str, ModelProto]:
    """Return the models at the highest version that any of them imports of each domain, functions inlined.

    Args:
        models: name -> checked model.
        least: domain -> lowest version to use.

    Raises:
        ConversionError: an operator in use has changed and cannot be rewritten; names model and operator.
    """
    inlined = {name: onnx.inliner.inline_local_functions(m) if m.functions else m for name, m in models.items()}
    target = dict(least)
    for model in inlined.values():
        for domain, version in _imports(model).items():
            target[domain] = max(version, target.get(domain, 0))
    return {name: _at(name, model, target) for name, model in inlined.items()}


def _at(name: str, model: ModelProto, target: Mapping[str, int]) -> ModelProto:
    for domain, version in sorted(_imports(model).items()):
        wanted = target[domain]
        changed = _changed(model, domain, version, wanted)
        if not changed:
            continue
        where = f"member {name!r} is written at version {version} of {domain or 'ai.onnx'}, another at {wanted}"
        if domain == "":
            model = _converted(model, wanted, where)
        elif domain == ML_DOMAIN and changed <= TREE_ENSEMBLES:
            model = upgrade_trees(model)
        else:
            raise ConversionError(
                f"{where}, and {sorted(changed)[0]} changed between them; write all members at one version"
            )
    out = ModelProto()
    out.CopyFrom(model)
    del out.opset_import[:]
    out.opset_import.extend(onnx.helper.make_opsetid(domain, target[domain]) for domain in sorted(target))
    return out


def _imports(model: ModelProto) -> dict[str, int]:
    """Return the domains in use with their versions; some exporters import one twice, and the higher version counts."""
    used = {node.domain for node in walk(model.graph.node)}
    imports: dict[str, int] = {}
    for entry in model.opset_import:
        if entry.domain in used:
            imports[entry.domain] = max(entry.version, imports.get(entry.domain, 0))
    return imports


def _changed(model: ModelProto, domain: str, version: int, wanted: int) -> set[str]:
    """Return the operators in use whose definition differs between two versions."""
    if version == wanted:
        return set()
    return {
        node.op_type
        for node in walk(model.graph.node)
        if node.domain == domain and not _is_same(node.op_type, domain, version, wanted)
    }


def _is_same(op: str, domain: str, version: int, wanted: int) -> bool:
    try:
        old, new = (onnx.defs.get_schema(op, v, domain) for v in (version, wanted))
    except onnx.defs.SchemaError:
        return False  # of a runtime's own domain, or removed
    if new.deprecated:
        return False
    is_widened = domain == ML_DOMAIN and op in _ONLY_WIDENED and old.since_version >= _ONLY_WIDENED[op]
    return is_widened or old.since_version == new.since_version


def _converted(model: ModelProto, wanted: int, where: str) -> ModelProto:
    try:
        return version_converter.convert_version(model, wanted)
    except Exception as error:  # the converter raises plain RuntimeErrors and its own
        reason = str(error).strip().partition("\n")[0]
        raise ConversionError(f"{where}, and ONNX cannot convert it: {reason}; write all at one version") from error
