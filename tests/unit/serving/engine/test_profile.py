from collections.abc import Callable

import numpy as np
from widedeep.serving.contract.tensors import Array
from widedeep.serving.engine.profile import Rows, timed

ROWS = {"x": np.zeros((1, 4), np.float32)}


class Machine:
    """A clock, and runs that take as long as they are told to."""

    def __init__(self, seconds_for: Callable[[int], float]) -> None:
        self.now = 0.0
        self._seconds_for = seconds_for

    def run(self, rows: Rows) -> Array:
        self.now += self._seconds_for(len(rows["x"]))
        return rows["x"]

    def timed(self) -> dict[int, float]:
        return timed(self.run, ROWS, lambda: self.now)


def test_larger_chunks_are_timed_until_the_budget_is_spent() -> None:
    assert max(Machine(lambda n_rows: 0.005 * n_rows).timed()) < 16


def test_a_graph_whose_runs_cost_the_same_whatever_the_rows_is_timed_with_many() -> None:
    assert max(Machine(lambda n_rows: 0.02 + 1e-5 * n_rows).timed()) == 256


def test_a_graph_that_takes_seconds_a_run_is_not_timed_for_long() -> None:
    machine = Machine(lambda _: 1.0)
    machine.timed()
    assert machine.now <= 8
