"""What `--evaluate` finds: how good predictions are, how sure that is, and how far the inputs have drifted.

    label column -> truth ─┐
    outputs ───────────────┼─> measure (classification, regression) ─┐
    slice columns ─────────┘                                         ├─> Tally (mergeable) -> report -> text
    inputs -> cells of the histograms in the bundle ─────────────────┘

A tally is what was counted of some rows; tallies of any split of the rows merge to that of the whole, up to rounding.
Intervals, tables and flags are computed from the merged tally alone.
"""

from .evaluator import Evaluator, evaluator_of
from .tally import Tally
from .text import describe

__all__ = ["Evaluator", "Tally", "describe", "evaluator_of"]
