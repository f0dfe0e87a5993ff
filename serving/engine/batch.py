"""One batch on its way through the graphs of a bundle, from inputs to outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..contract.bundle import Bundle
from ..contract.combiner import Float64Array
from ..contract.errors import InvalidInput
from ..contract.tensors import Array
from .member import Fused, Member
from .opening import Graphs
from .outputs import outputs_of
from .plan import Run
from .pool import Pool

Outputs = dict[str, Array]

Observer = Callable[[int, int, float], None]
"""Called after each run of a graph with the member's index, or `FUSED`, the rows and the seconds; from any thread."""


@dataclass(frozen=True, slots=True)
class Route:
    """What answers some outputs.

    Attributes:
        names: the outputs.
        members: indices of the members that must run.
        scored: where the scores of these members lie among those of all; a slice where that is everywhere.
        is_fusable: whether the fused graph answers all of it.
    """

    names: tuple[str, ...]
    members: tuple[int, ...]
    scored: list[int] | slice
    is_fusable: bool


class Batch:
    """One batch on its way through the graphs. `run` may be called from any thread, `outputs` once, after the last."""

    def __init__(
        self,
        bundle: Bundle,
        graphs: Graphs,
        route: Route,
        inputs: Mapping[str, Array],
        n_rows: int,
        *,
        pool: Pool,
        observe: Observer | None,
        clock: Callable[[], float],
    ) -> None:
        """Store the parts and make room for the scores; see `Ensemble.start`."""
        self._bundle = bundle
        self._graphs = graphs
        self._route = route
        self._inputs = inputs
        self._n_rows = n_rows
        self._pool = pool
        self._observe = observe
        self._clock = clock
        n_outputs = bundle.n_outputs
        self._scores: Float64Array = np.empty((len(graphs.members), n_rows, n_outputs))
        self._combined: Float64Array = np.empty((n_rows, n_outputs))
        self._is_combined = False

    def run(self, run: Run) -> None:
        """Run one graph on some of the rows."""
        started = self._clock()
        rows = slice(run.start, run.stop)
        inputs = self._inputs
        if run.stop - run.start < self._n_rows:
            inputs = {name: array[rows] for name, array in inputs.items()}
        if run.threads > 1:
            with self._pool.more_slots(run.threads - 1) as has_them:
                self._run_graph(run.graph, self._graphs.wide if has_them else self._graphs.usual, inputs, rows)
        else:
            self._run_graph(run.graph, self._graphs.usual, inputs, rows)
        if self._observe is not None:
            self._observe(run.graph, run.stop - run.start, self._clock() - started)

    def outputs(self, first_row: int) -> Outputs | Exception:
        """Return the named outputs, or why there are none."""
        try:
            scores = self._scores[self._route.scored]
            if not np.isfinite(scores).all():
                return self._no_score(first_row)
            combined = self._combined if self._is_combined else None
            return outputs_of(self._bundle, self._scores, self._route.names, combined)
        except Exception as error:
            return error

    def _run_graph(
        self, key: int, graphs: Mapping[int, Member | Fused], inputs: Mapping[str, Array], rows: slice
    ) -> None:
        graph = graphs[key]
        if isinstance(graph, Member):
            self._scores[key, rows] = graph.run(inputs)
            return
        combined, scores = graph.run(inputs)
        if len(combined) == self._n_rows and len(scores) == len(self._scores):
            self._combined, self._scores = combined, scores
        else:
            self._combined[rows], self._scores[graph.members, rows] = combined, scores
        self._is_combined = True

    def _no_score(self, first_row: int) -> InvalidInput:
        for i in self._route.members:
            scores = self._scores[i]
            if at_fault := np.flatnonzero(~np.isfinite(scores).all(axis=1)).tolist():
                row = at_fault[0]
                return InvalidInput(
                    f"row {first_row + row}: member {self._graphs.members[i].spec.name!r} has no score for these "
                    f"values, but {scores[row].tolist()}; a value is not one that it was trained for, or far too large"
                )
        raise AssertionError("every score is finite")
