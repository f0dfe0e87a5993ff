"""Everything that makes a bundle: converters, the parity gate, weight learning and assembly.

    member = export.convert(model, rows)                                # one ONNX graph, parity proven
    fitted = export.cross_fit(recipe, inputs, labels, folds)            # out-of-fold scores, the model of all rows
    export.build(path, name=..., members=..., scores=..., target=..., rows=...)
    export.fuse(path, "ensemble.onnx")                                  # optional: one file for any ONNX runtime

Heavy libraries are imported where they are used: importing this brings in no training library.
"""

from .build import Built, build
from .convert import convert
from .fuse import Fused, fuse
from .member import ConversionError, Member
from .quantize import Int8
from .train import CrossFit, Recipe, cross_fit
from .weights import Selection, learn

__all__ = [
    "Built",
    "ConversionError",
    "CrossFit",
    "Fused",
    "Int8",
    "Member",
    "Recipe",
    "Selection",
    "build",
    "convert",
    "cross_fit",
    "fuse",
    "learn",
]
