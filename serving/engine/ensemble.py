"""A bundle that runs: its members, how each is scheduled, and the combined answer."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from ..contract.bundle import SAMPLES_FILE, Bundle, Samples, read_bundle, read_samples
from ..contract.certificate import has_clear_label, relative_difference
from ..contract.errors import BundleError, ExecutionError, InvalidInput, WidedeepError
from ..contract.tensors import Array, check_rows
from .member import Member
from .outputs import all_outputs, members_for, outputs_of
from .plan import CHUNK_CANDIDATES, Plan, Run, choose_plan, schedule
from .pool import Pool
from .runtime import CPU, resolve_providers

Observer = Callable[[int, int, float], None]
"""Called after each run of a member with its index, the rows and the seconds; from any thread."""

_PROFILE_BUDGET_S = 0.15
_PROFILE_REPEATS = 3


class Ensemble:
    """Loaded members and their combiner. Immutable; `predict` may be called from any number of threads at once."""

    def __init__(self, bundle: Bundle, members: Sequence[Member], plans: Sequence[Plan], pool: Pool) -> None:
        """Store the parts; use `load` to get an ensemble from disk."""
        self.bundle = bundle
        self.members = tuple(members)
        self.plans = tuple(plans)
        self._pool = pool

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        pool: Pool | None = None,
        providers: Mapping[str, Sequence[str]] | None = None,
        fallback: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> Self:
        """Load the bundle at `path`, prove that it still answers as it should, and warm it up.

        Args:
            path: the bundle's folder.
            pool: threads to share with other ensembles; by default its own, as many as cores.
            providers: member name -> execution providers; the key "" is for every member not named, and names of
                other bundles' members are passed over. CPU by default.
            fallback: use CPU where a provider is missing or cannot start, instead of refusing.
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
        chosen = _providers(bundle, providers or {}, fallback=fallback)
        members = [
            Member(path, spec, bundle.inputs, bundle.n_outputs, providers=chosen[spec.name], fallback=fallback)
            for spec in bundle.members
        ]
        try:
            plans = [_profile(member, samples.inputs, clock) for member in members]
        except ExecutionError as error:
            raise BundleError(f"golden rows cannot be scored: {error}") from error
        ensemble = cls(bundle, members, plans, pool or Pool())
        ensemble.verify(samples)
        return ensemble

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
        self,
        inputs: Mapping[str, Array],
        n_rows: int,
        outputs: Collection[str],
        observe: Observer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> dict[str, Array]:
        """Do what `predict` does for rows and output names that have been checked already; see there.

        A score that is no finite number has no label, so the rows are refused.
        """
        scores = np.empty((len(self.members), n_rows, self.bundle.n_outputs), np.float64)

        def run_member(run: Run) -> None:
            started = clock()
            whole = run.stop - run.start == n_rows
            rows = inputs if whole else {name: array[run.start : run.stop] for name, array in inputs.items()}
            scores[run.member, run.start : run.stop] = self.members[run.member].run(rows)
            if observe is not None:
                observe(run.member, run.stop - run.start, clock() - started)

        plans = {i: self.plans[i] for i in members_for(self.bundle, outputs)}
        runs, n_threads = schedule(plans, n_rows, self._pool.n_cores)
        self._pool.run([partial(run_member, run) for run in runs], n_threads)
        for i in plans:
            if not np.isfinite(scores[i]).all():
                row = int(np.flatnonzero(~np.isfinite(scores[i]).all(axis=1))[0])
                raise InvalidInput(
                    f"row {row}: member {self.members[i].spec.name!r} has no score for these values, but "
                    f"{scores[i, row].tolist()}; a value is not one that it was trained for, or far too large"
                )
        return outputs_of(self.bundle, scores, outputs)

    def verify(self, samples: Samples) -> dict[str, float]:
        """Compare the golden rows with what the ensemble answers now.

        Returns:
            Output name -> largest `relative_difference`, by the sizes that the members' certificates state.

        Raises:
            BundleError: a difference exceeds the members' tolerance, or a label differs that is no tie.
        """
        try:
            actual = self.predict(samples.inputs, all_outputs(self.bundle))
        except WidedeepError as error:
            raise BundleError(f"golden rows cannot be scored: {error}") from error
        if samples.outputs.keys() != actual.keys():
            raise BundleError(f"samples hold the outputs {sorted(samples.outputs)}, the bundle has {sorted(actual)}")
        for name, expected in samples.outputs.items():
            _check_comparable(name, expected, actual[name])
        tolerances = {f"scores/{m.spec.name}": m.spec.tolerance(m.provider) for m in self.members}
        combined = max(tolerances.values())
        sizes = {f"scores/{m.spec.name}": m.spec.certificate.sizes or (1.0,) for m in self.members}
        most = np.max([np.broadcast_to(size, self.bundle.n_outputs) for size in sizes.values()], axis=0)
        differences: dict[str, float] = {}
        for name, expected in samples.outputs.items():
            if name == "label":
                _check_labels(expected, actual["label"], samples.outputs["probabilities"], combined)
                continue
            differences[name] = float(relative_difference(expected, actual[name], sizes.get(name, most)).max())
            # Not "greater than": a NaN difference must fail too.
            if not differences[name] <= (bound := tolerances.get(name, combined)):
                raise BundleError(
                    f"golden output {name!r} differs by {differences[name]:.3g}; the tolerance here is {bound:.3g}"
                )
        return differences


def _providers(bundle: Bundle, wanted: Mapping[str, Sequence[str]], *, fallback: bool) -> dict[str, tuple[str, ...]]:
    return {
        member.name: resolve_providers(wanted.get(member.name, wanted.get("", (CPU,))), fallback=fallback)
        for member in bundle.members
    }


def _profile(member: Member, inputs: Mapping[str, Array], clock: Callable[[], float]) -> Plan:
    """Time runs of growing chunks on real rows, within a small budget; the first run of each size warms up."""
    seconds: dict[int, float] = {}
    spent = 0.0
    for n_rows in CHUNK_CANDIDATES:
        rows = {name: np.resize(array, (n_rows, *array.shape[1:])) for name, array in inputs.items()}
        times = []
        for _ in range(1 + _PROFILE_REPEATS):
            started = clock()
            member.run(rows)
            times.append(clock() - started)
        seconds[n_rows] = min(times[1:])
        spent += sum(times)
        if spent > _PROFILE_BUDGET_S:
            break
    plan = choose_plan(seconds)
    return plan if member.provider == CPU else Plan(None, plan.call_s, plan.row_s)


def _check_comparable(name: str, expected: Array, actual: Array) -> None:
    if expected.shape != actual.shape or expected.dtype.kind != actual.dtype.kind:
        raise BundleError(
            f"golden output {name!r}: expected {actual.dtype} of shape {list(actual.shape)}, the samples hold "
            f"{expected.dtype} of shape {list(expected.shape)}"
        )


def _check_labels(expected: Array, actual: Array, probabilities: Array, tolerance: float) -> None:
    # Both sides may differ by the tolerance.
    differ = np.flatnonzero((expected != actual)[:, 0] & has_clear_label(probabilities, 2 * tolerance))
    if differ.size:
        row = int(differ[0])
        raise BundleError(f"golden label of row {row} was {expected[row, 0]!r} and is now {actual[row, 0]!r}")
