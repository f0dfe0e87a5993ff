"""All learners in order of simplicity, which the choice among them goes by.

Simpler is what has fewer free parameters and, of equals, what serves fewer members: `m` members and `k` classes give

    best_single            0    one member to serve
    uniform                0
    greedy                 m-1  in steps of 1/50, often sparse
    simplex                m-1
    nelder_mead            m-1  as simplex, by a rougher search
    random_search          m-1
    nnls                   m    regression
    log_pool               m
    temperature_simplex    2m-1
    log_pool_bias          m+k
    nnls_per_output        mk   regression with several outputs
    per_class              mk   penalised
    average                     mean of temperature_simplex, log_pool and stacking: more parameters than any, and less
                                variance than stacking alone, so it comes before it
    stacking               mk*k penalised
"""

from ...serving.contract.bundle import Task
from .greedy import fit_greedy
from .learner import AnyLearner, Learner, MeanOf
from .least_squares import fit_nnls, fit_nnls_per_output
from .linear import fit_best_single, fit_simplex, fit_uniform
from .log_pool import fit_log_pool, fit_log_pool_bias
from .per_class import fit_per_class
from .search import fit_nelder_mead, fit_random_search
from .stacking import fit_stacking
from .temperature import fit_temperature_simplex

BEST_SINGLE = Learner("best_single", fit_best_single)
_POOLS = (
    BEST_SINGLE,
    Learner("uniform", fit_uniform),
    Learner("greedy", fit_greedy),
    Learner("simplex", fit_simplex),
    Learner("nelder_mead", fit_nelder_mead),
    Learner("random_search", fit_random_search),
)
_NNLS = Learner("nnls", fit_nnls)
_NNLS_PER_OUTPUT = Learner("nnls_per_output", fit_nnls_per_output)
_LOG_POOL = Learner("log_pool", fit_log_pool)
_TEMPERATURE_SIMPLEX = Learner("temperature_simplex", fit_temperature_simplex)
_LOG_POOL_BIAS = Learner("log_pool_bias", fit_log_pool_bias)
_PER_CLASS = Learner("per_class", fit_per_class)
_STACKING = Learner("stacking", fit_stacking)
_MAX_STACKING_PARAMETERS = 20_000


def learners_for(task: Task, n_members: int, n_outputs: int, *, with_stacking: bool = True) -> tuple[AnyLearner, ...]:
    """Return the learners for a task, the simplest first.

    With so many classes that stacking would have more than 20,000 parameters it is left out, also of the average; so it
    is where it is not wanted: it takes longer than all others together.
    """
    if task == "regression":
        return (*_POOLS, _NNLS, _NNLS_PER_OUTPUT) if n_outputs > 1 else (*_POOLS, _NNLS)
    is_stacked = with_stacking and n_members * n_outputs**2 <= _MAX_STACKING_PARAMETERS
    stacking = (_STACKING,) if is_stacked else ()
    average = MeanOf("average", (_TEMPERATURE_SIMPLEX, _LOG_POOL, *stacking))
    return (*_POOLS, _LOG_POOL, _TEMPERATURE_SIMPLEX, _LOG_POOL_BIAS, _PER_CLASS, average, *stacking)
