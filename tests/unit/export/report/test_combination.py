import numpy as np
import pytest
from widedeep.export.report.combination import in_words, influence, temperatures
from widedeep.serving.contract.combiner import Combiner, LinearPool, LogPool, MeanPool

POOLS: list[tuple[Combiner, list[float], str]] = [
    (LinearPool(np.array([0.75, 0.25])), [0.75, 0.25], "weighted mean"),
    (LinearPool(np.array([0.5, 0.5])), [0.5, 0.5], "plain mean"),
    (LinearPool(np.array([0.0, 1.0])), [0.0, 1.0], "One member answers alone"),
    (LinearPool(np.array([[0.2, 0.4], [0.8, 0.6]])), [0.3, 0.7], "every member and class"),
    (LinearPool(np.array([1.0, -0.5]), normalize=False), [2 / 3, 1 / 3], "sum of the members' predictions"),
    (LogPool(np.array([0.9, 0.3])), [0.75, 0.25], "surer than"),
    (LogPool(np.array([0.3, 0.1]), bias=np.zeros(2)), [0.75, 0.25], "less sure than"),
    (LogPool(np.ones((2, 2, 2))), [0.5, 0.5], "logistic regression"),
]


@pytest.mark.parametrize(("combiner", "shares", "words"), POOLS)
def test_shares_go_by_the_size_of_parameters_and_words_tell_the_kind(
    combiner: Combiner, shares: list[float], words: str
) -> None:
    assert influence(combiner) == pytest.approx(shares)
    assert words in in_words(combiner)


def test_a_mean_of_several_has_the_mean_of_their_shares_and_tells_them_all() -> None:
    combiner = MeanPool((LinearPool(np.array([1.0, 0.0])), LogPool(np.array([0.5, 0.5]))))

    assert influence(combiner) == pytest.approx([0.75, 0.25])
    assert "mean of 2 combinations" in in_words(combiner)
    assert "geometric mean" in in_words(combiner)


def test_temperatures_are_explained_where_there_are_some() -> None:
    pool = LinearPool(np.array([0.75, 0.25]), temperatures=np.array([0.5, 2.0]))

    assert "temperature" in in_words(pool)
    assert temperatures(pool) is not None
    assert temperatures(MeanPool((pool,))) is None


def test_a_pool_without_any_weight_has_equal_shares() -> None:
    assert influence(LinearPool(np.zeros(2), normalize=False)).tolist() == [0.5, 0.5]
