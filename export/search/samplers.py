"""Samplers by name: which parameters to try next, given the trials so far.

`Seeded` is what a study holds. It makes a new sampler for every draw, seeded by the study's seed and the draw's index,
so that a sampler has no state but the record: it goes on in another process as it would have in this one.
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from ...serving.contract.errors import WidedeepError
from .space import Choice, Params, Real, Space
from .storage import view


class SamplerMissing(WidedeepError):
    """A sampler needs a library that is not installed."""


@dataclass(frozen=True, slots=True)
class SamplerKind:
    """A way to choose parameters.

    Attributes:
        make: a new sampler of a seed and a search space.
        objectives: how many it can search for at once; of more it sees the first alone.
        needs: the module that must be installed, and the extra that brings it; empty if none.
    """

    make: Callable[[int, Mapping[str, BaseDistribution]], BaseSampler]
    objectives: int = 2
    needs: tuple[str, str] | tuple[()] = ()


def _tpe(seed: int, _: Mapping[str, BaseDistribution]) -> BaseSampler:
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _gp(seed: int, _: Mapping[str, BaseDistribution]) -> BaseSampler:
    return GPSampler(seed=seed)


def _cma_es(seed: int, _: Mapping[str, BaseDistribution]) -> BaseSampler:
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _nsga2(seed: int, _: Mapping[str, BaseDistribution]) -> BaseSampler:
    return NSGAIISampler(seed=seed, population_size=20)


def _hyperopt(seed: int, distributions: Mapping[str, BaseDistribution]) -> BaseSampler:
    from .hyperopt_tpe import HyperoptTpe

    return HyperoptTpe(seed, distributions)


SAMPLERS: Mapping[str, SamplerKind] = {
    "random": SamplerKind(lambda seed, _: RandomSampler(seed=seed)),
    "tpe": SamplerKind(_tpe),
    "gp": SamplerKind(_gp, needs=("torch", "gp")),
    "cma_es": SamplerKind(_cma_es, objectives=1, needs=("cmaes", "train")),
    "nsga2": SamplerKind(_nsga2),
    "hyperopt": SamplerKind(_hyperopt, objectives=1, needs=("hyperopt", "hyperopt")),
}
"""Name -> kind of sampler.

- `random`: independent of what came before.
- `tpe`: tree-structured Parzen estimator over all parameters at once; running trials count as bad ones, so that several
  workers do not try the same (Bergstra et al. 2011; Falkner et al. 2018).
- `gp`: a Gaussian process and expected improvement.
- `cma_es`: CMA-ES for numbers (Hansen 2016); choices are drawn at random.
- `nsga2`: NSGA-II (Deb et al. 2002), generations of 20.
- `hyperopt`: Hyperopt's TPE.
"""


def check_sampler(name: str) -> None:
    """Check that a sampler is known and that what it needs is installed.

    Raises:
        ValueError: none has that name.
        SamplerMissing: its library is missing; names the extra that brings it.
    """
    if name not in SAMPLERS:
        raise ValueError(f"expected a sampler of {', '.join(SAMPLERS)}; got {name!r}")
    needs = SAMPLERS[name].needs
    if needs and importlib.util.find_spec(needs[0]) is None:
        raise SamplerMissing(
            f"sampler {name!r} needs {needs[0]}, which is not installed: pip install 'widedeep[{needs[1]}]'"
        )


class Seeded(BaseSampler):
    """The sampler of a study: first a portfolio, in order, and then what a sampler of that name chooses.

    Optuna asks a sampler for all parameters while it makes the trial. This one waits until the first parameter is asked
    for, so that a trial is made and owned in milliseconds and the choosing, which may take seconds, is done after.
    One thread at a time; `begin` precedes every trial's parameters.

    Attributes:
        distributions: the search space in Optuna's terms.
    """

    def __init__(self, name: str, space: Space, first: Sequence[Params], seed: int) -> None:
        check_sampler(name)
        self._kind = SAMPLERS[name]
        self.distributions = _distributions(space)
        self._first = first
        self._seed = seed
        self._draw = 0
        self._inner: BaseSampler | None = None
        self._seen: optuna.Study | None = None
        self._chosen: Mapping[str, Any] = {}

    def begin(self, draw: int) -> None:
        """Choose next for the draw of an index, from 0."""
        self._draw, self._inner, self._seen, self._chosen = draw, None, None, {}

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        """Return that nothing is chosen yet."""
        return {}

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        """Return that nothing is chosen yet."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of one parameter; at the first, choose all that are chosen together."""
        if self._draw < len(self._first):
            return self._first[self._draw][param_name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            if self._inner is None or self._seen is None:
                self._seen = view(study, self._kind.objectives)
                self._inner = self._kind.make(self.draw_seed(self._draw), self.distributions)
                self._inner.before_trial(self._seen, trial)
                together = self._inner.infer_relative_search_space(self._seen, trial)
                self._chosen = self._inner.sample_relative(self._seen, trial, together)
            if param_name in self._chosen:
                return self._chosen[param_name]
            return self._inner.sample_independent(self._seen, trial, param_name, param_distribution)

    def draw_seed(self, draw: int) -> int:
        """Return the seed of everything that belongs to one draw, below 2**31."""
        return int(np.random.SeedSequence([self._seed, draw]).generate_state(1)[0]) >> 1


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return a search space in Optuna's terms."""
    found: dict[str, BaseDistribution] = {}
    for name, parameter in space.items():
        if isinstance(parameter, Choice):
            found[name] = CategoricalDistribution(parameter.options)
        elif isinstance(parameter, Real):
            found[name] = FloatDistribution(parameter.low, parameter.high, log=parameter.log)
        else:
            found[name] = IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return found
