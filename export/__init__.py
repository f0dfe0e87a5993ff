"""Everything that makes a bundle: converters, the parity gate, weight learning and assembly.

    member = export.convert(model, rows)                                # one ONNX graph, parity proven
    fitted = export.cross_fit(recipe, inputs, labels, folds)            # out-of-fold scores, the model of all rows
    member = export.bag(members, rows)                                  # fold models as one member, their mean
    export.build(path, name=..., members=..., scores=..., target=..., rows=...)
    export.fuse(path, "ensemble.onnx")                                  # optional: one file for any ONNX runtime

Heavy libraries are imported where they are used: importing this brings in no training library.
"""

from .bag import bag
from .build import Built, build
from .convert import convert
from .fuse import Fused, fuse
from .member import ConversionError, Member
from .out_of_fold import CrossFit, Recipe, cross_fit
from .quantize import Int8
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
    "bag",
    "build",
    "convert",
    "cross_fit",
    "fuse",
    "learn",
]
