"""Pruners by name: which trials to stop early, by the losses that they and others reported on the way."""

import math
import warnings
from collections.abc import Callable, Mapping

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from .storage import view

PRUNERS: Mapping[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    "median": lambda: MedianPruner(n_startup_trials=5),
    "halving": lambda: SuccessiveHalvingPruner(reduction_factor=3),
    "hyperband": lambda: HyperbandPruner(reduction_factor=3),
}
"""Name -> new pruner. Steps count from 0.

- `median`: stops a trial whose best loss so far is above the median, at that step, of the trials that ended; the first
  five all end.
- `halving`: only the best third goes on at steps 1, 3, 9, ... (Li et al. 2020, "A system for massively parallel
  hyperparameter tuning").
- `hyperband`: several such ladders at once, some of which begin later (Li et al. 2018, "Hyperband").
"""


def make_pruner(name: str) -> BasePruner:
    """Return a new pruner.

    Raises:
        ValueError: none has that name.
    """
    if name not in PRUNERS:
        raise ValueError(f"expected a pruner of {', '.join(PRUNERS)}; got {name!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PRUNERS[name]()


def should_stop(pruner: BasePruner, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
    """Return whether a running trial should stop at its last step, by losses alone also where latency counts too."""
    if trial.last_step is None:
        return False
    if math.isnan(trial.intermediate_values[trial.last_step]):
        return True
    return pruner.prune(view(study, 1), trial)
