"""Opening the graphs of a bundle, each as it runs best here: as remembered, else as measured now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..contract.bundle import Bundle
from .cache import Cache
from .member import USUAL, Fused, Member
from .plan import COMBINER, FUSED, Plan
from .profile import Rows, Setup, Setups, profile, read_setups, write_setups
from .runtime import CPU, GraphOptions, resolve_providers

Providers = Mapping[str, tuple[str, ...]]
"""Member name -> execution providers, the preferred one first; for every member."""


@dataclass(frozen=True, slots=True)
class Graphs:
    """A bundle's graphs, open.

    Attributes:
        members: the members, as the bundle has them.
        fused: members and combiner as one graph, where the bundle has it and every member in it runs on the CPU.
        plans: key of a graph - a member's index or `FUSED` - and `COMBINER` -> how it runs.
        wide: key of a graph -> the same graph for runs on several threads, where its plan has such.
        usual: key of a graph -> it.
    """

    members: tuple[Member, ...]
    fused: Fused | None
    plans: Mapping[int, Plan]
    wide: Mapping[int, Member | Fused] = field(default_factory=dict)
    usual: Mapping[int, Member | Fused] = field(init=False)

    def __post_init__(self) -> None:
        """Put all graphs under their keys."""
        fused = {} if self.fused is None else {FUSED: self.fused}
        object.__setattr__(self, "usual", {**dict(enumerate(self.members)), **fused})


class Opener:
    """Opens the graphs of one bundle with any options.

    Attributes:
        bundle: whose graphs.
        providers: those of every member.
    """

    def __init__(
        self, path: Path, bundle: Bundle, providers: Providers, *, fallback: bool = False, cache: Cache | None = None
    ) -> None:
        """Store the parts; see `Ensemble.load`."""
        self.bundle = bundle
        self.providers = providers
        self._path = path
        self._fallback = fallback
        self._cache = cache or Cache(None)

    @property
    def keys(self) -> tuple[int, ...]:
        """Keys of the graphs that can run here: every member's index, and `FUSED` where there is a fused graph.

        That runs on the CPU, so no member in it may be meant for an accelerator.
        """
        fused, members = self.bundle.fused, tuple(range(len(self.bundle.members)))
        if fused is None or any(self.providers[name] != (CPU,) for name in fused.members):
            return members
        return (*members, FUSED)

    def open(self, key: int, options: GraphOptions = USUAL) -> Member | Fused:
        """Open the graph of one of `keys`.

        Raises:
            BundleError: the graph does not load or fit.
            ConfigurationError: a provider is not to be had.
        """
        bundle = self.bundle
        if key == FUSED and bundle.fused is not None:
            return Fused(self._path, bundle.fused, bundle, options=options, cache=self._cache)
        spec = bundle.members[key]
        return Member(
            self._path,
            spec,
            bundle.inputs,
            bundle.n_outputs,
            providers=self.providers[spec.name],
            fallback=self._fallback,
            options=options,
            cache=self._cache,
        )

    def all(self, rows: Rows, clock: Callable[[], float]) -> Graphs:
        """Open all graphs and return them with their plans; what is not known of them is measured and remembered.

        Raises:
            BundleError, ConfigurationError: see `open`.
            ExecutionError: a graph cannot score `rows`.
        """
        known = read_setups(self._cache, self.bundle, self.providers)
        setups: Setups = {}
        graphs: dict[int, Member | Fused] = {}
        for key in self.keys:
            setup = known.get(key)
            graphs[key] = self.open(key, USUAL if setup is None else setup.options)
            setups[key] = setup or Setup(USUAL, plan_of(graphs[key], rows, clock))
        setups[COMBINER] = known.get(COMBINER) or Setup(USUAL, self.combiner_plan(clock))
        if setups != known:
            self.remember(setups)
        several = {
            key: GraphOptions(setup.plan.threads, setup.options.optimization)
            for key, setup in setups.items()
            if key in graphs and setup.plan.threads > 1
        }
        fused = graphs.pop(FUSED, None)
        return Graphs(
            members=tuple(graph for graph in graphs.values() if isinstance(graph, Member)),
            fused=fused if isinstance(fused, Fused) else None,
            plans={key: setup.plan for key, setup in setups.items()},
            wide={key: self.open(key, options) for key, options in several.items()},
        )

    def remember(self, setups: Setups) -> None:
        """Keep how the graphs are opened and run, for the next time."""
        write_setups(self._cache, self.bundle, self.providers, setups)

    def combiner_plan(self, clock: Callable[[], float]) -> Plan:
        """Return the time that combining scores takes."""

        def combine(rows: Rows) -> None:
            self.bundle.combiner(rows["scores"].swapaxes(0, 1))

        scores = np.full((1, len(self.bundle.members), self.bundle.n_outputs), 1 / self.bundle.n_outputs)
        return replace(profile(combine, {"scores": scores}, clock), chunk_rows=None)


def resolve(bundle: Bundle, wanted: Mapping[str, Sequence[str]], *, fallback: bool = False) -> Providers:
    """Return the execution providers of every member.

    Args:
        bundle: whose members.
        wanted: member name -> providers; the key "" is for every member not named. CPU by default.
        fallback: leave out what this onnxruntime does not offer, instead of refusing.

    Raises:
        ConfigurationError: a provider is not offered and `fallback` is off.
    """
    return {
        member.name: resolve_providers(wanted.get(member.name, wanted.get("", (CPU,))), fallback=fallback)
        for member in bundle.members
    }


def plan_of(graph: Member | Fused, rows: Rows, clock: Callable[[], float]) -> Plan:
    """Return the plan of an open graph, measured on some real rows; an accelerator takes every batch whole."""
    plan = profile(graph.run, rows, clock)
    graph.release({name: array[:1] for name, array in rows.items()})
    return plan if graph.provider == CPU else replace(plan, chunk_rows=None)
