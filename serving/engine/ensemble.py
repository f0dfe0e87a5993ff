"""A bundle that runs: its members, how each is scheduled, and the combined answer."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import numpy as np

from ..contract.bundle import SAMPLES_FILE, Bundle, Samples, read_bundle, read_samples
from ..contract.errors import BundleError, ExecutionError, InvalidInput, WidedeepError
from ..contract.tensors import Array, check_rows
from .batch import Batch, Observer, Outputs, Route
from .cache import Cache
from .golden import differences_of
from .opening import Graphs, Opener, resolve
from .outputs import SCORES, all_outputs, members_for, outputs_of
from .plan import COMBINER, FUSED, Run, efficient_rows, estimate, prefers_fused, schedule
from .pool import Pool, Shared

Done = Callable[[Outputs | Exception], None]
"""Called once with the outputs, output name -> `(n_rows, ...)`, or with what went wrong; from any thread."""

_MEMO_ROUTES = 4096
_MEMO_RUNS = 1 << 17
"""Runs in all schedules remembered, of some 100 bytes each."""


class Ensemble:
    """Loaded members and their combiner. Immutable; may be used from any number of threads at once.

    Attributes:
        bundle: what is loaded.
        members: the members, as the bundle has them.
        fused: members and combiner as one graph, where the bundle has it and every member in it runs on the CPU.
        plans: key of a graph, the member's index or `FUSED`, -> how it runs.
        efficient_rows: rows from which a larger batch is hardly cheaper by row.
        pool: whose workers share runs.
    """

    def __init__(self, bundle: Bundle, graphs: Graphs, pool: Pool) -> None:
        """Store the parts; use `load` to get an ensemble from disk."""
        self.bundle = bundle
        self.members = graphs.members
        self.fused = graphs.fused
        self.plans = graphs.plans
        self._graphs = graphs
        usual = [self.plans[FUSED]] if self.fused else [self.plans[i] for i in bundle.combiner.used]
        self.efficient_rows = efficient_rows(usual)
        self._estimate = estimate(usual)
        self.pool = pool
        self._routes: dict[tuple[str, ...], Route] = {}
        self._schedules: dict[tuple[tuple[int, ...], bool, int, int], tuple[Sequence[Run], int]] = {}
        self._n_remembered = 0

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        pool: Pool | None = None,
        providers: Mapping[str, Sequence[str]] | None = None,
        fallback: bool = False,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Self:
        """Load the bundle at `path`, prove that it still answers as it should, and warm it up.

        Args:
            path: the bundle's folder.
            pool: threads to share with other ensembles; by default its own, as many as cores.
            providers: member name -> execution providers; the key "" is for every member not named, and names of
                other bundles' members are passed over. CPU by default.
            fallback: use CPU where a provider is missing or cannot start, instead of refusing.
            cache: remembers how the graphs run here, and holds large weights that processes share.
            clock: seconds, monotonic; times the runs that choose each member's plan.

        Raises:
            BundleError: a file is missing or changed, a graph does not load or fit, or a golden output differs.
            ConfigurationError: a provider is not to be had.
        """
        bundle = read_bundle(path)
        samples = read_samples(path)
        try:
            check_rows(bundle.inputs, samples.inputs)
        except InvalidInput as error:
            raise BundleError(f"{SAMPLES_FILE}: {error}") from error
        chosen = resolve(bundle, providers or {}, fallback=fallback)
        opener = Opener(path, bundle, chosen, fallback=fallback, cache=cache)
        try:
            graphs = opener.all(samples.inputs, clock)
        except ExecutionError as error:
            raise BundleError(f"golden rows cannot be scored: {error}") from error
        ensemble = cls(bundle, graphs, pool or Pool())
        ensemble.verify(samples)
        return ensemble

    def seconds(self, n_rows: int) -> float:
        """Return the estimated time of a batch on one core, for the usual outputs."""
        return self._estimate.seconds(n_rows)

    def fused_shares(self) -> dict[int, float]:
        """Return index of each member in the fused graph -> its part of the time, if each takes what it takes alone."""
        if self.fused is None:
            return {}
        n_rows = self.plans[FUSED].chunk_rows or 1
        alone = {i: self.plans[i].batch_seconds(n_rows) for i in self.fused.members}
        total = sum(alone.values()) or 1.0
        return {i: seconds / total for i, seconds in alone.items()}

    def predict(self, inputs: Mapping[str, Array], outputs: Collection[str] | None = None) -> dict[str, Array]:
        """Check rows of any number and return the named outputs for them, by default `bundle.outputs`.

        Raises:
            InvalidInput: the arrays are not what the bundle declares, a member has no finite score for a row, or an
                output is unknown.
            ExecutionError: a member failed.
        """
        n_rows = check_rows(self.bundle.inputs, inputs)
        names = [spec.name for spec in self.bundle.outputs] if outputs is None else list(outputs)
        known = all_outputs(self.bundle)
        if unknown := [name for name in names if name not in known]:
            raise InvalidInput(f"unknown output {unknown[0]!r}; the bundle has {', '.join(map(repr, known))}")
        return self.execute(inputs, n_rows, names)

    def execute(
        self, inputs: Mapping[str, Array], n_rows: int, outputs: Collection[str], observe: Observer | None = None
    ) -> Outputs:
        """Do what `predict` does for rows and output names that have been checked already; see there."""
        answers: SimpleQueue[Outputs | Exception] = SimpleQueue()
        with self.pool.slot():
            self.start(inputs, n_rows, outputs, answers.put, observe)
        answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def start(
        self,
        inputs: Mapping[str, Array],
        n_rows: int,
        outputs: Collection[str],
        done: Done,
        observe: Observer | None = None,
        *,
        first_row: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Run checked rows from this thread, which has a slot of the pool, together with workers that are free.

        Returns when no run is left to start; `done` may be called later by the worker that ends the last one.

        Args:
            inputs: input name -> `(n_rows, ...)`, as `check_rows` accepts them.
            n_rows: their number.
            outputs: names of outputs that there are.
            done: gets the outputs, or InvalidInput where a member has no finite score for a row, since such a score has
                no label, or ExecutionError.
            observe: told of every run.
            first_row: number of the first row in the eyes of who sent it, for messages.
            clock: seconds, monotonic; for `observe`.
        """
        try:
            route = self._route(tuple(outputs))
            runs, n_threads = self._schedule(route, n_rows)
            batch = Batch(
                self.bundle, self._graphs, route, inputs, n_rows, pool=self.pool, observe=observe, clock=clock
            )
            jobs = [partial(batch.run, run) for run in runs]
            if n_threads > 1:
                shared = Shared(jobs, lambda error: done(error or batch.outputs(first_row)))
                self.pool.share(shared, n_threads)
                return
            for job in jobs:
                job()
            answer: Outputs | Exception = batch.outputs(first_row)
        except Exception as error:
            answer = error
        done(answer)

    def verify(self, samples: Samples) -> dict[str, float]:
        """Compare the golden rows with what the ensemble answers now.

        Returns:
            Output name -> largest `relative_difference`, by the sizes that the members' certificates state.

        Raises:
            BundleError: a difference exceeds the members' tolerance, or a label differs that is no tie.
        """
        try:
            actual = self.predict(samples.inputs, all_outputs(self.bundle))
            fused = self._fused_outputs(samples) if self.fused else {}
        except WidedeepError as error:
            raise BundleError(f"golden rows cannot be scored: {error}") from error
        if samples.outputs.keys() != actual.keys():
            raise BundleError(f"samples hold the outputs {sorted(samples.outputs)}, the bundle has {sorted(actual)}")
        differences = differences_of(self.bundle, self.members, samples.outputs, actual)
        for name, difference in differences_of(self.bundle, self.members, samples.outputs, fused).items():
            differences[name] = max(differences[name], difference)
        return differences

    def _fused_outputs(self, samples: Samples) -> Outputs:
        """Return what the fused graph answers for the golden rows, whatever the plans prefer."""
        assert self.fused is not None  # noqa: S101 - the caller has looked
        combined, scores = self.fused.run(samples.inputs)
        of_all = np.zeros((len(self.members), *combined.shape))
        of_all[list(self.fused.members)] = scores
        names = [spec.name for spec in self.bundle.outputs] + [SCORES + name for name in self.fused.spec.members]
        return outputs_of(self.bundle, of_all, names, combined)

    def _route(self, names: tuple[str, ...]) -> Route:
        """Return what answers some outputs; remembered, since callers ask for the same few."""
        if (known := self._routes.get(names)) is not None:
            return known
        members = members_for(self.bundle, names)
        combined = any(not name.startswith(SCORES) for name in names)
        route = Route(
            names=names,
            members=members,
            scored=slice(None) if len(members) == len(self.members) else list(members),
            is_fusable=self.fused is not None and combined and set(members) <= set(self.fused.members),
        )
        if len(self._routes) >= _MEMO_ROUTES:
            self._routes.clear()
        self._routes[names] = route
        return route

    def _schedule(self, route: Route, n_rows: int) -> tuple[Sequence[Run], int]:
        """Return the runs of a batch and the threads to share them; remembered, since sizes come again and again."""
        idle = self.pool.idle
        key = route.members, route.is_fusable, n_rows, idle
        if (known := self._schedules.get(key)) is not None:
            return known
        plans = {i: self.plans[i] for i in route.members}
        if route.is_fusable and prefers_fused(
            self.plans[FUSED], list(plans.values()), self.plans[COMBINER], n_rows, idle
        ):
            plans = {FUSED: self.plans[FUSED]}
        chosen = schedule(plans, n_rows, self.pool.n_cores, idle)
        if (n_runs := len(chosen[0])) <= _MEMO_RUNS:
            self._n_remembered += n_runs  # about so many: without a lock a thread may miss another's
            if self._n_remembered > _MEMO_RUNS:
                self._schedules.clear()
                self._n_remembered = n_runs
            self._schedules[key] = chosen
        return chosen
