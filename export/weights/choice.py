"""Which learner's combiner to take: a pure function of cross-validated losses by row.

Among the learners whose loss is no worse than the best single member's, the simplest within one standard error of the
best is taken (the one-standard-error rule). The standard error is that of the *difference* to the best learner, row by
row, over the rows:

- Both losses are of the same rows. Hard rows are hard for every combiner; that part of the spread, by far the largest,
  says nothing about which combiner is better and cancels in the difference. The classical error of the best learner's
  own loss keeps it, and is so wide that it lets through combiners that are worse on nearly every row.
- Over rows, not over folds: five fold means give an error with four degrees of freedom.

It is still an estimate that leans to the small side, because folds share the rows that the learners were fitted on
(Bengio and Grandvalet, 2004, "No unbiased estimator of the variance of k-fold cross-validation").

Measured as mean change of loss against the best single member, and in how many splits worse than it. Members, clip and
bags of the learners were settled on the same sets, so the figures compare rules and promise nothing:

    rule                                     log loss, 11 sets, 32 splits    root mean squared error, 5 sets, 15 splits
    one paired error (this one)              -15.9 %   2                     -2.8 %   2
    half a paired error                      -14.0 %   3                     -3.9 %   1
    lowest loss                              -13.4 %   4                     -3.9 %   1
    one unpaired error, over rows or folds   -11 to -12 %   0 to 1           -0.5 %   0
    two paired errors                         -8.1 %   0                     -0.8 %   1

The last two keep the best single member in most splits.

Sources: Breiman et al. (1984), "Classification and regression trees", and Hastie, Tibshirani and Friedman (2009), "The
elements of statistical learning", section 7.10, for the rule; Vehtari, Gelman and Gabry (2017), "Practical Bayesian
model evaluation using leave-one-out cross-validation and WAIC", for the error of paired differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...serving.contract.combiner import Float64Array
from .mean import Weights, mean_over_rows, standard_error


@dataclass(frozen=True, slots=True)
class Standing:
    """How a learner stands in cross-validation.

    Attributes:
        loss: mean over rows.
        standard_error: of that mean.
        above_best: mean of the difference to the best learner's loss.
        above_best_error: standard error of that difference.
    """

    loss: float
    standard_error: float
    above_best: float
    above_best_error: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome of the rule.

    Attributes:
        chosen: the learner to take.
        best: the learner with the lowest loss.
        reason: one sentence with the numbers.
        standings: by learner, in the order given.
    """

    chosen: str
    best: str
    reason: str
    standings: Mapping[str, Standing]


def choose(
    losses: Mapping[str, Float64Array], baseline: str, loss_name: str = "loss", weights: Weights = None
) -> Choice:
    """Apply the one-standard-error rule.

    Args:
        losses: learner -> cross-validated loss of each row `(n_rows,)`; the simplest learner first.
        baseline: the learner that none taken may be worse than.
        loss_name: what the reason calls the loss.
        weights: of the rows.
    """
    means = {name: float(mean_over_rows(rows, weights)) for name, rows in losses.items()}
    best = min(means, key=lambda name: means[name])
    standings = {
        name: Standing(
            means[name],
            standard_error(rows, weights),
            means[name] - means[best],
            standard_error(rows - losses[best], weights),
        )
        for name, rows in losses.items()
    }
    chosen = next(
        name
        for name, standing in standings.items()
        if standing.loss <= means[baseline] and standing.above_best <= standing.above_best_error
    )
    return Choice(chosen, best, _reason(chosen, best, baseline, standings, loss_name), standings)


def _reason(chosen: str, best: str, baseline: str, standings: Mapping[str, Standing], loss_name: str) -> str:
    standing = standings[chosen]
    if chosen == best:
        told = f"{chosen} has the lowest cross-validated {loss_name}, {standing.loss:.4g}"
        told += ", and no simpler learner is within one standard error of it" if chosen != next(iter(standings)) else ""
    else:
        told = (
            f"{chosen} is the simplest learner within one standard error of the lowest cross-validated {loss_name}:"
            f" {standing.loss:.4g}, which is {standing.above_best:.2g} (standard error {standing.above_best_error:.2g})"
            f" above {best}"
        )
    return told if chosen == baseline else f"{told}; {baseline} has {standings[baseline].loss:.4g}"
