"""Hyperopt's TPE as a sampler of Optuna's, so that both see the same space, the same trials and the same seeds.

Needs the extra `hyperopt`. Each choice is made from the record alone: the study's history becomes Hyperopt's, and its
`tpe.suggest` is asked for one point, with Hyperopt's own defaults (20 random trials first).

Source: Bergstra, Bardenet, Bengio, Kégl (2011), "Algorithms for hyper-parameter optimization".
"""

import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from .storage import last_loss

_KNOWN = (TrialState.COMPLETE, TrialState.PRUNED)


class HyperoptTpe(BaseSampler):
    """Chooses all parameters of a trial at once.

    A pruned trial counts with the loss that it reported last; running ones do not count. One thread at a time.
    """

    def __init__(self, seed: int, distributions: Mapping[str, BaseDistribution]) -> None:
        self._seed = seed
        self._distributions = {name: each for name, each in distributions.items() if not each.single()}

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        """Return every parameter that may differ."""
        return dict(self._distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return parameter -> value to try next."""
        from hyperopt import Trials, tpe
        from hyperopt.base import Domain

        if not search_space:
            return {}
        domain = Domain(None, {name: _expression(name, each) for name, each in search_space.items()})
        history = Trials()
        known = study.get_trials(deepcopy=False, states=_KNOWN)
        history.insert_trial_docs([_document(each, search_space, domain) for each in known])
        history.refresh()
        [chosen] = tpe.suggest([trial.number], domain, history, self._seed, verbose=False)
        values = chosen["misc"]["vals"]
        return {name: _to_ours(values[name][0], each) for name, each in search_space.items()}

    def sample_independent(self, *_: Any) -> Any:
        """Never asked: every parameter is chosen with the others.

        Raises:
            ValueError: always.
        """
        raise ValueError("expected to choose all parameters at once; asked for one that the space lacks")


def _expression(name: str, each: BaseDistribution) -> Any:
    """Return a parameter as Hyperopt spells it."""
    from hyperopt import hp

    if isinstance(each, CategoricalDistribution):
        return hp.choice(name, list(each.choices))
    if isinstance(each, FloatDistribution):
        return (
            hp.loguniform(name, math.log(each.low), math.log(each.high))
            if each.log
            else hp.uniform(name, each.low, each.high)
        )
    if isinstance(each, IntDistribution):
        # Half a step more on each side, so that the ends are as likely as the rest.
        low, high = each.low - 0.5, each.high + 0.5
        return hp.qloguniform(name, math.log(low), math.log(high), 1) if each.log else hp.quniform(name, low, high, 1)
    raise TypeError(f"parameter {name!r}: expected a distribution that a space has, got {each!r}")


def _document(trial: FrozenTrial, space: Mapping[str, BaseDistribution], domain: Any) -> dict[str, Any]:
    """Return a trial as Hyperopt keeps it on record."""
    from hyperopt import JOB_STATE_DONE, STATUS_OK

    loss = trial.values[0] if trial.values else last_loss(trial)
    values = {name: [_to_theirs(trial.params[name], each)] for name, each in space.items()}
    return {
        "state": JOB_STATE_DONE,
        "tid": trial.number,
        "spec": None,
        "result": {"status": STATUS_OK, "loss": loss if math.isfinite(loss) else None},
        "misc": {
            "tid": trial.number,
            "cmd": domain.cmd,
            "workdir": None,
            "idxs": {name: [trial.number] for name in space},
            "vals": values,
        },
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }


def _to_theirs(value: Any, each: BaseDistribution) -> Any:
    return each.choices.index(value) if isinstance(each, CategoricalDistribution) else value


def _to_ours(value: Any, each: BaseDistribution) -> Any:
    """Return Hyperopt's value, a choice by its index, as one of ours, within its ends whatever the rounding."""
    if isinstance(each, CategoricalDistribution):
        return each.choices[int(value)]
    if isinstance(each, IntDistribution):
        return min(max(round(value), each.low), each.high)
    if isinstance(each, FloatDistribution):
        return min(max(float(value), each.low), each.high)
    raise TypeError(f"expected a distribution that a space has, got {each!r}")
