"""Every kind of the zoo."""

from .forests import EXTRA_TREES, RANDOM_FOREST
from .hist_gradient_boosting import HistGradientBoosting
from .image_net import ImageNet
from .kind import Kind
from .lightgbm import LightGBM
from .linear import Linear
from .mlp import Mlp
from .problem import Problem
from .signal_net import SignalNet
from .wide_deep import WideDeep
from .xgboost import XGBoost


def kinds() -> tuple[Kind, ...]:
    """Return all kinds, those that learn most in little time first, and unlike ones one after the other.

    XGBoost comes before LightGBM because its export is proven several times faster where there are many classes.
    """
    return (
        ImageNet(),
        SignalNet(),
        Linear(),
        XGBoost(),
        Mlp(),
        EXTRA_TREES,
        LightGBM(),
        WideDeep(),
        HistGradientBoosting(),
        RANDOM_FOREST,
    )


def kinds_for(problem: Problem) -> tuple[Kind, ...]:
    """Return the kinds that can learn a problem."""
    return tuple(kind for kind in kinds() if kind.suits(problem))
