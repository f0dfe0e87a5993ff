"""A bundle in this process as a scorer: members one by one, each in chunks of a fixed size, on one thread.

What a server chooses by the clock - chunks, threads, the fused graph - is fixed here, since a job that was cut off must
end with the same bits on any machine of the same kind: trees differ by 1.8e-7 between one and two threads, and the
fused graph rounds otherwise than the members one by one.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from ..contract.bundle import Bundle, read_bundle, read_samples
from ..contract.errors import BundleError, WidedeepError
from ..contract.tensors import Array, TensorSpec, check_rows
from ..engine.batch import Batch, Route
from ..engine.golden import differences_of
from ..engine.member import Member
from ..engine.opening import Graphs, Opener, resolve
from ..engine.outputs import all_outputs, members_for
from ..engine.plan import Run
from ..engine.pool import Pool
from ..engine.profile import timed
from ..engine.runtime import CPU, GraphOptions, trim_heap
from .scorer import Identity

WHOLE = 0
"""As `member_rows`: all rows of a chunk at once."""

_OWN_BYTES = 16 << 20
"""Members that together take no more on disk are opened once for each thread.

Threads that are at one session at the same time hand its memory on to each other: it is then in another core's cache.
Measured on two cores, a net over 64x64x3 images in runs of two rows: 327 us of CPU a row with a session a thread, 344
with one that keeps no memory (what larger members have), up to 400 with one that does.
"""
_KEEPING, _SHARED = GraphOptions(), GraphOptions(arena=False)

_ABOUT_AS_LITTLE = 1.05
_LONG_S = 0.3e-3


class LocalScorer:
    """A loaded bundle. May be called from any number of threads at once, each of which computes itself.

    `open_for` first where they are several, else their number only makes them slower.

    Attributes:
        bundle: what is loaded.
        identity: its name, version and digest.
        member_rows: member -> rows of one run of its graph at most, `WHOLE` for any number.
    """

    def __init__(
        self,
        path: Path,
        bundle: Bundle,
        members: Sequence[Member],
        member_rows: Mapping[str, int],
        opener: Opener | None = None,
    ) -> None:
        """Store the parts; see `load`. An opener opens the members again."""
        self.bundle = bundle
        self.identity = Identity(bundle.name, version_of(path), bundle.digest)
        self.inputs = bundle.inputs
        self.outputs: tuple[TensorSpec, ...] = (*bundle.outputs, *bundle.score_outputs)
        self.defaults = tuple(spec.name for spec in bundle.outputs)
        self.classes = tuple(map(str, bundle.classes))
        self.member_rows = dict(member_rows)
        self._path = path
        self._opener = opener
        self._graphs = Graphs(tuple(members), None, {})
        self._idle = [self._graphs]
        self._n_sets = 1
        self._pool = Pool(1)  # of which no worker is started: every run has one thread

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        member_rows: Mapping[str, int] | None = None,
        providers: Mapping[str, Sequence[str]] | None = None,
        digest: str = "",
    ) -> Self:
        """Load the bundle at `path` and prove that it still answers its golden rows.

        Args:
            path: the bundle's folder.
            member_rows: see the attribute; measured here by default.
            providers: member name -> execution providers; the key "" is for every member not named. CPU by default.
            digest: the bundle's digest if it must be that one.

        Raises:
            BundleError: it is another bundle, a file is missing or changed, a graph does not load or fit, or a golden
                output differs.
            ConfigurationError: a provider is not to be had.
        """
        bundle, samples = read_bundle(path), read_samples(path)
        if digest and bundle.digest != digest:
            raise BundleError(f"{path}: expected the bundle with digest {digest}, got {bundle.digest}")
        opener = Opener(path, bundle, resolve(bundle, providers or {}))
        is_small = sum((path / member.file).stat().st_size for member in bundle.members) <= _OWN_BYTES
        is_own = is_small and all(providers == (CPU,) for providers in opener.providers.values())
        members = _open(opener, _KEEPING if is_own else _SHARED)
        try:
            check_rows(bundle.inputs, samples.inputs)
            if member_rows is None:
                member_rows = {member.spec.name: _rows_of(member, samples.inputs, keeps=is_own) for member in members}
                trim_heap()
            scorer = cls(path, bundle, members, member_rows, opener if is_own else None)
            actual = scorer.score(samples.inputs, all_outputs(bundle))
        except WidedeepError as error:
            raise BundleError(f"{path}: golden rows cannot be scored: {error}") from error
        differences_of(bundle, members, samples.outputs, actual)
        return scorer

    def open_for(self, n_threads: int) -> None:
        """Open the members once for each of so many threads, where they are small; to be called before these start.

        Raises:
            BundleError: the bundle has changed since it was loaded.
        """
        if self._opener is None or self._n_sets >= n_threads:
            return
        if (now := read_bundle(self._path).digest) != self.bundle.digest:
            raise BundleError(f"{self._path}: expected the bundle with digest {self.bundle.digest}, got {now}")
        while self._n_sets < n_threads:
            self._idle.append(Graphs(tuple(_open(self._opener, _KEEPING)), None, {}))
            self._n_sets += 1

    def score(self, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Return output name -> `(n_rows, ...)`; see `Scorer.score`."""
        try:
            graphs = self._idle.pop()
        except IndexError:  # more threads than sets: they share one
            return self._score(self._graphs, arrays, outputs)
        try:
            return self._score(graphs, arrays, outputs)
        finally:
            self._idle.append(graphs)

    def _score(self, graphs: Graphs, arrays: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        bundle = self.bundle
        n_rows = len(next(iter(arrays.values())))
        needed = members_for(bundle, outputs)
        scored = slice(None) if len(needed) == len(bundle.members) else list(needed)
        route = Route(tuple(outputs), needed, scored, is_fusable=False)
        batch = Batch(bundle, graphs, route, arrays, n_rows, pool=self._pool, observe=None, clock=time.perf_counter)
        for i in needed:
            step = self.member_rows.get(bundle.members[i].name, WHOLE) or n_rows
            for start in range(0, n_rows, step):
                batch.run(Run(i, start, min(start + step, n_rows)))
        answer = batch.outputs(first_row=0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Do nothing: sessions end with their last user."""


def _open(opener: Opener, options: GraphOptions) -> list[Member]:
    opened = (opener.open(i, options) for i in range(len(opener.bundle.members)))
    return [graph for graph in opened if isinstance(graph, Member)]


def version_of(path: Path) -> str:
    """Return the version that a bundle's folder is served under: its name where that is a whole number, else 1."""
    return path.name if path.name.isdecimal() else "1"


def _rows_of(member: Member, rows: Mapping[str, Array], *, keeps: bool) -> int:
    """Return rows of a run that cost about as little as any; an accelerator takes a chunk whole.

    Of these the fewest that keep a thread busy for long: fewer rows leave more of the cache that busy cores share (of a
    net over 64x64x3 images, as fast alone in runs of 2, 4 and 8 rows, those of 8 took 8 % more than those of 4), but
    each run takes the interpreter lock, which there is one of for all cores.
    """
    if member.provider != CPU:
        return WHOLE
    seconds = timed(member.run, rows, time.perf_counter)
    if keeps:
        member.release({name: array[:1] for name, array in rows.items()})
    best = min(s / n for n, s in seconds.items())
    cheap = [n for n, s in seconds.items() if s / n <= _ABOUT_AS_LITTLE * best]
    return min((n for n in cheap if seconds[n] >= _LONG_S), default=max(cheap))
