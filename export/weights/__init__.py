"""Weight learning: from scores of rows that the members never saw to the combiner that goes into the bundle.

held_out     the scores, the target and how much each row counts, checked
mean         means over rows, the one place where they are weighed
learners     best single and uniform, linear pools, greedy, search, log pool, stacking; catalogue lists them
choice       which learner's combiner to take, from cross-validated losses
learn        the way through, and what it leaves behind
"""

from .catalogue import learners_for
from .learn import learn
from .learner import AnyLearner, Learner, MeanOf
from .metrics import Metrics, metrics_of
from .selection import Selection

__all__ = ["AnyLearner", "Learner", "MeanOf", "Metrics", "Selection", "learn", "learners_for", "metrics_of"]
